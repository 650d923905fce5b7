"""Calls as a frame: its columns, their types, what they are made of and what stands for missing values.

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

How a value of any source becomes exact is in `exact.py`; `rows.py` does it with frames, `relation.py` with DuckDB.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mofa_usage.errors import require
from mofa_usage.outcomes import STATUS_WORDS, status_of
from mofa_usage.records import NIL_UUID, ApiCallStatus
from mofa_usage.schema import API_CALL, Kind
from mofa_usage.values import COMPLETION_UNKNOWN, DEFAULT_CURRENCY, PROMPT_UNKNOWN

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
    "NIL",
    "PRICES",
    "SESSION",
    "TIME",
    "CallColumn",
    "bare",
    "call_column",
    "completion",
    "created_in",
    "is_further",
    "literal",
    "may_be_absent",
    "needed_columns",
    "origin",
    "quoted",
    "status_in_words",
]

MONEY = pl.Decimal(38, 10)
TIME = pl.Datetime("us", "UTC")
NIL = str(NIL_UUID)

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
    **dict.fromkeys(("cache_write_5m_tokens", "cache_write_1h_tokens"), "tokens"),
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
        ("cache_write_5m_tokens", Kind.INTEGER, "cache_write_5m_tokens"),
        ("cache_write_1h_tokens", Kind.INTEGER, "cache_write_1h_tokens"),
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

_WORDS: Mapping[str, ApiCallStatus] = {
    **STATUS_WORDS,
    **{str(code): status_of(code) for code in range(200, 600)},
}
"""The words of a status, HTTP's codes among them."""

_UNKNOWN_TOKENS = {
    "prompt_tokens": PROMPT_UNKNOWN,
    "completion_tokens": COMPLETION_UNKNOWN,
    "total_tokens": ("none", "partial", "completion_only"),
}
"""For which `token_source` a count is not known."""

_BESIDE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_UNKNOWN_TOKENS, ("token_source",)),
    "currency": ("total_price",),
    "update_time": ("create_time",),
    "agent_name": ("labels.agent",),
    "provider_name": ("labels.provider",),
}
"""Which other columns have a say in a column's value."""


PRICES = tuple(name for name, column in CALL_COLUMNS.items() if column.kind is Kind.MONEY)
"""The columns of money."""


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


def status_in_words(value: str) -> str:
    """The status that a word of somebody's frame or file says (`OK`, `Rate-Limited`, `500`), in the SQL that all
    engines share; what says nothing stays as it is. Tables hold the five statuses and nothing else.
    """
    word = f"replace(replace(replace(lower({value}), '_', ''), '-', ''), ' ', '')"
    cases = [_ONE_OF_OURS.format(value=value)]
    for status in ApiCallStatus:
        words = ", ".join(f"'{said}'" for said, meant in _WORDS.items() if meant is status)
        cases.append(f"WHEN {word} IN ({words}) THEN '{status}'")
    return f"CASE {' '.join(cases)} ELSE {value} END"


# One by one, for DuckDB joins a list of five, and then reads the column also where nothing asks for it.
_ONE_OF_OURS = " ".join(f"WHEN {{value}} = '{status}' THEN '{status}'" for status in ApiCallStatus)


def completion(name: str, known: Collection[str], quote: Callable[[str], str] | None = None) -> str:
    """The column with what stands for its missing values, in the SQL that Polars, DuckDB and Spark share.

    It is written in the exact columns, all that `needed_columns` says; `known` are those that the source has. `quote`
    makes identifiers of names, by default `quoted`.
    """
    quote = quote or quoted
    value, column = quote(name), call_column(name)
    missing = None if column is None else column.missing
    if name == "status":  # what we do not know is failed, and so is a null, which is in no list
        return f"CASE {_ONE_OF_OURS.format(value=value)} ELSE '{missing}' END"
    if name == "currency" and "total_price" in known:
        return f"CASE WHEN total_price IS NOT NULL THEN coalesce({value}, '{missing}') END"
    if name == "update_time" and "create_time" in known:
        # A trigger may have set it from a clock behind ours; no call ends before it began.
        return f"greatest({value}, create_time)"
    if name in _UNKNOWN_TOKENS:
        if name == "total_tokens" and name not in known:
            value = "(prompt_tokens + completion_tokens)"
        if "token_source" not in known:
            return value
        unknown = ", ".join(f"'{source}'" for source in _UNKNOWN_TOKENS[name])
        return f"CASE WHEN coalesce(token_source, '') NOT IN ({unknown}) THEN {value} END"
    if name == "agent_name" and "labels.agent" in known:
        return f"coalesce({value}, {quote('labels.agent')})"
    if name == "provider_name" and "labels.provider" in known:
        return f"coalesce({quote('labels.provider')}, {value})"
    return value if missing is None or name == "currency" else f"coalesce({value}, '{missing}')"


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def bare(name: str) -> str:
    """A name of nothing but small letters, digits, underscores, blanks, carets and semicolons, another for each name.

    It needs no quotes on any engine, holds no way into a struct, and differs from others by more than its case.
    """
    return re.sub("[^a-z0-9_ ]", lambda found: f"^{ord(found[0]):x};", name)


def literal(text: str) -> str:
    """A text as SQL."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def created_in(start: datetime | None, end: datetime | None) -> list[str]:
    """The conditions that a call was created in [start, end), in DuckDB's SQL; none for a side that is open."""
    ends = ((">=", start), ("<", end))
    return [f"create_time {sign} TIMESTAMPTZ '{moment.isoformat(' ')}'" for sign, moment in ends if moment is not None]
