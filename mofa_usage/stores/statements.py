"""The SQL of the store, written once with SQLAlchemy and compiled for a dialect.

A statement is compiled when it is first wanted and kept; those for a `QueryFilter` are kept by which conditions it
sets. Values are bound, never written into the text.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any

import sqlalchemy as sa

from mofa_usage.records import NIL_UUID, ApiCallStatus, QueryFilter
from mofa_usage.schema import AGENT, API_CALL, PROVIDER, Kind, TableSpec
from mofa_usage.stores.dialects import Dialect, Statement

__all__ = ["Conditions", "Statements"]

_Shape = tuple[str, ...]
_OTHER_STATUSES: list[Any] = [
    sa.literal_column(f"'{status}'") for status in ApiCallStatus if status is not ApiCallStatus.FAILED
]
_SORT_KEY = "sort_key"
_CURRENCY = "written_currency"


class Conditions:
    """A filter as conditions on the API calls: their shape, which decides the SQL, and the values to bind."""

    def __init__(self, query: QueryFilter, write: Callable[[Kind, Any], Any]) -> None:
        shape: list[str] = []
        values: dict[str, Any] = {}
        times: dict[str, datetime] = {}
        for field, column in QueryFilter.COLUMNS.items():
            value = getattr(query, field)
            if value is not None:
                shape.append("no_tenant" if (field, value) == ("tenant_id", NIL_UUID) else field)
                shape[-1] = "failed" if value is ApiCallStatus.FAILED else shape[-1]
                values[field] = write(API_CALL.kinds[column], value)
        for field in ("start_time", "end_time"):
            if getattr(query, field) is not None:
                shape.append(field)
                times[field] = getattr(query, field)
        self.shape: _Shape = tuple(shape)
        self.values: Mapping[str, Any] = values
        self.times: Mapping[str, datetime] = times


def _kept(build: Callable[..., Any]) -> Callable[..., Statement]:
    """Makes a method that writes SQL one that answers with the compiled statement, compiled once."""

    @wraps(build)
    def kept(self: "Statements", *shape: Any) -> Statement:
        key = (build.__name__, *shape)
        if key not in self._kept:
            self._kept[key] = self._compile(build(self, *shape))
        return self._kept[key]

    return kept


class Statements:
    """Every statement of a store, in the words of its dialect."""

    def __init__(self, dialect: Dialect, sql_dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._sql_dialect = sql_dialect
        self._kept: dict[tuple[Any, ...], Statement] = {}

    def _compile(self, statement: Any, **options: Any) -> Statement:
        compiled = statement.compile(dialect=self._sql_dialect, **options)
        return Statement(str(compiled), tuple(compiled.positiontup or ()), compiled.params)

    @_kept
    def upsert(self, spec: TableSpec[Any]) -> Any:
        """Insert a row, or replace the one of the same id."""
        return self._dialect.upsert(spec.table)

    @_kept
    def insert(self, spec: TableSpec[Any]) -> Any:
        """Insert a row that must be new."""
        return spec.table.insert()

    def update(self, spec: TableSpec[Any]) -> Statement:
        """Replace the row of an id, if there is one."""
        statement = spec.table.update().where(spec.table.c.id == self._parameter(spec, "id"))
        key = ("update", spec)
        if key not in self._kept:
            changed = [name for name in spec.columns if name != "id"]
            self._kept[key] = self._compile(statement, column_keys=changed)
        return self._kept[key]

    @_kept
    def delete(self, spec: TableSpec[Any], column: str = "id") -> Any:
        """Delete the rows of which a column has a value."""
        return spec.table.delete().where(spec.table.c[column] == self._parameter(spec, column))

    def _parameter(self, spec: TableSpec[Any], column: str) -> Any:
        return sa.bindparam(f"the_{column}", type_=spec.table.c[column].type)

    def _same(self, spec: TableSpec[Any], column: str) -> Any:
        own, parameter = spec.table.c[column], self._parameter(spec, column)
        if spec.kinds[column] in (Kind.TEXT, Kind.KEY):
            return self._dialect.same_text(own, parameter)
        return own == parameter

    @_kept
    def select(
        self, spec: TableSpec[Any], equal: tuple[str, ...] = (), order: tuple[str, ...] = (), paged: bool = False
    ) -> Any:
        """Rows of which columns have values (bound as `the_<column>`), in an order; `-column` is descending."""
        query = sa.select(*self._columns(spec)).where(*(self._same(spec, column) for column in equal))
        for name in order:
            column = spec.table.c[name.removeprefix("-")]
            key = self._dialect.times.key(column, True) if spec.kinds[column.name] is Kind.TIME else column
            query = query.order_by(key.desc() if name.startswith("-") else key.asc())
        if paged:
            query = query.limit(sa.bindparam("row_limit", type_=sa.BIGINT))
            query = query.offset(sa.bindparam("row_offset", type_=sa.BIGINT))
        return query

    @_kept
    def select_some(self, spec: TableSpec[Any], many: int) -> Any:
        """Rows with one of so many ids (bound as `id_0`, `id_1`, ...)."""
        ids = [sa.bindparam(f"id_{number}", type_=spec.table.c.id.type) for number in range(many)]
        return sa.select(*self._columns(spec)).where(spec.table.c.id.in_(ids))

    def _columns(self, spec: TableSpec[Any]) -> Sequence[Any]:
        return [self._dialect.read_column(spec.table.c[name]) for name in spec.columns]

    @_kept
    def agent_with_provider(self, equal: tuple[str, ...]) -> Any:
        """An agent's columns and behind them its provider's."""
        columns = [*self._columns(AGENT), *self._columns(PROVIDER)]
        tables = AGENT.table.join(PROVIDER.table, AGENT.table.c.provider_id == PROVIDER.table.c.id)
        return sa.select(*columns).select_from(tables).where(*(self._same(AGENT, column) for column in equal))

    @_kept
    def count(self, spec: TableSpec[Any], column: str) -> Any:
        """How many rows have a value in a column."""
        return sa.select(sa.func.count()).select_from(spec.table).where(self._same(spec, column))

    def _where(self, table: sa.Table, shape: _Shape, irregular: bool) -> list[Any]:
        conditions: list[Any] = []
        for part in shape:
            if part in ("start_time", "end_time"):
                continue
            field = {"no_tenant": "tenant_id", "failed": "status"}.get(part, part)
            column = table.c[QueryFilter.COLUMNS[field]]
            parameter = sa.bindparam(field, type_=column.type)
            if part == "no_tenant":
                conditions.append((column == parameter) | column.is_(None))
            elif part == "failed":  # as which every status reads that we do not know
                conditions.append(column.not_in(_OTHER_STATUSES))
            elif part == "model_name":
                conditions.append(self._dialect.same_text(column, parameter))
            else:
                conditions.append(column == parameter)
        times = self._dialect.times
        conditions += times.between(table.c.create_time, "start_time" in shape, "end_time" in shape, irregular)
        return conditions

    @_kept
    def calls(
        self, spec: TableSpec[Any], shape: _Shape, irregular: bool, after: bool, limited: bool, skip: bool
    ) -> Any:
        """API calls, newest first: all columns and the key of the order, `after` the key and id of another call."""
        table = spec.table
        key = self._dialect.times.key(table.c.create_time, irregular)
        query = sa.select(*self._columns(spec), key.label(_SORT_KEY)).where(*self._where(table, shape, irregular))
        if after:
            last, last_id = sa.bindparam("last_key", type_=key.type), sa.bindparam("last_id", type_=table.c.id.type)
            # Not as a row comparison, for which MySQL does not use the index.
            query = query.where(key <= last, (key < last) | (table.c.id < last_id))
        query = query.order_by(key.desc(), table.c.id.desc())
        if limited:
            query = query.limit(sa.bindparam("row_limit", type_=sa.BIGINT))
        if skip:
            query = query.offset(sa.bindparam("row_offset", type_=sa.BIGINT))
        return query

    @_kept
    def statistics(self, shape: _Shape, irregular: bool) -> Any:
        """Counts and exact sums of the API calls, a row for each status and currency, as it is written."""
        c = API_CALL.table.c
        currency: Any = sa.literal_column(f"CASE WHEN total_price IS NOT NULL THEN {self._dialect.currency} END")
        sums = [sa.func.sum(column) for column in (c.total_tokens, c.prompt_tokens, c.completion_tokens)]
        averaged = [f(column) for column in (c.latency_ms, c.tokens_per_second) for f in (sa.func.sum, sa.func.count)]
        money = [sa.func.count(c.total_price), *self._dialect.money_sums(c.total_price)]
        query = sa.select(c.status, currency.label(_CURRENCY), sa.func.count(), *sums, *averaged, *money)
        query = query.where(*self._where(API_CALL.table, shape, irregular))
        return query.group_by(c.status, sa.literal_column(_CURRENCY))

    @_kept
    def old_calls(self, irregular: bool) -> Any:
        """Delete at most `batch` API calls from before `before`."""
        table = API_CALL.table
        old = self._dialect.times.before(table.c.create_time, irregular)
        return self._dialect.delete_before(table, old)
