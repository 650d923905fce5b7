"""Calls as a frame: its columns, their types, and how the values of any source become them.

A frame of calls has one row for each API call and the columns of `CALL_SCHEMA`, or some of them. They are the columns
of the table, with two differences. The JSON details are taken apart into a column for each value that an analysis
needs, and the names of the agent and its provider stand beside the agent's id. The types are exact:

- ids are text (hyphenated, lower case; the nil UUID stands for "none"), counts are `Int64`;
- money is `Decimal(38, 10)` in units of `currency`. SQLite keeps prices as doubles: a price of at most 5 digits before
  the point and 10 behind it is the only such number near its double, so rounding to 10 places gives it back exactly;
- times are `Datetime("us", "UTC")`; digits beyond the microsecond are cut off, like everywhere else here;
- missing is null and never 0. An unknown status reads as `failed`. A call without a price has no currency; one with a
  price and no currency is in USD. Token counts that `token_source` says are unknown are null.

Labels are text to text, any names: those with a meaning have a column (`operation`, `retried`, ...), the others are
further columns `labels.NAME`, which belong to a source and not to every frame.

`normalise` makes such a frame from the rows of a table, from Parquet files or from a frame that somebody else made. It
casts what a type holds exactly and refuses the rest: a value that would change on the way is an error that names the
column and the call, not a rounded number.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from mofa_usage.errors import MofaUsageError, UsageError, require
from mofa_usage.records import NIL_UUID, ApiCallStatus
from mofa_usage.schema import API_CALL, Kind

require("polars", extra="analysis")
import polars as pl  # noqa: E402

__all__ = [
    "CALL_COLUMNS",
    "CALL_SCHEMA",
    "JSON_COLUMNS",
    "LABEL",
    "LABEL_COLUMNS",
    "MONEY",
    "NAME_COLUMNS",
    "SESSION",
    "UNKNOWN_TOKENS",
    "CallColumn",
    "call_column",
    "complete",
    "is_further",
    "may_be_absent",
    "needed_columns",
    "normalise",
    "origin",
]

MONEY = pl.Decimal(38, 10)
TIME = pl.Datetime("us", "UTC")
NIL = str(NIL_UUID)
DEFAULT_CURRENCY = "USD"

_DTYPES: Mapping[Kind, pl.DataType] = {
    Kind.ID: pl.String(),
    Kind.TEXT: pl.String(),
    Kind.KEY: pl.String(),
    Kind.NAME: pl.String(),
    Kind.JSON: pl.String(),
    Kind.INTEGER: pl.Int64(),
    Kind.RATE: pl.Float64(),
    Kind.MONEY: MONEY,
    Kind.TIME: TIME,
}

_UNITS = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), "tokens"),
    **dict.fromkeys(("cached_tokens", "cache_write_tokens"), "tokens"),
    **dict.fromkeys(("prompt_audio_tokens", "reasoning_tokens", "completion_audio_tokens"), "tokens"),
    **dict.fromkeys(("total_price", "input_price", "output_price"), "units of the column currency"),
    "currency": "ISO 4217 code",
    **dict.fromkeys(("latency_ms", "time_to_first_token_ms"), "milliseconds"),
    "tokens_per_second": "completion tokens per second",
    **dict.fromkeys(("create_time", "update_time"), "microseconds since 1970-01-01T00:00:00Z"),
}


@dataclass(frozen=True)
class CallColumn:
    """A column of the frame: what it holds, and the column of the table that it comes from.

    `key` is the key in that column's JSON, or None when the column is taken as it is. `source` is None for the names,
    which come from the tables of agents and providers.
    """

    name: str
    kind: Kind
    source: str | None
    key: str | None = None

    @property
    def dtype(self) -> pl.DataType:
        """The Polars type of the column."""
        return _DTYPES[self.kind]

    @property
    def unit(self) -> str | None:
        """What the numbers count, None where there is nothing to count."""
        return _UNITS.get(self.name)

    @property
    def missing(self) -> str | None:
        """What a null reads as, where null is not an answer."""
        return NIL if self.kind is Kind.ID else _MISSING.get(self.name)


_MISSING = {
    "status": str(ApiCallStatus.FAILED),
    "currency": DEFAULT_CURRENCY,  # of a call with a price
    "token_source": "provider",
    "operation": "chat",
}


_DETAILS: Mapping[str, Sequence[tuple[str, Kind, str]]] = {
    "prompt_tokens_details": (
        ("cached_tokens", Kind.INTEGER, "cached_tokens"),
        ("cache_write_tokens", Kind.INTEGER, "cache_write_tokens"),
        ("prompt_audio_tokens", Kind.INTEGER, "audio_tokens"),
    ),
    "completion_tokens_details": (
        ("reasoning_tokens", Kind.INTEGER, "reasoning_tokens"),
        ("completion_audio_tokens", Kind.INTEGER, "audio_tokens"),
        ("token_source", Kind.TEXT, "token_source"),
    ),
    "price_details": (
        ("input_price", Kind.MONEY, "input_price"),
        ("output_price", Kind.MONEY, "output_price"),
        ("currency", Kind.TEXT, "currency"),
    ),
}

NAME_COLUMNS = ("agent_code", "agent_name", "provider_name")
"""Columns that come from the tables of agents and providers, else from labels: null where the source has none."""

_LABELS: Mapping[str, Kind] = {
    **dict.fromkeys(("operation", "service_tier", "request_id", "served_model", "environment", "retried"), Kind.TEXT),
    "attempt": Kind.INTEGER,
}
LABEL_COLUMNS = tuple(_LABELS)
"""The labels with a meaning that have a column of that name: null where a call has none."""

JSON_COLUMNS = (*_DETAILS, "labels")
"""The details and the labels as JSON text: columns that a frame has only when they are asked for."""

LABEL, SESSION = "labels.", "session."
"""What the names of further columns begin with that are a label, or a value of the session's metadata."""


