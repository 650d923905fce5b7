"""How a value becomes exact on Spark: the rules of `exact.py` in Spark's SQL.

They are apart from those of Polars and DuckDB because Spark's words differ in more than their names: `'` and `"` both
quote text there and a backtick a name, a cast reads text on the clock of the session, `percentile` and `rint` are what
is called otherwise elsewhere. What a value becomes, and which ones are refused, is the same.

An expression is null where a value does not fit, and there is none for a type that has no exact cast at all. Types are
named as Spark names them: `bigint`, `decimal(15,10)`, `map<string,string>`. Text of times must name its zone, and then
the session's does not matter; a type without one (`timestamp_ntz`) is refused.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from mofa_usage.reading.columns import CallColumn, bare
from mofa_usage.reading.details import NOTHING
from mofa_usage.reading.exact import TIME_TEXT, Leeway
from mofa_usage.schema import Kind

__all__ = ["exact", "field_name", "moment", "named", "sql_type", "text_inside", "text_literal"]

_WHOLE_NUMBERS = ("tinyint", "smallint", "int", "bigint")
_FLOATS = ("float", "double")
_TEXTS = ("string", "char(", "varchar(")
_SURE = 2**53  # from here on a float skips whole numbers
_FEW_DIGITS = 100_000  # a float below has at most 15 digits when it has ten places, which it holds exactly
_UUID = "^[0-9A-Fa-f-]{32,36}$"
_CODE = "^[ \t\r\n]*([A-Za-z]{3})[ \t\r\n]*$"
_MONEY = "decimal(38,10)"
_TYPES: Mapping[Kind, str] = MappingProxyType(
    {Kind.INTEGER: "bigint", Kind.RATE: "double", Kind.MONEY: _MONEY, Kind.TIME: "timestamp"}
)


def named(name: str) -> str:
    """A column in Spark's SQL, which takes a dot for the way into a struct and `Team` and `team` for one name."""
    return f"`{bare(name)}`"


def field_name(name: str) -> str:
    """The field of a struct, whose name stays what it is, in Spark's SQL."""
    return f"`{name.replace('`', '``')}`"


def text_literal(text: str) -> str:
    """A text in Spark's SQL, where a backslash is no letter; what is not plain is said by its code point."""
    return "'" + "".join(c if c.isascii() and c.isprintable() and c not in "'\\" else _escaped(c) for c in text) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def moment(instant: datetime) -> str:
    """An instant in Spark's SQL."""
    return f"timestamp '{instant.astimezone(UTC).isoformat(' ')}'"


def sql_type(column: CallColumn) -> str:
    """The type of a column of calls, as Spark names it."""
    return _TYPES.get(column.kind, "string")


def exact(column: CallColumn, value: str, given: str, leeway: Leeway) -> str | None:
    """The value of a column of calls exactly, from one of the given type."""
    if given == "void":
        return f"CAST(NULL AS {sql_type(column)})"
    if column.name == "currency":
        return _currency(value, given)
    return (_milliseconds if column.unit == "milliseconds" else _RULES[column.kind])(value, given, leeway)


def text_inside(column: CallColumn, value: str, given: str, fields: Mapping[str, str], which: str) -> str:
    """What is under the column's key in a value of the type `given`, as text, null where nothing is.

    `fields` are those of a struct, with their types; `which` names the call in an error.
    """
    key = column.key or ""
    if given.startswith("map<string,"):
        return f"CAST(try_element_at({value}, {text_literal(key)}) AS string)"
    if given.startswith("struct<"):
        if key not in fields:
            return "CAST(NULL AS string)"
        inside = f"{value}.{field_name(key)}"
        return (
            f"to_json({inside})"
            if fields[key].startswith(("struct<", "map<", "array<"))
            else f"CAST({inside} AS string)"
        )
    read = f"from_json({value}, 'map<string,string>')"
    said = text_literal(f"{column.source} of the call ")
    refusal = f"raise_error({said} || {which} || ' cannot be read: it is no JSON object')"
    nothing = f"{value} rlike {text_literal(NOTHING)}"
    return (
        f"CASE WHEN {value} IS NULL OR {nothing} THEN NULL WHEN {read} IS NULL THEN {refusal} "
        f"ELSE try_element_at({read}, {text_literal(key)}) END"
    )


# --- text and ids ---------------------------------------------------------------------------------------------------


def _text(value: str, given: str, _: Leeway) -> str | None:
    if given.startswith(_TEXTS):
        return value
    if given in _WHOLE_NUMBERS:
        return f"CAST({value} AS string)"
    if given in _FLOATS:
        return f"CAST({_whole(value)} AS string)"
    return f"try_validate_utf8(CAST({value} AS string))" if given == "binary" else None


