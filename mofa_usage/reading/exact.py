"""How a value becomes exact, said once: a rule for each kind of column, as Polars does it and as DuckDB does it.

Frames and rows of databases are read by Polars, Parquet files and relations by DuckDB, and the same value must become
the same thing, or be refused, by both. So each rule has its two renderings side by side: an expression that is null
where a value does not fit. Whoever uses it refuses those, naming the column and the call. A rendering is None for a
type that has no exact cast at all.

- **text**: text as it is; whole numbers (an error code 429) as their digits; bytes are UTF-8.
- **currencies**: as text; three letters are a code, in capitals and without the blanks around them.
- **ids**: as text; UUIDs in lower case, also from their 16 bytes.
- **counts**: whole numbers of 64 bits. A float is sure of its units up to 2^53, and refused beyond.
- **milliseconds**: durations of any unit, and numbers, rounded half to even: below a millisecond is the clock's noise.
- **rates**: finite floats.
- **money**: ten decimal places, exactly. Of a float the shortest decimal counts that is this float, so a 32-bit 0.0129
  is 0.0129. What has more places is refused, or rounded half to even where that was asked for.
- **times**: instants to the microsecond, later digits cut off. Text is RFC 3339, also with a blank for the `T`, without
  seconds, or with a zone of hours only. Hour 24, second 60 and years outside 1 to 9999 are none, and neither is what
  has no zone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from mofa_usage.errors import require
from mofa_usage.reading.columns import MONEY, TIME, CallColumn
from mofa_usage.schema import Kind
from mofa_usage.values import exact_price

require("pyarrow", extra="analysis")
import pyarrow as pa  # noqa: E402

__all__ = ["STRICT", "TIME_TEXT", "Leeway", "Rule", "rule_of", "ten_places"]

_SURE = 2**53  # from here on a float skips whole numbers
_FEW_DIGITS = 100_000  # a float below has at most 15 digits when it has ten places, which it holds exactly
_UUID = "^[0-9A-Fa-f-]{32,36}$"
_CODE = "^[ \\t\\r\\n]*([A-Za-z]{3})[ \\t\\r\\n]*$"
_HOUR = "(?:[01][0-9]|2[0-3])"
TIME_TEXT = (
    rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt ]{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?"
    rf"(?:[Zz]|[+-]{_HOUR}(?::?[0-5][0-9])?)$"
)
_PLAIN_TIME = rf"^[0-9-]{{10}}T{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-]{_HOUR}:[0-5][0-9])$"
_FIRST, _LAST = "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999

_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_INTEGERS = (*_SIGNED, *(f"U{name}" for name in _SIGNED))
_FLOATS = ("FLOAT", "DOUBLE")


class Leeway(NamedTuple):
    """How values are read where there is a choice.

    `naive_utc`: times without a zone are UTC (MySQL's DATETIME), else they have no exact cast. `round_prices`: prices
    with more than ten places are rounded.
    """

    naive_utc: bool = False
    round_prices: bool = False


STRICT = Leeway()
"""Nothing is assumed and nothing rounded."""


@dataclass(frozen=True)
class Rule:
    """What the values of a column become: the type, its word in a message, and how Polars and DuckDB get there.

    `polars` takes an expression with its type, `sql` an expression of DuckDB with the name of its type.
    """

    sql_type: str
    meaning: str
    polars: Callable[[pl.Expr, pl.DataType, Leeway], pl.Expr | None]
    sql: Callable[[str, str, Leeway], str | None]


def rule_of(column: CallColumn) -> Rule:
    """The rule for the values of a column."""
    if column.name == "currency":
        return _CURRENCY
    return _MILLISECONDS if column.unit == "milliseconds" else _RULES[column.kind]


# --- text and ids ---------------------------------------------------------------------------------------------------


def _text(value: pl.Expr, dtype: pl.DataType, _: Leeway) -> pl.Expr | None:
    if isinstance(dtype, pl.String):
        return value
    if dtype.is_integer() or isinstance(dtype, pl.Categorical | pl.Enum):
        return value.cast(pl.String)
    if dtype.is_float():
        return _whole(value, dtype).cast(pl.String)
    return value.map_batches(_utf8, return_dtype=pl.String) if isinstance(dtype, pl.Binary) else None


def _utf8(values: pl.Series) -> pl.Series:
    try:
        return values.cast(pl.String)
    except pl.exceptions.ComputeError:  # of one value; Polars does not say of which
        return pl.Series([_text_of(value) for value in values], dtype=pl.String)


def _text_of(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _sql_text(value: str, given: str, _: Leeway) -> str | None:
    if given == "VARCHAR":
        return value
    if given in (*_INTEGERS, "UUID", "JSON") or given.startswith("ENUM"):
        return f"CAST({value} AS VARCHAR)"
    if given in _FLOATS:
        return f"CAST({_sql_whole(value, given)} AS VARCHAR)"
    return f"TRY(decode({value}))" if given == "BLOB" else None


def _currency(value: pl.Expr, dtype: pl.DataType, _: Leeway) -> pl.Expr | None:
    if not isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return None
    return value.cast(pl.String).map_batches(_codes, return_dtype=pl.String)


def _codes(texts: pl.Series) -> pl.Series:
    if texts.unique().str.contains("^[A-Z]{3}$").all():  # they are few, and what they should be
        return texts
    text = pl.col("text")
    return texts.to_frame("text").select(pl.coalesce(text.str.extract(_CODE).str.to_uppercase(), text))["text"]


def _sql_currency(value: str, given: str, leeway: Leeway) -> str | None:
    text = _sql_text(value, given, leeway) if given == "VARCHAR" or given.startswith("ENUM") else None
    code = f"upper(nullif(regexp_extract({text}, '{_CODE}', 1), ''))"
    return None if text is None else f"coalesce({code}, {text})"


def _id(value: pl.Expr, dtype: pl.DataType, leeway: Leeway) -> pl.Expr | None:
    text = _text(value, dtype, leeway)
    if isinstance(dtype, pl.Binary):  # how Parquet and Arrow keep a UUID: 16 bytes
        digits = value.bin.encode("hex")
        parts = [digits.str.slice(at, size) for at, size in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        written = None if text is None else pl.when(text.str.contains(_UUID)).then(text)
        text = pl.when(value.bin.size() == 16).then(pl.concat_str(parts, separator="-")).otherwise(written)
    return None if text is None else text.map_batches(_lower_case, return_dtype=pl.String)


def _lower_case(ids: pl.Series) -> pl.Series:
    # Looked for first: lower case is the rule, and writing it again would double the memory of the ids.
    if not ids.str.contains("[A-F]").any():
        return ids
    frame = ids.to_frame("id")
    is_uuid = pl.col("id").str.contains(_UUID)
    return frame.select(pl.when(is_uuid).then(pl.col("id").str.to_lowercase()).otherwise("id"))["id"]


def _sql_id(value: str, given: str, leeway: Leeway) -> str | None:
    text = _sql_text(value, given, leeway)
    if text is None or given == "UUID":
        return text
    if given != "BLOB":
        # Lower case is the rule, and comparing takes a tenth of the time of looking whether it is a UUID.
        is_uuid = f"regexp_matches({text}, '{_UUID}')"
        # A search for each letter takes a third less than making the text anew in lower case to compare it.
        has_upper = " OR ".join(f"contains({text}, '{letter}')" for letter in "ABCDEF")
        return f"CASE WHEN NOT ({has_upper}) THEN {text} WHEN {is_uuid} THEN lower({text}) ELSE {text} END"
    written = f"CASE WHEN regexp_matches({text}, '{_UUID}') THEN lower({text}) END"
    return f"CASE WHEN octet_length({value}) = 16 THEN CAST(CAST(hex({value}) AS UUID) AS VARCHAR) ELSE {written} END"


# --- numbers --------------------------------------------------------------------------------------------------------


def _whole(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    fits = value == value.floor()
    if dtype.is_float():
        fits &= value.abs() < _SURE
    return pl.when(fits).then(value).cast(pl.Int64, strict=False)


def _sql_whole(value: str, given: str) -> str:
    sure = f" AND abs({value}) < {_SURE}" if given in _FLOATS else ""
    return f"CASE WHEN {value} = floor({value}){sure} THEN TRY_CAST({value} AS BIGINT) END"


def _count(value: pl.Expr, dtype: pl.DataType, _: Leeway) -> pl.Expr | None:
    if dtype.is_integer():
        return value.cast(pl.Int64, strict=False)
    return _whole(value, dtype) if dtype.is_float() or dtype.is_decimal() else None


def _sql_count(value: str, given: str, _: Leeway) -> str | None:
    if given == "BIGINT":
        return value
    if given in _INTEGERS:
        return f"TRY_CAST({value} AS BIGINT)"
    return _sql_whole(value, given) if given in _FLOATS or given.startswith("DECIMAL") else None


def _duration(value: pl.Expr, dtype: pl.DataType, leeway: Leeway) -> pl.Expr | None:
    if isinstance(dtype, pl.Duration):
        microseconds = value.cast(pl.Duration("us")).cast(pl.Int64)
        value, dtype = microseconds / 1000, pl.Float64()
    if dtype.is_float() or dtype.is_decimal():
        return _whole(value.cast(pl.Float64).round(0, mode="half_to_even"), pl.Float64())
    return _count(value, dtype, leeway)


def _sql_duration(value: str, given: str, leeway: Leeway) -> str | None:
    if given == "INTERVAL":
        value, given = f"(epoch_us({value}) / 1000.0::DOUBLE)", "DOUBLE"
    if given in _FLOATS or given.startswith("DECIMAL"):
        return _sql_whole(f"round_even(CAST({value} AS DOUBLE), 0)", "DOUBLE")
    return _sql_count(value, given, leeway)


def _rate(value: pl.Expr, dtype: pl.DataType, _: Leeway) -> pl.Expr | None:
    if not dtype.is_numeric():
        return None
    rate = value.cast(pl.Float64)
    return pl.when(rate.is_finite()).then(rate) if dtype.is_float() else rate


def _sql_rate(value: str, given: str, _: Leeway) -> str | None:
    if given in _FLOATS:
        return f"CASE WHEN isfinite({value}) THEN CAST({value} AS DOUBLE) END"
    return f"CAST({value} AS DOUBLE)" if given in _INTEGERS or given.startswith("DECIMAL") else None


# --- money ----------------------------------------------------------------------------------------------------------


def _money(value: pl.Expr, dtype: pl.DataType, leeway: Leeway) -> pl.Expr | None:
    if not dtype.is_numeric():
        return None
    if dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale <= MONEY.scale):
        return value.cast(MONEY, strict=False)
    if dtype == pl.Float32:
        value = value.cast(pl.String).cast(pl.Float64)  # by its shortest decimal

    def prices(numbers: pl.Series) -> pl.Series:
        return _prices(numbers, leeway.round_prices)

    return value.map_batches(prices, return_dtype=MONEY)


def _prices(numbers: pl.Series, rounded: bool) -> pl.Series:
    """The prices that are exact at once, and the others one by one."""
    sized = numbers
    if numbers.dtype == pl.Float64:  # what has more digits than the type is no null to Polars but an error
        sized = numbers.zip_with(numbers.abs() < 1e19, pl.Series([None], dtype=pl.Float64))
    prices = sized.cast(MONEY, strict=False)
    settled = prices.cast(numbers.dtype, strict=False) == numbers
    if numbers.dtype == pl.Float64:
        settled &= numbers.abs() < _FEW_DIGITS
        if rounded:
            units = numbers * 1e10
            is_near_a_half = (units - units.floor() - 0.5).abs() < 0.25
            settled |= (numbers.abs() < _FEW_DIGITS) & is_near_a_half.not_()
    open_ = (settled.fill_null(False).not_() & numbers.is_not_null()).arg_true()
    if open_.is_empty():
        return prices
    found = [exact_price(number, rounded=rounded) for number in numbers.gather(open_)]
    return prices.scatter(open_, pl.Series(found, dtype=MONEY))


def _sql_money(value: str, given: str, leeway: Leeway) -> str | None:
    if given in _INTEGERS:
        return f"TRY_CAST({value} AS DECIMAL(38,10))"
    if given.startswith("DECIMAL"):
        if int(given.rstrip(")").partition(",")[2]) <= 10:
            return f"TRY_CAST({value} AS DECIMAL(38,10))"
        return _sql_ten_places(value, given, leeway)
    if given not in _FLOATS:
        return None
    text = f"CAST({value} AS VARCHAR)"
    if given == "FLOAT":
        text = _sql_shortest(value)
        value = f"CAST({text} AS DOUBLE)"
    quick = f"TRY_CAST({value} AS DECIMAL(18,10))"
    # From 1e10 on a float has no ten places; 28 places hold all digits of one that is above 1e-10.
    long = _sql_ten_places(f"TRY_CAST({text} AS DECIMAL(38,28))", "DECIMAL(38,28)", leeway)
    slow = (
        f"CASE WHEN {value} IS NULL OR NOT isfinite({value}) OR abs({value}) >= 1e19 THEN NULL "
        f"WHEN abs({value}) >= 1e10 THEN TRY_CAST({text} AS DECIMAL(38,10)) "
        f"WHEN abs({value}) >= 1e-10 THEN {long} "
        f"ELSE {_sql_tiny(value) if leeway.round_prices else 'NULL'} END"
    )
    is_quick = f"abs({value}) < {_FEW_DIGITS} AND CAST({quick} AS DOUBLE) = {value}"
    return f"CASE WHEN {is_quick} THEN CAST({quick} AS DECIMAL(38,10)) ELSE {slow} END"


def _sql_tiny(value: str) -> str:
    """What a float below the tenth place rounds to."""
    return f"CAST(CASE WHEN abs({value}) > 5e-11 THEN sign({value}) * 1e-10 ELSE 0 END AS DECIMAL(38,10))"


def _sql_ten_places(value: str, given: str, leeway: Leeway) -> str:
    """A decimal of more places with ten of them: exactly, or rounded half to even."""
    if leeway.round_prices:
        return ten_places(value, given)
    price = f"TRY_CAST({value} AS DECIMAL(38,10))"
    return f"CASE WHEN CAST({price} AS {given}) = {value} THEN {price} END"


def ten_places(value: str, given: str) -> str:
    """A decimal of the type `given` rounded half to even at ten places, as SQL. DuckDB's cast rounds half away."""
    price = f"TRY_CAST({value} AS DECIMAL(38,10))"
    is_half = f"abs(CAST({price} AS {given}) - {value}) = 0.00000000005"
    return (
        f"CASE WHEN {is_half} AND ({price} * 10000000000) % 2 <> 0 "
        f"THEN CAST({price} - sign({value}) * 0.0000000001 AS DECIMAL(38,10)) ELSE {price} END"
    )


def _sql_shortest(value: str) -> str:
    """The shortest decimal that is a 32-bit float, as text."""
    tries = (
        f"WHEN CAST(printf('%.{digits}g', {value}) AS FLOAT) = {value} THEN printf('%.{digits}g', {value})"
        for digits in (6, 7, 8)
    )
    return f"CASE {' '.join(tries)} ELSE printf('%.9g', {value}) END"


# --- times ----------------------------------------------------------------------------------------------------------


def _time(value: pl.Expr, dtype: pl.DataType, leeway: Leeway) -> pl.Expr | None:
    if isinstance(dtype, pl.String):
        return value.map_batches(_times, return_dtype=TIME)
    if not isinstance(dtype, pl.Datetime) or (dtype.time_zone is None and not leeway.naive_utc):
        return None
    zoned = value.dt.replace_time_zone("UTC") if dtype.time_zone is None else value.dt.convert_time_zone("UTC")
    return zoned.cast(TIME)


def _times(texts: pl.Series) -> pl.Series:
    """The instants that texts say, null for those that say none."""
    times = _plain_times(texts)
    return _within_years(_times_of_any_form(texts) if times is None else times)


def _plain_times(texts: pl.Series) -> pl.Series | None:
    """The instants of texts that Arrow can read, None where it cannot read one of them.

    It takes a sixth of the time that Polars does, and of what is long enough to have seconds it reads nothing that is
    not meant here.
    """
    lengths = texts.str.len_bytes()
    if (lengths < len("2000-01-01T00:00:00Z")).any():
        return None
    is_finer = (lengths > len("2000-01-01T00:00:00.000000+00:00")).any()
    try:
        arrow = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
        times = arrow.cast(pa.timestamp("ns" if is_finer else "us", "UTC"))
    except pa.ArrowInvalid:
        return None
    return pl.Series(texts.name, times).dt.cast_time_unit("us")


def _times_of_any_form(texts: pl.Series) -> pl.Series:
    plain = texts.str.contains(_PLAIN_TIME)
    if not plain.all():
        upper = pl.when(pl.col("text").str.contains(TIME_TEXT)).then(pl.col("text").str.to_uppercase())
        whole = upper.str.replace("^(.{10}) ", "${1}T").str.replace("^(.{16})([Z+-])", "${1}:00${2}")
        written = whole.str.replace("([+-][0-9]{2})$", "${1}:00")
        texts = texts.to_frame("text").select(written)["text"]
    return texts.str.to_datetime("%+", time_unit="us", strict=False)


def _within_years(times: pl.Series) -> pl.Series:
    microseconds = times.dt.epoch("us")
    if times.is_empty() or microseconds.is_between(_FIRST_MICROSECOND, _LAST_MICROSECOND).all():
        return times
    return times.set(microseconds.is_between(_FIRST_MICROSECOND, _LAST_MICROSECOND).not_(), None)


def _sql_time(value: str, given: str, _: Leeway) -> str | None:
    if given == "TIMESTAMP WITH TIME ZONE":
        return value
    if given == "TIMESTAMPTZ_NS":  # a cast would round
        return f"CAST(date_trunc('microseconds', {value}) AS TIMESTAMPTZ)"
    if given != "VARCHAR":
        return None
    time = f"TRY_CAST(upper({value}) AS TIMESTAMPTZ)"
    within = f"{time} BETWEEN TIMESTAMPTZ '{_FIRST}' AND TIMESTAMPTZ '{_LAST}'"
    return f"CASE WHEN regexp_matches({value}, '{TIME_TEXT}') AND {within} THEN {time} END"


_TEXT = Rule("VARCHAR", "text", _text, _sql_text)
_RULES: Mapping[Kind, Rule] = {
    Kind.ID: Rule("VARCHAR", "id", _id, _sql_id),
    Kind.TEXT: _TEXT,
    Kind.KEY: _TEXT,
    Kind.NAME: _TEXT,
    Kind.JSON: _TEXT,
    Kind.INTEGER: Rule("BIGINT", "whole number of 64 bits", _count, _sql_count),
    Kind.RATE: Rule("DOUBLE", "finite number", _rate, _sql_rate),
    Kind.MONEY: Rule(
        "DECIMAL(38,10)",
        "price that 10 decimal places hold exactly (round_prices=True rounds it)",
        _money,
        _sql_money,
    ),
    Kind.TIME: Rule("TIMESTAMP WITH TIME ZONE", "time in RFC 3339 with a zone", _time, _sql_time),
}
_CURRENCY = Rule("VARCHAR", "currency", _currency, _sql_currency)
_MILLISECONDS = Rule("BIGINT", "whole number of milliseconds of 64 bits", _duration, _sql_duration)