def _columns() -> dict[str, CallColumn]:
    columns: list[CallColumn] = []
    for name, kind in API_CALL.kinds.items():
        if name == "labels":
            continue
        taken_apart = [CallColumn(part, kind, name, key) for part, kind, key in _DETAILS.get(name, ())]
        columns += taken_apart or [CallColumn(name, kind, name)] * (name not in JSON_COLUMNS)
    columns += [CallColumn(name, Kind.TEXT, None) for name in NAME_COLUMNS]
    columns += [CallColumn(name, kind, "labels", name) for name, kind in _LABELS.items()]
    columns += [CallColumn(name, Kind.JSON, name) for name in JSON_COLUMNS]
    return {column.name: column for column in columns}


CALL_COLUMNS: Mapping[str, CallColumn] = _columns()
"""Every column that a frame can have of any source, by name; the JSON columns come last."""

CALL_SCHEMA = pl.Schema({name: column.dtype for name, column in CALL_COLUMNS.items() if name not in JSON_COLUMNS})
"""The columns that a frame has unless others are asked for, with their types, in order."""

UNKNOWN_TOKENS = {
    "prompt_tokens": ("none", "completion_only"),
    "completion_tokens": ("none", "partial"),
    "total_tokens": ("none", "partial", "completion_only"),
}
"""For which `token_source` a count is not known."""

_BESIDE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(UNKNOWN_TOKENS, ("token_source",)),
    "currency": ("total_price",),
    "update_time": ("create_time",),
    "agent_name": ("labels.agent",),
    "provider_name": ("labels.provider",),
}
"""Which other columns have a say in a column's value."""


def call_column(name: str) -> CallColumn | None:
    """The column of that name, also of a label or a session; None for a further column of somebody's source."""
    if name.startswith(LABEL) and name != LABEL:
        return CallColumn(name, Kind.TEXT, "labels", name.removeprefix(LABEL))
    return CallColumn(name, Kind.TEXT, None) if name.startswith(SESSION) else CALL_COLUMNS.get(name)


