"""One value of a source to one value of a record.

Sources say the same thing in different kinds: CSV has only text, JSON has numbers, Parquet has dates. Every converter
takes any of them and returns the field's own kind exactly, or raises `ValueRefusedError`. Nothing is guessed: what
reads two ways is refused. Missing values never get to a converter.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from mofa_usage.importing.durations import duration_in
from mofa_usage.values import read_nested, text_uuid

__all__ = [
    "ValueRefusedError",
    "is_missing",
    "is_missing_text",
    "is_null",
    "text_id",
    "to_count",
    "to_json_object",
    "to_milliseconds",
    "to_money",
    "to_plain",
    "to_rate",
    "to_text",
    "to_time",
    "to_uuid",
]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A date of this century and a time, without punctuation. Counted since 1970 it would be a time long before there were
# calls, or centuries ahead.
_DATE_DIGITS = re.compile(r"(20\d{12})(?:\.(\d+)|(\d{3}|\d{6}))?|(20\d{10})", re.ASCII)
_SLASHED = re.compile(r"(\d{4})/(\d\d)/(\d\d)(?=[ T]|$)", re.ASCII)
_ZONE_BESIDE = re.compile(r"(Z|[+-]\d\d:?\d\d)\[[\w+\-/]+\]$", re.ASCII)  # Java's, behind the offset: Z[Etc/UTC]
_OF_MAIL = re.compile(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})", re.ASCII)
_ZONE_NAME = re.compile(r"\s*(UTC|GMT|Z)$", re.IGNORECASE)
_PLACES = 10  # of money
_MONEY_STEP = Decimal(1).scaleb(-_PLACES)
_SURE_DIGITS = 15  # of a double
_NOISY_DIGITS = (16, 17)  # that its shortest text may have

# Seconds, milliseconds, microseconds and nanoseconds since 1970 are told apart by size: each range is the years 1973 to
# 5138. Below it lies what is more likely a date written without dashes.
_EPOCH_UNITS = ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1))
_EARLIEST_EPOCH = 10**8
_NO_TIME = "is not a time (ISO 8601, or seconds or milliseconds since 1970)"


class ValueRefusedError(Exception):
    """A value that cannot be the field's. `rule` says which rule it breaks, `value` what was there."""

    def __init__(self, rule: str, value: object) -> None:
        super().__init__(rule)
        self.rule = rule
        self.value = value


def is_null(value: object) -> bool:
    """Whether a source's value is null, or a float NaN, which Parquet files written by pandas have for null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_missing_text(value: object) -> bool:
    """Whether a text of a CSV is missing: there, that is empty."""
    return value is None or value == ""


def is_missing(value: object) -> bool:
    """Whether a value that is no text is missing: null or blank."""
    if isinstance(value, str):
        return not value or value.isspace()
    return is_null(value)


def _to_number(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return Decimal(text)
    elif isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    elif isinstance(value, float):
        return Decimal(repr(value))  # the shortest decimal that is this float, not its binary digits
    raise ValueRefusedError("is not a number", value)


def _decoded(value: bytes) -> str:
    """Text that a Parquet file holds as bytes, as some writers do."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueRefusedError("is not text in UTF-8", value) from None


def _to_int(number: Decimal, value: object) -> int:
    if not number.is_finite() or number.adjusted() > 18:
        raise ValueRefusedError("is out of range", value)
    return int(number)


def to_count(value: object) -> int:
    """A whole number. `10.0` is one (pandas writes integers with gaps like that), `10.5` is refused."""
    if type(value) is str and len(value) < 18 and value.isascii() and value.isdigit():
        return int(value)
    number = _to_number(value)
    whole = _to_int(number, value)
    if whole != number:
        raise ValueRefusedError("is not a whole number", value)
    return whole


