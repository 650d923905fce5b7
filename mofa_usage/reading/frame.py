"""Calls in a Polars frame: somebody's, or one made of records."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mofa_usage.errors import require
from mofa_usage.reading.columns import (
    CALL_COLUMNS,
    LABEL_COLUMNS,
    NAME_COLUMNS,
    PRICES,
    CallColumn,
    needed_columns,
    origin,
    status_in_words,
)
from mofa_usage.reading.exact import STRICT, Leeway, rule_of
from mofa_usage.reading.labels import label_columns, label_counts, labels_among, session_columns
from mofa_usage.reading.naming import VOTERS, Fields, Given, name_columns, paths
from mofa_usage.reading.rows import normalise
from mofa_usage.reading.selection import Selection, offered
from mofa_usage.records import Agent, ChatSession, LLMApiCall, Provider
from mofa_usage.schema import Kind, write_json

require("polars", extra="analysis")
import polars as pl  # noqa: E402

__all__ = ["FrameCalls", "frame_of_records"]


_ROUNDED = "rounded prices"


class FrameCalls:
    """The calls of a Polars frame. A lazy one is collected for each question, with what it needs."""

    def __init__(
        self,
        frame: pl.DataFrame | pl.LazyFrame,
        leeway: Leeway = STRICT,
        mapping: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        self._frame = _named(frame.lazy(), mapping)
        self._leeway = leeway
        self._schema = self._frame.collect_schema()
        self._labels: tuple[str, ...] | None = None

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """See `Calls`."""
        if selection.columns is not None or "labels" not in self._schema:
            return offered(self._schema.names(), selection)
        if self._labels is None:
            self._labels = label_columns(self._label_counts())
        return offered(self._schema.names(), selection, self._labels)

    def _label_counts(self) -> Counter[str]:
        """How many calls have each label, be they JSON, a struct or a map."""
        labels, dtype = pl.col("labels"), self._schema["labels"]
        if dtype == pl.String:
            return label_counts(self._frame.select(labels).collect()["labels"])
        if isinstance(dtype, pl.Map):
            keys = self._frame.select(labels.map.keys().explode().alias("name")).group_by("name").len().collect()
            return labels_among(keys.iter_rows())
        names = [field.name for field in dtype.fields] if isinstance(dtype, pl.Struct) else []
        counted = self._frame.select(labels.struct.field(name).count() for name in names).collect()
        return labels_among((name, counted[name][0]) for name in names)

    @property
    def given(self) -> Collection[str]:
        """The columns that the source itself has, called as a frame of calls calls them."""
        return self._schema.names()

    def count(self, selection: Selection) -> int:
        """See `Calls`."""
        return self._selected(selection, ()).height

    def rounded_prices(self, selection: Selection) -> int:
        """See `Calls`."""
        if not self._leeway.round_prices:
            return 0
        rounded = [
            (strict.is_null() & pl.col(name).is_not_null()).cast(pl.Int64)
            for name, dtype in self._schema.items()
            if name in PRICES
            and (strict := rule_of(CALL_COLUMNS[name]).polars(pl.col(name), dtype, STRICT)) is not None
        ]
        calls = FrameCalls(self._frame.with_columns(pl.sum_horizontal(rounded or [pl.lit(0)]).alias(_ROUNDED)))
        batches = calls.batches(replace(selection, columns=(_ROUNDED,)))
        return sum(int(batch[_ROUNDED].sum()) for batch in batches)

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """See `Calls`."""
        columns = self.columns(selection)
        calls = self._selected(selection, (*columns, *(["create_time"] if by_time else [])))
        yield (calls.sort("create_time") if by_time else calls).select(columns)

    def _selected(self, selection: Selection, columns: Sequence[str]) -> pl.DataFrame:
        given = self._schema.names()
        wanted = list(dict.fromkeys((*columns, *selection.conditions)))
        # The id names a call in errors.
        beside = ["id"] if "id" in given else []
        sources = (origin(name, given) for name in needed_columns([*wanted, *beside], given))
        rows = self._frame.select(list(dict.fromkeys(source for source in sources if source is not None))).collect()
        return selection.apply(normalise(_said(rows), wanted, self._leeway))


def _named(frame: pl.LazyFrame, mapping: Mapping[str, str | None]) -> pl.LazyFrame:
    """The frame with its columns called as a frame of calls calls them: see `naming`."""
    schema = frame.collect_schema()
    names = paths({name: _inside(dtype) for name, dtype in schema.items()})
    types = frame.head(0).select(pl.sql_expr(sql).alias(name) for name, sql in names.items()).collect_schema()

    def fits(column: str, name: str) -> bool:
        rule, dtype = rule_of(CALL_COLUMNS[column]), types[name]
        return (
            dtype == pl.Null() or isinstance(dtype, pl.Datetime) or rule.polars(pl.first(), dtype, STRICT) is not None
        )

    def sample(wanted: Sequence[str], parts: Sequence[str]) -> list[dict[str, Any]]:
        deciding = [pl.sql_expr(names[part]).cast(pl.Float64, strict=False) > 0 for part in parts]
        rows = frame.filter(pl.any_horizontal(deciding)).head(VOTERS)
        return rows.select(pl.sql_expr(names[name]).alias(name) for name in wanted).collect().to_dicts()

    durations = [name for name, dtype in types.items() if isinstance(dtype, pl.Duration)]
    structs = [name for name, dtype in types.items() if isinstance(dtype, pl.Struct)]
    found = name_columns(Given(names, durations, structs, fits, sample), mapping)
    return frame if found is None else frame.select(pl.sql_expr(sql).alias(name) for name, sql in found.items())


def _said(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their statuses in our words, where they are text or can be: a number is an HTTP code."""
    status, dtype = pl.col("status"), rows.schema.get("status", pl.Null())
    exact = None if dtype == pl.Null() else rule_of(CALL_COLUMNS["status"]).polars(status, dtype, STRICT)
    if exact is None:
        return rows
    said = rows.with_columns(exact.alias("status"))
    if said["status"].null_count() > rows["status"].null_count():
        return rows  # it is refused by the call's name
    return said.with_columns(pl.sql_expr(status_in_words("status")).alias("status"))


