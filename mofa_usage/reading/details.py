"""Values that stand inside JSON: the details of tokens and prices, and labels, taken apart into columns.

A column of details holds JSON objects as text, structs, or maps. Null says nothing, and so does what Python takes for
nothing: `null`, 0, false, an empty text or list. Anything else that is no object is refused, naming the call. A number
may be given as text; what is asked for as a number and is none is refused too. Prices in there are rounded to their ten
places, because Rust computes them as doubles.

Polars decodes a whole column at once and fails as a whole. Then it is tried in smaller and smaller parts, so that only
the rows around an odd one (a list where text is expected, a number of 400 digits) are decoded one by one.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from mofa_usage.errors import MofaUsageError, UsageError
from mofa_usage.reading.columns import CallColumn, literal, quoted
from mofa_usage.schema import Kind
from mofa_usage.values import read_json

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

__all__ = [
    "NOTHING",
    "NUMBER",
    "NUMBERS",
    "fields_inside",
    "naming",
    "sql_names_inside",
    "sql_number",
    "sql_text_inside",
    "take_apart",
]

NUMBERS = (Kind.INTEGER, Kind.MONEY)
"""The kinds of values that are numbers in JSON."""

NUMBER = r"^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
_FEW = 32  # rows that are decoded one by one where Polars cannot
_PARTS = 32  # of a column that cannot be decoded at once
NOTHING = r'^\s*(?:null|false|-?0(?:\.0*)?|""|\[\s*\])\s*$'


def naming(rows: pl.DataFrame, row: int) -> str:
    """What a row is called in a message."""
    return f"the call {rows['id'][row]}" if "id" in rows.columns else f"row {row}"


def take_apart(raw: pl.DataFrame, columns: Sequence[CallColumn], error: type[MofaUsageError]) -> pl.DataFrame:
    """The rows with a column for each value inside JSON: floats for numbers, else text.

    Raises:
        UsageError: a column of details is neither text nor a struct nor a map.
        MofaUsageError: as `error`, for text that is no JSON object, or a number that is none.
    """
    inside: dict[str, list[CallColumn]] = {}
    for column in columns:
        inside.setdefault(column.source or "", []).append(column)
    values = (_Details(raw, source, wanted, error).values() for source, wanted in inside.items())
    return raw.with_columns([series for found in values for series in found])


class _Details:
    """A column of details, of which some keys are wanted as columns."""

    def __init__(
        self, raw: pl.DataFrame, source: str, columns: Sequence[CallColumn], error: type[MofaUsageError]
    ) -> None:
        self._raw = raw
        self._source = source
        self._columns = columns
        self._names = [column.name for column in columns]
        self._fields = pl.Struct(dict.fromkeys((column.key or "" for column in columns), pl.String))
        self._error = error

    def values(self) -> list[pl.Series]:
        details = self._raw[self._source]
        if isinstance(details.dtype, pl.Map):
            return [self._typed(self._mapped(column), column) for column in self._columns]
        given = self._texts(details)
        if (quick := self._quickly(given)) is not None:
            return quick
        texts = self._decoded(given, 0)
        return [self._typed(texts[column.name], column) for column in self._columns]

    def _typed(self, texts: pl.Series, column: CallColumn) -> pl.Series:
        return self._number(texts) if column.kind in NUMBERS else texts

    def _mapped(self, column: CallColumn) -> pl.Series:
        """The value of a key of a map, as text."""
        value = pl.col(self._source).map.get(column.key or "").cast(pl.String)
        return self._raw.select(value.alias(column.name))[column.name]

    def _texts(self, details: pl.Series) -> pl.Series:
        if isinstance(details.dtype, pl.Struct):
            written = pl.when(pl.col(self._source).is_not_null()).then(pl.col(self._source).struct.json_encode())
            return self._raw.select(written.alias(self._source))[self._source]
        if details.dtype not in (pl.String(), pl.Null()):
            raise UsageError(f"the column {self._source} is {details.dtype}; details are read from JSON text")
        return details.cast(pl.String)

    def _quickly(self, texts: pl.Series) -> list[pl.Series] | None:
        """The values at once, where all are what is wanted: numbers are numbers, and not text that says one."""
        types: list[pl.DataType] = [pl.Float64() if column.kind in NUMBERS else pl.String() for column in self._columns]
        if texts.null_count() == len(texts):
            nulls = zip(self._names, types, strict=True)
            return [pl.Series(name, [None], dtype=dtype).new_from_index(0, len(texts)) for name, dtype in nulls]
        keys = [column.key or "" for column in self._columns]
        try:
            decoded = texts.str.json_decode(pl.Struct(dict(zip(keys, types, strict=True))))
        except (pl.exceptions.ComputeError, pl.exceptions.ShapeError):
            return None
        if len(decoded) != len(texts):
            return None
        values = [decoded.struct.field(key).alias(name) for key, name in zip(keys, self._names, strict=True)]
        return None if self._may_be_truths(values, texts) else values

    def _may_be_truths(self, values: Sequence[pl.Series], texts: pl.Series) -> bool:
        """Whether a 1 or 0 among the numbers may have been `true` or `false`."""
        numbers = [series for series, column in zip(values, self._columns, strict=True) if column.kind in NUMBERS]
        if not numbers:
            return False
        doubtful = pl.DataFrame(numbers).select_seq(pl.any_horizontal((pl.all() == 0) | (pl.all() == 1))).to_series()
        return bool(texts.filter(doubtful).str.contains_any(["true", "false"]).any())

    def _decoded(self, texts: pl.Series, first: int) -> pl.DataFrame:
        """The values as text, a column each; `first` is the place of the first of the texts among the rows."""
        for given in (texts, _without_nothing(texts)):
            try:
                decoded = given.str.json_decode(self._fields)
            except (pl.exceptions.ComputeError, pl.exceptions.ShapeError):
                continue
            # The decoder reads all rows as one text, so two in one could hide; then there are more than there were.
            if len(decoded) == len(texts):
                return pl.DataFrame(decoded.struct.unnest().get_columns()).rename(
                    dict(zip(decoded.struct.fields, self._names, strict=True))
                )
        if len(texts) <= _FEW:
            rows = [self._row(text, first + place) for place, text in enumerate(texts)]
            return pl.DataFrame(rows, schema=dict.fromkeys(self._names, pl.String), orient="row")
        size = max(_FEW, len(texts) // _PARTS + 1)
        starts = range(0, len(texts), size)
        return pl.concat(self._decoded(texts.slice(start, size), first + start) for start in starts)

    def _row(self, text: str | None, row: int) -> list[str | None]:
        try:
            details = (None if text is None else read_json(text)) or {}
            if not isinstance(details, Mapping):
                raise ValueError(f"it is a {type(details).__name__} and no JSON object")
        except ValueError as cause:
            raise self._error(f"{self._source} of {naming(self._raw, row)} cannot be read: {cause}") from cause
        return [_as_text(details.get(column.key)) for column in self._columns]

    def _number(self, texts: pl.Series) -> pl.Series:
        frame = texts.to_frame("text")
        text = pl.col("text")
        numbers = frame.select(pl.when(text.str.contains(NUMBER)).then(text).cast(pl.Float64, strict=False))["text"]
        if numbers.null_count() > texts.null_count():
            row = (numbers.is_null() & texts.is_not_null()).arg_max() or 0
            what = f"{texts.name} is {texts[row][:40]!r} and no number"
            raise self._error(f"{self._source} of {naming(self._raw, row)} cannot be read: {what}")
        return numbers.alias(texts.name)


def _without_nothing(texts: pl.Series) -> pl.Series:
    frame = texts.to_frame("text")
    return frame.select(pl.when(pl.col("text").str.contains(NOTHING).not_()).then("text"))["text"]


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, Decimal) else json.dumps(value, default=str)


# --- the same, as DuckDB says it ------------------------------------------------------------------------------------


def fields_inside(kind: Any) -> dict[str, Any]:
    """The fields of a struct, each with what is inside it; none of anything else."""
    return {field: fields_inside(inner) for field, inner in kind.children} if kind.id == "struct" else {}


def sql_names_inside(source: str, given: "DuckDBPyType") -> str:
    """The names in the objects of a column, as a list of those that have a value.

    What is no JSON object has none; `sql_text_inside` refuses it.
    """
    column = quoted(source)
    if given.id == "struct":
        fields = ((f"{column}.{quoted(name)}", literal(name)) for name, _ in given.children)
        return f"[{', '.join(f'CASE WHEN {field} IS NOT NULL THEN {name} END' for field, name in fields)}]"
    if given.id == "map":
        return f"map_keys({column})"
    text = f"CAST({column} AS VARCHAR)"
    return f"json_keys(CASE WHEN json_valid({text}) THEN {text} END)"


def sql_text_inside(column: CallColumn, given: str, which: str) -> str:
    """The value of a key as text; `given` is the type of the details, `which` names the call.

    Raises:
        UsageError: the details are neither JSON nor a struct nor a map.
    """
    source = quoted(column.source or "")
    if given.startswith(("STRUCT", "MAP")):
        text = f"CAST(to_json({source}) AS VARCHAR)"
    elif given in ("VARCHAR", "JSON", '"NULL"'):
        text = f"CAST({source} AS VARCHAR)"
    else:
        raise UsageError(f"the column {column.source} is {given}; details are read from JSON text")
    nothing = f"regexp_matches({text}, '{NOTHING}')"
    value = f"json_extract_string({text}, {_pointer(column.key or '')})"
    refusal = _sql_refusal(column, which, "it is no JSON object")
    return (
        f"CASE WHEN {text} IS NULL OR {nothing} THEN NULL WHEN NOT json_valid({text}) THEN {refusal} "
        f"WHEN json_type({text}) = 'OBJECT' THEN {value} ELSE {refusal} END"
    )


def sql_number(column: CallColumn, which: str) -> str:
    """The number that the text of `sql_text_inside`, a column by now, says."""
    text = quoted(column.name)
    refusal = _sql_refusal(column, which, f"{column.name} is no number")
    number = f"TRY_CAST({text} AS DOUBLE)"
    is_number = f"regexp_matches({text}, '{NUMBER}') AND {number} IS NOT NULL"
    return f"CASE WHEN {text} IS NULL THEN NULL WHEN {is_number} THEN {number} ELSE {refusal} END"


def _sql_refusal(column: CallColumn, which: str, why: str) -> str:
    said = f"{column.source} of the call ".replace("'", "''")
    return f"error('{said}' || {which} || ' cannot be read: {why.replace(chr(39), chr(39) * 2)}')"


def _pointer(key: str) -> str:
    """The path to a key of a JSON object, in the form that knows every name."""
    escaped = key.replace("~", "~0").replace("/", "~1").replace("'", "''")
    return f"'/{escaped}'"