def is_further(name: str, given: Collection[str]) -> bool:
    """Whether a column is taken as it is: one that no frame has to have, given under its name."""
    return name not in CALL_COLUMNS and (name in given or call_column(name) is None)


def origin(name: str, given: Collection[str]) -> str | None:
    """Which of the given columns a column of the frame is made of: itself, or the JSON that holds it."""
    if name in given:
        return name
    column = call_column(name)
    return column.source if column is not None and column.key is not None and column.source in given else None


def may_be_absent(name: str, given: Collection[str]) -> bool:
    """Whether a frame has the column also when the source has nothing of it, because what stands for it is known."""
    if name in (*NAME_COLUMNS, *LABEL_COLUMNS, "token_source", "labels") or name.startswith((LABEL, SESSION)):
        return True
    if name == "total_tokens":
        return {"prompt_tokens", "completion_tokens"} <= set(given)
    return name == "currency" and "total_price" in given


def needed_columns(columns: Sequence[str], given: Collection[str]) -> list[str]:
    """The columns, and those of the given ones that have a say in their values."""
    beside = [other for name in columns for other in _BESIDE.get(name, ()) if origin(other, given)]
    if "total_tokens" in columns and "total_tokens" not in given and may_be_absent("total_tokens", given):
        beside += ["prompt_tokens", "completion_tokens"]
    return list(dict.fromkeys((*columns, *beside)))


def normalise(
    raw: pl.DataFrame,
    columns: Sequence[str],
    *,
    naive_utc: bool = False,
    error: type[MofaUsageError] = UsageError,
) -> pl.DataFrame:
    """The columns of calls, with their types, from rows that have each of them or the JSON column that holds it.

    Args:
        raw: the rows, as a database, a file or somebody's program gives them.
        columns: names in `CALL_COLUMNS`, of labels, and of further columns, which are taken as they are. What
            `may_be_absent` knows may be absent.
        naive_utc: read times without a zone as UTC (MySQL's DATETIME); otherwise they are refused.
        error: what is raised for a value that is not one.

    Raises:
        UsageError: a column is absent, or its type cannot be cast exactly.
        MofaUsageError: as `error`, for a value that is no JSON, no number, no time; it names the column and the call.
    """
    wanted = needed_columns(columns, raw.columns)
    further = [name for name in wanted if is_further(name, raw.columns)]
    known = [column for name in wanted if name not in further and (column := call_column(name)) is not None]
    rows = _take_details_apart(raw, known, error)
    given = {column.name: column for column in known if column.name in rows.columns}
    values = {name: _convert(column, rows.schema[name], naive_utc) for name, column in given.items()}
    calls = rows.select(**values) if values else pl.DataFrame(height=rows.height)
    for name in values:
        if calls[name].null_count() > rows[name].null_count():
            _refuse(rows, calls, name, error)
    # Lower case is looked for first: it is the rule, and writing it again would double the memory of the ids.
    ids = [name for name, column in given.items() if column.kind is Kind.ID]
    upper = [name for name in ids if calls[name].str.contains("[A-F]").any()]
    calls = calls.with_columns(pl.col(upper).str.to_lowercase())
    calls = calls.hstack(rows.select(further))
    return calls.select(complete(name, calls.columns) for name in columns)


