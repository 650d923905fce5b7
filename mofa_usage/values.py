"""What records are made of: immutable values, and the kinds of their fields, each with its validation.

What one database cannot hold, none accepts: PostgreSQL takes no NUL character in text, a JSON column may answer a large
float as an integer, Rust's serde stops at a depth of 128. So the rules are here, once, before any database.
"""

import ast
import copy
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, NoReturn, Self, get_args
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from pydantic_core import to_json

__all__ = [
    "COMPLETION_UNKNOWN",
    "DEFAULT_CURRENCY",
    "MAX_INT",
    "PROMPT_UNKNOWN",
    "STRICT_JSON",
    "TOKEN_SOURCES",
    "ApiCallStatus",
    "Count",
    "Currency",
    "Flag",
    "Id",
    "Integer",
    "Json",
    "JsonObject",
    "Key",
    "Money",
    "OpenValue",
    "Rate",
    "Secret",
    "Text",
    "Time",
    "TokenSource",
    "Value",
    "check_text",
    "exact_price",
    "read_currency",
    "read_json",
    "read_nested",
    "text_uuid",
    "to_utc",
    "token_source_of",
]

MAX_INT = 2**31 - 1
_EXACT_FLOAT = 2.0**53  # from here on every float is an integer
_PRICE_PLACES = Decimal(1).scaleb(-10)
_PRICE_CONTEXT = Context(prec=60)
_JSON_DEPTH = 100  # serde_json, which reads these tables too, stops at 128
_JSON_BITS = 4096  # Python itself writes and reads integers of up to 4,300 digits
_LONGEST_LITERALS = 1_000_000  # characters; reading them takes some hundred times their memory
_TEXT_IDS = uuid5(NAMESPACE_URL, "https://pypi.org/project/mofa-usage/text-id")


class ApiCallStatus(StrEnum):
    """How an API call ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    CANCELLED = "cancelled"


TokenSource = Literal["provider", "estimated", "partial", "completion_only", "none"]
"""How token counts came about: the provider said so, somebody estimated them, only those of the prompt are known
(`partial`), only those of the completion, or none."""

TOKEN_SOURCES: tuple[TokenSource, ...] = get_args(TokenSource)

PROMPT_UNKNOWN: tuple[TokenSource, ...] = ("none", "completion_only")
COMPLETION_UNKNOWN: tuple[TokenSource, ...] = ("none", "partial")
"""The sources for which a count of 0 says nothing."""

DEFAULT_CURRENCY = "USD"
"""The currency of a price that does not say."""


def check_text(value: str) -> str:
    """The text, as it is.

    Raises:
        ValueError: it holds a NUL character or a lone surrogate, which not every database can.
    """
    if "\0" in value:
        raise ValueError("text must not hold a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("text must not hold a lone surrogate") from None
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    check_text(value.get_secret_value())
    return value


def token_source_of(prompt: int | None, completion: int | None) -> TokenSource:
    """What is known of two counts, of which None is one that nobody knows: `provider` where both are."""
    if prompt is not None and completion is not None:
        return "provider"
    return "none" if prompt is completion else "completion_only" if prompt is None else "partial"


def text_uuid(field: str, text: str) -> UUID:
    """The UUID that stands for a text among the ids of a field: version 5, the same whoever asks for it, so that what
    is recorded for the user "alice" and what is imported for her have one `user_id`.
    """
    return uuid5(uuid5(_TEXT_IDS, field), text.strip())


def to_utc(value: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: it is no datetime, has no zone, or does not exist in UTC.
    """
    if not isinstance(value, datetime):
        raise ValueError(f"a time is a datetime with a zone, not of kind {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError("a time needs a zone: a naive datetime could be any hour of the day")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time does not exist in UTC (before year 1 or after year 9999)") from None


def _refuse_json(path: str, why: str) -> NoReturn:
    where = f" at {path}" if path else ""
    raise ValueError(f"not JSON{where}: {why}")


def _json_number(value: float, path: str) -> float:
    if not math.isfinite(value):
        _refuse_json(path, f"{value} is no JSON number")
    # A database may keep JSON numbers as decimals and answer 1e23 as the integer 10**23, which is not the float 1e23.
    # As the integer that it is, it comes back equal from everywhere.
    return value if abs(value) < _EXACT_FLOAT else int(value)


def _json_text(value: object, path: str) -> str:
    if not isinstance(value, str):
        _refuse_json(path, f"the key {value!r} is a {type(value).__name__}, keys must be text")
    try:
        return check_text(str(value))
    except ValueError as error:
        _refuse_json(path, str(error))