def _inside(dtype: Any) -> Fields:
    """The fields of a struct."""
    return {field.name: _inside(field.dtype) for field in dtype.fields} if isinstance(dtype, pl.Struct) else {}


def frame_of_records(
    calls: Sequence[LLMApiCall], agents: Sequence[Agent], providers: Sequence[Provider], sessions: Sequence[ChatSession]
) -> pl.DataFrame:
    """Records as a frame with every column that is known; the labels are JSON."""
    provider_names = {provider.id: provider.provider_name for provider in providers}
    names = {agent.id: (agent.agent_code, agent.agent_name, provider_names.get(agent.provider_id)) for agent in agents}
    columns = [
        pl.Series(column.name, [_value_of(call, column) for call in calls], dtype=column.dtype)
        for column in CALL_COLUMNS.values()
        if column.source is not None and column.name not in LABEL_COLUMNS
    ]
    named = [names.get(call.agent_id, (None, None, None)) for call in calls]
    beside = pl.DataFrame(named, schema=dict.fromkeys(NAME_COLUMNS, pl.String), orient="row")
    frame = pl.DataFrame(columns).hstack(beside)
    told = session_columns((str(session.id), session.metadata) for session in sessions)
    return frame if told is None else frame.join(told, on="chat_session_id", how="left", maintain_order="left")


def _value_of(call: LLMApiCall, column: CallColumn) -> Any:
    value = getattr(call, column.source or "", None)
    if value is None:
        return None
    if column.key is not None:
        return getattr(value, column.key, None)
    if column.kind is Kind.JSON:
        return write_json(value)
    return str(value) if column.kind in (Kind.ID, Kind.NAME) else value