def _currency(value: str, given: str) -> str | None:
    code = f"upper(nullif(regexp_extract({value}, {text_literal(_CODE)}, 1), ''))"
    return f"coalesce({code}, {value})" if given.startswith(_TEXTS) else None


def _id(value: str, given: str, leeway: Leeway) -> str | None:
    text = _text(value, given, leeway)
    if text is None:
        return None
    is_uuid = f"{text} rlike '{_UUID}'"
    if given != "binary":
        return f"CASE WHEN {is_uuid} THEN lower({text}) ELSE {text} END"
    digits = f"lower(hex({value}))"
    parts = (f"substr({digits}, {at}, {size})" for at, size in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12)))
    written = f"concat_ws('-', {', '.join(parts)})"
    return f"CASE WHEN octet_length({value}) = 16 THEN {written} WHEN {is_uuid} THEN lower({text}) END"


# --- numbers --------------------------------------------------------------------------------------------------------


def _whole(value: str) -> str:
    """A float as a whole number; NaN is above every number to Spark."""
    return f"CASE WHEN {value} = rint({value}) AND abs({value}) < {_SURE} THEN CAST({value} AS bigint) END"


def _count(value: str, given: str, _: Leeway) -> str | None:
    if given in _WHOLE_NUMBERS:
        return f"CAST({value} AS bigint)"
    if given in _FLOATS:
        return _whole(value)
    return f"CASE WHEN {value} % 1 = 0 THEN try_cast({value} AS bigint) END" if given.startswith("decimal(") else None


def _milliseconds(value: str, given: str, leeway: Leeway) -> str | None:
    if given.startswith("interval ") and "year" not in given and "month" not in given:
        value, given = f"(unix_micros(timestamp_micros(0) + {value}) / 1000.0D)", "double"
    if given in _FLOATS or given.startswith("decimal("):
        return _whole(f"rint(CAST({value} AS double))")
    return _count(value, given, leeway)


def _rate(value: str, given: str, _: Leeway) -> str | None:
    if given in _FLOATS:
        return f"CASE WHEN abs({value}) < double('Infinity') THEN CAST({value} AS double) END"
    return f"CAST({value} AS double)" if given in _WHOLE_NUMBERS or given.startswith("decimal(") else None


def _money(value: str, given: str, leeway: Leeway) -> str | None:
    if given in _WHOLE_NUMBERS:
        return f"CAST({value} AS {_MONEY})"
    if given.startswith("decimal("):
        if int(given.rstrip(")").partition(",")[2]) <= 10:
            return f"try_cast({value} AS {_MONEY})"
        if leeway.round_prices:
            return f"try_cast(bround({value}, 10) AS {_MONEY})"
        return f"CASE WHEN {value} % 0.0000000001BD = 0 THEN try_cast({value} AS {_MONEY}) END"
    if given not in _FLOATS:
        return None
    if given == "float":
        value = f"CAST(CAST({value} AS string) AS double)"  # by its shortest decimal
    price = f"try_cast({value} AS {_MONEY})"
    # Of a float of ten places below the bound it is the only one near; a larger one must be written with so few.
    is_exact = (
        f"CAST({price} AS double) = {value} AND (abs({value}) < {_FEW_DIGITS} OR abs({value}) >= 1e7D"
        f" OR CAST({value} AS string) rlike '^-?[0-9]+[.][0-9]{{1,10}}$')"
    )
    rounded = (
        f"try_cast(bround(try_cast({value} AS decimal(38,28)), 10) AS {_MONEY})" if leeway.round_prices else "NULL"
    )
    return f"CASE WHEN abs({value}) >= 1e19D THEN NULL WHEN {is_exact} THEN {price} ELSE {rounded} END"


# --- times ----------------------------------------------------------------------------------------------------------


def _time(value: str, given: str, _: Leeway) -> str | None:
    if given == "timestamp":
        return value
    if not given.startswith(_TEXTS):
        return None
    whole = f"regexp_replace(upper({value}), '^(.{{16}})([Z+-])', '$1:00$2')"  # without seconds
    written = f"regexp_replace({whole}, '([+-][0-9]{{2}}):?([0-9]{{2}})?$', '$1:$2')"
    time = f"try_cast(regexp_replace({written}, ':$', ':00') AS timestamp)"
    return f"CASE WHEN {value} rlike {text_literal(TIME_TEXT)} THEN {time} END"


_RULES: Mapping[Kind, Callable[[str, str, Leeway], str | None]] = MappingProxyType(
    {
        Kind.ID: _id,
        Kind.TEXT: _text,
        Kind.KEY: _text,
        Kind.NAME: _text,
        Kind.JSON: _text,
        Kind.INTEGER: _count,
        Kind.RATE: _rate,
        Kind.MONEY: _money,
        Kind.TIME: _time,
    }
)