def _to_json(value: object, path: str = "", depth: int = 0) -> Any:
    """A deep copy of `value`, made of dict, list, str, int, float, bool and None only."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _json_text(value, path)
    if isinstance(value, int):
        if value.bit_length() > _JSON_BITS:
            _refuse_json(path, f"an integer of more than {_JSON_BITS} bits")
        return int(value)
    if isinstance(value, float):
        return _json_number(float(value), path)
    if depth == _JSON_DEPTH:
        _refuse_json("", f"nested more than {_JSON_DEPTH} deep, or inside itself")
    if isinstance(value, list | tuple):
        return [_to_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            _json_text(key, path): _to_json(item, f"{path}.{key}" if path else str(key), depth + 1)
            for key, item in value.items()
        }
    _refuse_json(path, f"a {type(value).__name__} is no JSON value")


def _check_json(value: object) -> Any:
    return _to_json(value)


def read_currency(value: object) -> str:
    """The currency that a value in somebody's `price_details` means: without blanks and in capitals where that makes
    three letters, USD where there is none, else the text as it is (its JSON where it is no text).
    """
    if value is None:
        return DEFAULT_CURRENCY
    text = value if isinstance(value, str) else to_json(value).decode()
    return _currency_code(text) or text


def _currency_code(text: str) -> str | None:
    code = text.strip()
    return code.upper() if len(code) == 3 and code.isascii() and code.isalpha() else None


def _check_currency(value: object, info: ValidationInfo) -> str:
    if info.context is not None:
        return read_currency(value)  # from a table: a ledger stays readable whatever another program wrote
    if not isinstance(value, str):
        raise ValueError(f"a currency is text such as 'USD', not of kind {type(value).__name__}")
    code = _currency_code(value)
    if code is None:
        raise ValueError(f"{value[:20]!r} is no currency: ISO 4217 codes have three letters, such as 'USD'")
    return code


def exact_price(number: float | Decimal, *, rounded: bool = False) -> Decimal | None:
    """A price with ten decimal places; None when that is not the number. `rounded` rounds it half to even.

    Of a float the shortest decimal counts that is this float. From 1e19 on nothing is a price.
    """
    decimal = Decimal(repr(number)) if isinstance(number, float) else number
    if not decimal.is_finite() or decimal.adjusted() > 18:
        return None
    price = decimal.quantize(_PRICE_PLACES, ROUND_HALF_EVEN, _PRICE_CONTEXT)
    return price if rounded or price == decimal else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


STRICT_JSON = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)
"""Reads JSON strictly: no NaN, and numbers with a point are Decimal."""


def read_json(text: str) -> Any:
    """What a JSON text says, strictly: see `STRICT_JSON`.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return STRICT_JSON.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_nested(text: str) -> Any:
    """What the text of an object in a cell of a table says: JSON, or Python's literals, which pandas writes to a CSV.

    Raises:
        ValueError: it is neither.
    """
    try:
        return read_json(text)
    except ValueError:
        if "'" not in text or len(text) > _LONGEST_LITERALS:
            raise
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("it is no JSON, and no literals of Python either") from None


Id = UUID
Text = Annotated[str, Field(strict=True), AfterValidator(check_text)]
# What is indexed has at most 2,704 bytes on PostgreSQL and 3,072 on MySQL, and a character up to four of them.
Key = Annotated[str, Field(strict=True, max_length=600), AfterValidator(check_text)]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_INT)]
Integer = Annotated[int, Field(strict=True, ge=-MAX_INT - 1, le=MAX_INT)]
Rate = Annotated[float, Field(allow_inf_nan=False)]
Money = Annotated[Decimal, Field(max_digits=15, decimal_places=10)]
Currency = Annotated[str, BeforeValidator(_check_currency)]
Time = Annotated[datetime, Field(strict=True), AfterValidator(to_utc)]
Flag = Annotated[bool, Field(strict=True)]
Json = Annotated[Any, BeforeValidator(_check_json)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_check_json)]
Secret = Annotated[SecretStr, AfterValidator(_check_secret)]


class Value(BaseModel):
    """An immutable value: equal by its fields, copied only through validation."""

    # Validators are built at first use: half of the time that importing this module would take.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy in which the fields of `update` have changed; it is validated like a new record.

        Raises:
            pydantic.ValidationError: the changed record is not valid, or a field is unknown.
        """
        fields = {**self.__dict__, **(self.__pydantic_extra__ or {}), **(update or {})}
        return type(self).model_validate(copy.deepcopy(fields) if deep else fields)


class OpenValue(Value):
    """A value kept as JSON, whose further keys are kept beside its own fields."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[Text, Json]