def to_milliseconds(value: object, unit: Decimal = Decimal(1)) -> int:
    """Whole milliseconds of a duration, or of a number of units; `unit` is how many milliseconds one is.

    A duration is one by its type, or says its unit in its text (`1.2s`). Rounded half to even: what is below a
    millisecond is noise of the clock.
    """
    if isinstance(value, timedelta):
        number = Decimal(value // timedelta(microseconds=1)) / 1000
    elif isinstance(value, str) and (said := duration_in(value)) is not None:
        number = said
    else:
        number = _to_number(value)
        _to_int(number, value)  # bounds it
        number *= unit
    return int(number.to_integral_value(ROUND_HALF_EVEN))


def to_money(value: object, *, rounded: bool = False) -> tuple[Decimal, bool]:
    """An exact amount with the ten decimal places that a record keeps, and whether it was rounded (half to even).

    A double has 15 significant digits that mean something; the 16th and 17th are the noise of sums and products of
    doubles (2.0000000000000002e-05) and are rounded away. Other digits beyond the tenth place are refused, or, with
    `rounded`, rounded.
    """
    number = _to_number(value)
    if not number.is_finite() or number.adjusted() > 18:
        raise ValueRefusedError("is out of range", value)
    exact = number
    if _digits(number) in _NOISY_DIGITS and _places(number) > _PLACES:
        number = number.quantize(Decimal(1).scaleb(number.adjusted() - _SURE_DIGITS + 1), ROUND_HALF_EVEN)
    if not rounded and number != 0 and _places(number) > _PLACES:
        raise ValueRefusedError(f"has more than {_PLACES} decimal places; --round-prices (round_prices) rounds", value)
    with localcontext() as context:
        context.prec = 50
        amount = number.quantize(_MONEY_STEP, rounding=ROUND_HALF_EVEN)
    return amount, amount != exact


def _digits(number: Decimal) -> int:
    """How many significant digits a number has."""
    return len("".join(map(str, number.as_tuple().digits)).strip("0"))


def _places(number: Decimal) -> int:
    digits, exponent = number.as_tuple().digits, number.as_tuple().exponent
    trailing = next((count for count, digit in enumerate(reversed(digits)) if digit), 0)
    return -(int(exponent) + trailing)


def to_rate(value: object) -> float:
    """A float."""
    return float(_to_number(value))


def to_text(value: object) -> str:
    """Text as it stands; a number (an error code 429) as its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, int | float | Decimal | UUID) and not isinstance(value, bool):
        return str(value)
    raise ValueRefusedError("is not text", value)


def to_uuid(value: object) -> UUID:
    """A UUID from its text in any usual form, or from its 16 bytes."""
    if isinstance(value, UUID):
        return value
    try:
        if isinstance(value, bytes):
            return UUID(bytes=value) if len(value) == 16 else UUID(_decoded(value).strip())
        if isinstance(value, str):
            return UUID(value.strip())
    except ValueError:
        pass
    raise ValueRefusedError("is not a UUID", value)


def text_id(field: str, value: object) -> UUID:
    """The UUID for an id that is no UUID: version 5 of its text among the ids of `field`, the same every time."""
    try:
        return to_uuid(value)
    except ValueRefusedError:
        return text_uuid(field, to_text(value))


def to_time(value: object, zone: tzinfo) -> tuple[datetime, bool]:
    """A time with a zone, cut to microseconds, and whether the zone had to be taken from `zone`.

    Takes ISO 8601, also with slashes, as Java writes it and as MongoDB wraps it (`{"$date": ...}`), the times of mails
    and HTTP, a date and time without punctuation (20260501120000), and seconds, milliseconds, microseconds or
    nanoseconds since 1970. In the hour that repeats when daylight saving ends, a time without a zone is the earlier
    one.
    """
    if isinstance(value, datetime):
        return (value, False) if value.tzinfo else (value.replace(tzinfo=zone), True)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=zone), True
    if isinstance(value, Mapping) and value.keys() == {"$date"}:
        value = value["$date"]
    if isinstance(value, Mapping | list | bool):
        raise ValueRefusedError(_NO_TIME, value)
    if isinstance(value, bytes):
        value = _decoded(value)
    text = str(value).strip()
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        return _from_iso(text, value, zone)
    if (digits := _DATE_DIGITS.fullmatch(text)) is not None and (time := _from_digits(digits)) is not None:
        return time.replace(tzinfo=zone), True
    return _from_epoch(_to_number(value), value), False


def _from_digits(digits: re.Match[str]) -> datetime | None:
    """The time that digits write, to the minute or to parts of a second; None where they write none."""
    to_second, point, fraction, to_minute = digits.groups()
    try:
        time = datetime.strptime(to_second or to_minute, "%Y%m%d%H%M%S" if to_second else "%Y%m%d%H%M")
    except ValueError:
        return None
    return time.replace(microsecond=int((point or fraction or "").ljust(6, "0")[:6]))


def _from_iso(text: str, value: object, zone: tzinfo) -> tuple[datetime, bool]:
    named = _ZONE_NAME.search(text)
    try:
        if _OF_MAIL.fullmatch(text):
            sent = parsedate_to_datetime(text)
            return (sent if sent.tzinfo else sent.replace(tzinfo=UTC)), False  # -0000 is UTC, too
        if not named:
            text = _SLASHED.sub(r"\1-\2-\3", _ZONE_BESIDE.sub(r"\1", text), count=1)
        time = datetime.fromisoformat(text[: named.start()] + "+00:00" if named else text)
    except ValueError:
        raise ValueRefusedError(_NO_TIME, value) from None
    return (time, False) if time.tzinfo else (time.replace(tzinfo=zone), True)


def _from_epoch(number: Decimal, value: object) -> datetime:
    if not number.is_finite() or not _EARLIEST_EPOCH <= abs(number) < 10**20:
        raise ValueRefusedError("is a number that is no time: seconds or milliseconds since 1970 were expected", value)
    for limit, microseconds in _EPOCH_UNITS:
        if abs(number) < limit:
            return _EPOCH + timedelta(microseconds=int(number * microseconds))
    return _EPOCH + timedelta(microseconds=int(number) // 1000)


def to_json_object(value: object) -> Mapping[str, Any]:
    """A JSON object, from itself or from its text; numbers with a point are Decimal."""
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, str):
        try:
            value = read_nested(value)
        except ValueError:
            raise ValueRefusedError("is not JSON", value) from None
    if not isinstance(value, Mapping):
        raise ValueRefusedError("is not a JSON object", value)
    return value


def to_plain(value: Any) -> Any:
    """JSON as records keep it: with floats where the reader made decimals."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    return value
