"""Price files: own and contract prices, as TOML.

```python
from pathlib import Path

from mofa_usage import PriceBook

Path("prices.toml").write_text('''
currency = "EUR"

[[prices]]
model = "gpt-4o"
input = 2.50            # per million tokens
cached = 1.25
output = 10
discount = 15           # percent, of all of them

[[prices]]
model = "gpt-4o"
from = 2026-09-01       # a UTC day
input = 2
output = 8

[[prices]]
model = "llama*"        # our own machines
input = 0
output = 0
''')
print(PriceBook.load("prices.toml"))
```

Which entry counts: of those whose `model` fits and whose `from` is not after the day of the call, the one that says the
model most closely, and of these the latest. A name says it more closely than any pattern, a pattern with more letters
more closely than one with fewer. Case does not matter. `azure/gpt-4o` is for calls whose label `provider` is azure.

Numbers never pass through a float.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal, localcontext
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from mofa_usage.errors import UsageError
from mofa_usage.pricing.names import forms_of, spellings
from mofa_usage.pricing.quotes import STANDARD_TIER, Question, Quote
from mofa_usage.pricing.rates import EXACT, Rates, flat
from mofa_usage.values import Currency

__all__ = ["PriceFile"]

_NEEDED = ("input", "output")
_PRICES = ("input", "cached", "cache_write", "cache_write_1h", "output")
_KEYS = ("model", "from", *_PRICES, "discount")
_HIGHEST, _PLACES = 1_000_000_000, 10
_SINCE_EVER = date.min


@dataclass(frozen=True, slots=True)
class _Entry:
    """One `[[prices]]`: `pattern` fits whole names in small letters, `closeness` sorts by how closely it says them."""

    model: str
    since: date
    rates: Rates
    pattern: re.Pattern[str] = field(init=False)
    closeness: tuple[bool, int, int] = field(init=False)

    def __post_init__(self) -> None:
        model, stars = self.model.lower(), self.model.count("*")
        pattern = re.compile(".*".join(re.escape(piece) for piece in model.split("*")), re.DOTALL)
        object.__setattr__(self, "pattern", pattern)
        object.__setattr__(self, "closeness", (not stars, len(model) - stars, -stars))


class PriceFile:
    """The prices of a file. Its version is the beginning of the SHA-256 of its bytes."""

    def __init__(self, path: str | PathLike[str]) -> None:
        """Read a price file.

        Raises:
            UsageError: it cannot be read, or an entry breaks a rule; the message says which.
        """
        if not isinstance(path, str | PathLike):
            raise UsageError(f"a price file is given by its path, not by a {type(path).__name__}")
        self._path = Path(path)
        try:
            content = self._path.read_bytes()
            document = tomllib.loads(content.decode("utf-8-sig"), parse_float=Decimal)
        except (OSError, ValueError) as error:  # not UTF-8 and not TOML are ValueErrors
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"price file {self._path}: {why}") from error
        self.name = f"{self._path.name} {hashlib.sha256(content).hexdigest()[:8]}"
        self._currency = self._read_currency(document)
        self._entries = tuple(self._read_entries(document))
        self._find = lru_cache(maxsize=4096)(self._find_entry)

    def quote(self, question: Question) -> Quote | None:
        """The price of the file for a call; None where no entry fits."""
        found = self._find(question.asked, question.served, question.provider, question.at.date())
        if found is None:
            return None
        entry, is_exact = found
        # A file has no prices of tiers: what it says stands in for them.
        return Quote(entry.rates, self._currency, self.name, is_exact and question.tier == STANDARD_TIER)

    def changes(self, question: Question) -> tuple[time, ...]:
        """See `Source`: prices of a file are those of whole days."""
        return ()

    def _find_entry(
        self, asked: str, served: str | None, provider: str | None, day: date
    ) -> tuple[_Entry, bool] | None:
        """The entry for a model, and whether its name is that of the call."""
        names = list(spellings(asked, served))
        in_force = [entry for entry in self._entries if entry.since <= day]
        for is_second in (False, True):
            fitting = [
                (entry.closeness, entry.since, spelling.is_exact, entry)
                for spelling in names
                if spelling.is_second is is_second
                for text in _texts(spelling.text, provider)
                for entry in in_force
                if entry.pattern.fullmatch(text)
            ]
            if fitting:
                *_, is_exact, entry = max(fitting, key=lambda found: found[:3])
                return entry, is_exact
        return None

    def _refuse(self, where: str, rule: str) -> NoReturn:
        raise UsageError(f"price file {self._path}: {where}{': ' if where else ''}{rule}")

    def _read_currency(self, document: Mapping[str, Any]) -> str:
        unknown = sorted(document.keys() - {"currency", "prices"})
        if unknown:
            self._refuse("", f"{unknown[0]!r} is not known; on top there are `currency` and the list `[[prices]]`")
        if "currency" not in document:
            self._refuse("", '`currency` is missing; the file begins with one, such as currency = "EUR"')
        try:
            return str(TypeAdapter(Currency).validate_python(document["currency"]))
        except ValidationError as error:
            self._refuse("currency", error.errors()[0]["msg"].removeprefix("Value error, "))

    def _read_entries(self, document: Mapping[str, Any]) -> Iterator[_Entry]:
        tables = document.get("prices")
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            self._refuse("prices", "there must be at least one entry under [[prices]]")
        seen: dict[tuple[str, date], int] = {}
        for number, table in enumerate(tables, 1):
            entry = self._read_entry(number, table)
            first = seen.setdefault((entry.model.lower(), entry.since), number)
            if first != number:
                self._refuse(_place(number, table), f"entry {first} is for the same model from the same day")
            yield entry

    def _read_entry(self, number: int, table: Mapping[str, Any]) -> _Entry:
        where = _place(number, table)
        unknown = sorted(table.keys() - set(_KEYS))
        if unknown:
            self._refuse(where, f"{unknown[0]!r} is not known; an entry has {', '.join(_KEYS)}")
        missing = [key for key in ("model", *_NEEDED) if key not in table]
        if missing:
            self._refuse(where, f"`{missing[0]}` is missing{'; 0 is free' if missing[0] != 'model' else ''}")
        model = table["model"]
        if not isinstance(model, str) or not model.strip():
            self._refuse(where, "`model` must be a name, or a pattern with *, as text")
        since = table.get("from", _SINCE_EVER)
        if not isinstance(since, date) or isinstance(since, datetime):
            self._refuse(where, f"`from` is {since!s:.40}, it must be a day without quotes, such as 2026-09-01")
        discount = self._read_number(where, table, "discount") if "discount" in table else Decimal(0)
        if discount > 100:
            self._refuse(where, f"`discount` is {discount}, it must be percent, from 0 to 100")
        prices = {key: self._read_number(where, table, key) for key in _PRICES if key in table}
        with localcontext(EXACT):
            rates = {key: flat(price * (100 - discount) / 100) for key, price in prices.items()}
        return _Entry(model.strip(), since, Rates(rates))

    def _read_number(self, where: str, table: Mapping[str, Any], key: str) -> Decimal:
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self._refuse(where, f"`{key}` is {value!r:.40}, it must be a number without quotes")
        number = Decimal(value)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or not 0 <= number < _HIGHEST or exponent < -_PLACES:
            self._refuse(
                where,
                f"`{key}` is {number}, it must be from 0 to below {_HIGHEST}, with at most {_PLACES} decimal places",
            )
        return number


def _place(number: int, table: Mapping[str, Any]) -> str:
    model = table.get("model")
    return f"[[prices]] entry {number}" + (f" ({model!r:.80})" if isinstance(model, str) else "")


def _texts(name: str, provider: str | None) -> Iterator[str]:
    """What patterns are tried against, in small letters."""
    for form in forms_of(name.lower()):
        yield form.text
        if provider:
            yield f"{provider.lower()}/{form.text}"