def complete(name: str, known: Sequence[str]) -> pl.Expr:
    """The converted column with what stands for missing values, or all missing where it may be absent.

    Raises:
        UsageError: it may not.
    """
    value, column = pl.col(name), call_column(name)
    if column is None or (name in known and name not in CALL_COLUMNS):
        return value
    if name not in known:
        if not may_be_absent(name, known):
            raise UsageError(f"the source has no column {name}; it has {', '.join(known)}")
        value = pl.lit(None, dtype=column.dtype).alias(name)
        if name == "total_tokens" and {"prompt_tokens", "completion_tokens"} <= set(known):
            value = pl.col("prompt_tokens") + pl.col("completion_tokens")
    missing = pl.lit(column.missing)
    if name == "status":
        # What we do not know is failed; a null is neither in the list nor not, and comes out as failed too.
        value = pl.when(value.is_in(list(ApiCallStatus))).then(value).otherwise(missing)
    elif name == "currency":
        if "total_price" in known:
            value = pl.when(pl.col("total_price").is_not_null()).then(value.fill_null(missing))
    elif column.missing is not None:
        value = value.fill_null(missing)
    elif name == "update_time" and "create_time" in known:
        # A trigger may have set it from a clock behind ours; no call ends before it began.
        value = pl.max_horizontal(value, "create_time")
    elif name in UNKNOWN_TOKENS and "token_source" in known:
        unknown = pl.col("token_source").is_in(UNKNOWN_TOKENS[name])
        value = pl.when(unknown.fill_null(False).not_()).then(value)
    elif name == "provider_name" and "labels.provider" in known:
        value = pl.coalesce("labels.provider", value)
    elif name == "agent_name" and "labels.agent" in known:
        value = pl.coalesce(value, "labels.agent")
    return value.alias(name)


def _convert(column: CallColumn, dtype: pl.DataType, naive_utc: bool) -> pl.Expr:
    """The exact cast of a column; it gives null for a value that does not fit.

    Raises:
        UsageError: the type cannot be cast.
    """
    value = pl.col(column.name)
    exact = _CASTS[column.kind](value, dtype, naive_utc) if dtype != pl.Null() else value.cast(column.dtype)
    if exact is None:
        hint = "; its zone is unknown: add one, such as .dt.replace_time_zone('UTC')" if _is_naive(dtype) else ""
        raise UsageError(f"the column {column.name} is {dtype}, where a frame of calls has {column.dtype}{hint}")
    return exact.alias(column.name)


def _is_naive(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Datetime) and dtype.time_zone is None


def _to_text(value: pl.Expr, dtype: pl.DataType, _: bool) -> pl.Expr | None:
    return value.cast(pl.String) if isinstance(dtype, pl.String | pl.Categorical | pl.Enum) else None


