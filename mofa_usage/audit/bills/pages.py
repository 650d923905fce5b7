"""What every bill is read into: pages of buckets of time, whose lines say what was used or what it cost.

Providers write their reports in their own ways (one file for each in `formats`), but all of them are pages of buckets
that follow each other in time, and a page that is not the last says so. A line is about a model, a tier or another key,
where the report was asked to be grouped by it, and is None there where it was not.

- Token counts are of disjoint kinds, as prices are: input that had nothing to do with a cache, input read from one,
  input written to one, output. What providers count otherwise is taken apart by the format.
- Amounts are Decimals in units of the currency (dollars, not cents).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

from mofa_usage.zones import SECOND

__all__ = [
    "COSTS",
    "PREPAID",
    "PROVIDERS",
    "BillFormat",
    "Bucket",
    "Counts",
    "Document",
    "Line",
    "Page",
    "Report",
    "count_of",
    "model_of",
    "moment_of",
    "money_of",
]

PROVIDERS: Mapping[str, str] = MappingProxyType({"anthropic": "Anthropic", "openai": "OpenAI"})
"""What the providers are called in sentences."""

_YEAR_3000 = 32_503_680_000  # in seconds; milliseconds are beyond it

COSTS = "costs"
"""The kind of a report of costs; those of usage are called as OpenAI calls them: `completions`, `embeddings`, ..."""

PREPAID = "priority"
"""The tier that is in Anthropic's usage and not in its costs."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of disjoint kinds; `written_1h` is what of `written` lives for an hour, None where nobody says it."""

    uncached: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    written_1h: int | None = None

    @property
    def total(self) -> int:
        """All tokens."""
        return self.uncached + self.cached + self.written + self.output

    def __add__(self, other: "Counts") -> "Counts":
        hours = [hour for hour in (self.written_1h, other.written_1h) if hour is not None]
        return Counts(
            self.uncached + other.uncached,
            self.cached + other.cached,
            self.written + other.written,
            self.output + other.output,
            sum(hours) if hours else None,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """What a bill says of one thing in a bucket.

    Attributes:
        model: As the provider calls it; None where the report is not grouped by it, or for what is no model's.
        tier: `standard`, `batch`, `priority`, ...; `not batch` and `standard or batch` where the report tells no more.
        counts, requests: What was used; None in costs, and where the provider does not count requests.
        amount, currency: What it cost; None in usage.
        piece: The kind of tokens that an amount is for: a field of `Counts`; None where it is for several or others.
        about: What an amount is for, in the provider's words.
        slack: How far the amount may be from the exact one, because the provider rounds it.
        key: What else the report is grouped by: projects, keys, users and so on, by name.
    """

    model: str | None = None
    tier: str | None = None
    counts: Counts | None = None
    requests: int | None = None
    amount: Decimal | None = None
    currency: str | None = None
    piece: str | None = None
    about: str = ""
    slack: Decimal = Decimal(0)
    key: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """Everything that tells the line from others of its bucket."""
        own = {"model": self.model, "tier": self.tier, "piece": self.piece, "about": self.about or None}
        return (*self.key, *((name, value) for name, value in own.items() if value is not None))


@dataclass(frozen=True, slots=True)
class Bucket:
    """The lines of a stretch of time [start, end), in microseconds since the epoch."""

    start: int
    end: int
    lines: tuple[Line, ...]

    @property
    def weight(self) -> tuple[Decimal, int]:
        """How much it says: amounts, tokens. Of two downloads the later one says more."""
        amounts = (line.amount for line in self.lines if line.amount is not None)
        return sum(amounts, Decimal(0)), sum(line.counts.total for line in self.lines if line.counts is not None)


@dataclass(frozen=True, slots=True)
class Report:
    """Which report: of which provider, and `completions`, `embeddings`, ... or `COSTS`."""

    provider: str
    kind: str

    @property
    def title(self) -> str:
        """What it is called in sentences: `OpenAI's report of costs`."""
        return f"{PROVIDERS[self.provider]}'s report of {self.kind}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a report.

    Attributes:
        where: The file, for messages.
        report: Which report; its kind is empty where no bucket has a line that would tell.
        buckets: In the order of time.
        has_more: Whether the provider said that another page follows.
        lists_all: Whether a bucket without lines is there, too, so that one which is not there is missing.
        doubled: How many of its lines were there twice, word for word; they are counted once.
    """

    where: str
    report: Report
    buckets: tuple[Bucket, ...]
    has_more: bool = False
    lists_all: bool = True
    doubled: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """What was in a file: `page` is the object of a JSON page, `rows` those of a table with the names in `columns`."""

    where: str
    page: Mapping[str, Any] | None = None
    columns: tuple[str, ...] = ()
    rows: Sequence[Mapping[str, str]] = field(default=())


class BillFormat(Protocol):
    """One way in which a provider writes its reports."""

    name: str
    """What people call it."""

    def recognises(self, document: Document) -> bool:
        """Whether the document is written so."""
        ...

    def read(self, document: Document) -> Iterable[Page]:
        """Its pages.

        Raises:
            ValueError: something in it is not what the format says; the message tells what.
        """
        ...


def key_of(result: Mapping[str, Any], names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The key of a line: those of the names that its result has a value of."""
    return tuple((name, str(result[name])) for name in names if result.get(name))


def model_of(result: Mapping[str, Any]) -> str | None:
    """The model of a result; None where the report is not grouped by it.

    Raises:
        ValueError: it is no name.
    """
    model = result.get("model") or None
    if model is not None and not isinstance(model, str):
        raise ValueError(f"model is {model!r:.40}, which is no name")
    return model


def count_of(value: object, name: str) -> int:
    """A count of tokens or requests; what is not there is 0, because reports leave out what was not used.

    Raises:
        ValueError: it is no whole number from 0 on.
    """
    if value is None or value == "":
        return 0
    number = money_of(value, name)
    if number < 0 or number != number.to_integral_value():
        raise ValueError(f"{name} is {value!r:.40}, which is no count")
    return int(number)


def moment_of(value: object, name: str) -> int:
    """The microseconds since the epoch of a time in seconds.

    Raises:
        ValueError: it is none, but one in milliseconds, say.
    """
    seconds = count_of(value, name)
    if seconds >= _YEAR_3000:
        raise ValueError(f"{name} is {value!r:.40}, which is no time in seconds since 1970")
    return seconds * SECOND


def money_of(value: object, name: str) -> Decimal:
    """A number of a report, written as a number or as text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{name} is {value!r:.40}, which is no number")
    try:
        number = Decimal(str(value).strip())
    except ArithmeticError:
        raise ValueError(f"{name} is {value!r:.40}, which is no number") from None
    if not number.is_finite():
        raise ValueError(f"{name} is {value!r:.40}, which is no number")
    # Some zeros of OpenAI have six thousand places ("0E-6176"), which sums would keep.
    return number if number else Decimal(0)