def _to_id(value: pl.Expr, dtype: pl.DataType, _: bool) -> pl.Expr | None:
    if isinstance(dtype, pl.Binary):  # how Parquet and Arrow keep a UUID: 16 bytes
        digits = value.bin.encode("hex")
        parts = [digits.str.slice(at, size) for at, size in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pl.when(value.bin.size() == 16).then(pl.concat_str(parts, separator="-"))
    return _to_text(value, dtype, _)


def _to_count(value: pl.Expr, dtype: pl.DataType, _: bool) -> pl.Expr | None:
    if dtype.is_float() or dtype.is_decimal():
        return pl.when(value == value.floor()).then(value).cast(pl.Int64, strict=False)
    return value.cast(pl.Int64, strict=False) if dtype.is_integer() else None


def _to_rate(value: pl.Expr, dtype: pl.DataType, _: bool) -> pl.Expr | None:
    return value.cast(pl.Float64) if dtype.is_numeric() else None


def _to_money(value: pl.Expr, dtype: pl.DataType, _: bool) -> pl.Expr | None:
    if isinstance(dtype, pl.Decimal) and dtype.scale > MONEY.scale:
        rounded = value.cast(MONEY, strict=False)
        return pl.when(rounded.cast(dtype, strict=False) == value).then(rounded)
    return value.cast(MONEY, strict=False) if dtype.is_numeric() else None


def _to_time(value: pl.Expr, dtype: pl.DataType, naive_utc: bool) -> pl.Expr | None:
    if isinstance(dtype, pl.String):
        return value.str.to_datetime("%+", time_unit="us", strict=False)
    if not isinstance(dtype, pl.Datetime) or (dtype.time_zone is None and not naive_utc):
        return None
    zoned = value.dt.replace_time_zone("UTC") if dtype.time_zone is None else value.dt.convert_time_zone("UTC")
    return zoned.cast(TIME)


_CASTS = {
    Kind.ID: _to_id,
    Kind.TEXT: _to_text,
    Kind.KEY: _to_text,
    Kind.NAME: _to_text,
    Kind.JSON: _to_text,
    Kind.INTEGER: _to_count,
    Kind.RATE: _to_rate,
    Kind.MONEY: _to_money,
    Kind.TIME: _to_time,
}


def _refuse(rows: pl.DataFrame, calls: pl.DataFrame, name: str, error: type[MofaUsageError]) -> NoReturn:
    row = (calls[name].is_null() & rows[name].is_not_null()).arg_max() or 0
    value, column = rows[name][row], call_column(name)
    meaning = _MEANING[Kind.TEXT if column is None else column.kind]
    raise error(f"{name} of {_which(rows, row)} is {str(value)[:80]!r}, which is no {meaning}")


_MEANING = {
    Kind.ID: "id",
    Kind.INTEGER: "whole number of 64 bits",
    Kind.MONEY: "price that 10 decimal places hold exactly",
    Kind.TIME: "time in RFC 3339 with a zone",
}


def _which(rows: pl.DataFrame, row: int) -> str:
    return f"the call {rows['id'][row]}" if "id" in rows.columns else f"row {row}"


def _take_details_apart(raw: pl.DataFrame, wanted: Sequence[CallColumn], error: type[MofaUsageError]) -> pl.DataFrame:
    """The rows with a column for each wanted value that is still inside JSON: floats for numbers, else text."""
    inside: dict[str, list[CallColumn]] = {}
    for column in wanted:
        source = origin(column.name, raw.columns)
        if source is not None and source != column.name:
            inside.setdefault(source, []).append(column)
    for source in inside:
        if raw.schema[source] not in (pl.String(), pl.Null()):
            raise UsageError(f"the column {source} is {raw.schema[source]}; details are read from JSON text")
    try:
        parts = raw.select(_decode(source, columns) for source, columns in inside.items())
    except (pl.exceptions.ComputeError, pl.exceptions.ShapeError):
        parts = None
    # The decoder reads all rows as one text, so two rows in one could hide; then there are more than there were.
    if parts is None or (inside and parts.height != raw.height):
        parts = pl.DataFrame(
            [series for source, columns in inside.items() for series in _decode_slowly(raw, source, columns, error)]
        )
    unnested = parts.unnest(*(name for name, dtype in parts.schema.items() if isinstance(dtype, pl.Struct)))
    return raw.with_columns(unnested.get_columns())


def _decode(source: str, columns: Sequence[CallColumn]) -> pl.Expr:
    fields = {column.key or "": _json_dtype(column) for column in columns}
    decoded = pl.col(source).cast(pl.String).str.json_decode(pl.Struct(fields))
    return decoded.struct.rename_fields([column.name for column in columns]).alias(source)


def _json_dtype(column: CallColumn) -> pl.DataType:
    return pl.String() if column.kind is Kind.TEXT else pl.Float64()


def _decode_slowly(
    raw: pl.DataFrame, source: str, columns: Sequence[CallColumn], error: type[MofaUsageError]
) -> list[pl.Series]:
    """As `_decode` for JSON that is unusual (a price as text) or wrong: then it raises, naming the call."""
    values: list[list[Any]] = [[] for _ in columns]
    for row, text in enumerate(raw[source]):
        try:
            details = {} if text is None else json.loads(text, parse_float=Decimal, parse_constant=_no_constant) or {}
            for column, column_values in zip(columns, values, strict=True):
                column_values.append(_json_value(column, details.get(column.key)))
        except (ValueError, ArithmeticError, AttributeError) as cause:
            raise error(f"{source} of {_which(raw, row)} cannot be read: {cause}") from cause
    return [
        pl.Series(column.name, column_values, dtype=_json_dtype(column))
        for column, column_values in zip(columns, values, strict=True)
    ]


def _json_value(column: CallColumn, value: Any) -> Any:
    if value is None or column.kind is Kind.TEXT:
        return None if value is None else str(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError(f"{column.key} is a {type(value).__name__}, not a number")
    return float(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
