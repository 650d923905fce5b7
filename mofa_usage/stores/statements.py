"""The SQL of the store, written once with SQLAlchemy and compiled for a dialect.

A statement is compiled when it is first wanted and kept; those for a `QueryFilter` are kept by which conditions it
sets. Values are bound, never written into the text. How text and times compare is said in `mofa_usage.grammar`.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import wraps
from typing import Any

import sqlalchemy as sa

from mofa_usage.grammar import Grammar, next_moment
from mofa_usage.records import QueryFilter
from mofa_usage.schema import AGENT, API_CALL, LABELS, PROVIDER, Kind, TableSpec
from mofa_usage.stores.dialects import Dialect, Statement

__all__ = ["Conditions", "Statements", "moment_values"]

_FILLED = ("total_price", "price_details", "update_time")
_SORT_KEY = "sort_key"
_CURRENCY = "written_currency"
_NAME = "model"
_INTERVAL = "latency_interval"


class Conditions:
    """A filter as conditions on the API calls: their SQL, with named parameters, and the values to bind.

    `sql` says as much as a statement needs to be kept by: it does not depend on the values that are bound.
    """

    def __init__(self, query: QueryFilter, grammar: Grammar, write: Callable[[Kind, Any], Any]) -> None:
        self._grammar = grammar
        self.values: dict[str, Any] = {}
        sql: list[str] = []
        for field, column in QueryFilter.COLUMNS.items():
            asked = getattr(query, field)
            if asked is not None:
                sql.append(grammar.equals(column, asked, f":{field}"))
                self.values[field] = write(API_CALL.kinds[column], asked)
        if query.start_time is not None:
            sql.append(self._time(grammar.since, "since", query.start_time))
        until = None if query.end_time is None else next_moment(query.end_time)
        if until is not None:
            sql.append(self._time(grammar.before, "until", until))
        self.sql: tuple[str, ...] = tuple(sql)

    def _time(self, template: str, name: str, moment: datetime) -> str:
        self.values |= moment_values(self._grammar, name, self._grammar.exact(moment))
        return template.format(column="create_time", **_moment_parameters(name))

    def behind(self, key: Any, call_id: Any) -> "Conditions":
        """These, and that a call comes behind the one with this key of the order and this id."""
        further = copy(self)
        template = self._grammar.behind
        further.sql = (*self.sql, template.format(column="create_time", id=":last_id", **_moment_parameters("last")))
        further.values = self.values | moment_values(self._grammar, "last", key) | {"last_id": call_id}
        return further


def _moment_parameters(name: str) -> Mapping[str, str]:
    """What fills the slots of a template that compares with a moment."""
    return {"exact": f":{name}", "second": f":{name}_second"}


def moment_values(grammar: Grammar, name: str, exact: Any) -> dict[str, Any]:
    """The values of those parameters."""
    return {name: exact, f"{name}_second": grammar.second_of(exact)}


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
        self._grammar = dialect.grammar
        self._sql_dialect = sql_dialect
        self._kept: dict[tuple[Any, ...], Statement] = {}

    def _compile(self, statement: Any, **options: Any) -> Statement:
        compiled = statement.compile(dialect=self._sql_dialect, **options)
        return Statement(str(compiled), tuple(compiled.positiontup or ()), compiled.params)

    @_kept
    def upsert(self, spec: TableSpec[Any]) -> Any:
        """Insert a row, or replace the one of the same id."""
        return self._dialect.idioms.upsert(spec.table)

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
        if spec.kinds[column] in (Kind.TEXT, Kind.KEY):
            return sa.text(self._grammar.same.format(column=f"{spec.table.name}.{column}", value=f":the_{column}"))
        return spec.table.c[column] == self._parameter(spec, column)

    def _order(self, spec: TableSpec[Any], column: str) -> Any:
        """What sorts like a column."""
        own = spec.table.c[column]
        return (
            sa.literal_column(self._grammar.order.format(column=column), own.type)
            if spec.kinds[column] is Kind.TIME
            else own
        )

    @_kept
    def select(
        self, spec: TableSpec[Any], equal: tuple[str, ...] = (), order: tuple[str, ...] = (), paged: bool = False
    ) -> Any:
        """Rows of which columns have values (bound as `the_<column>`), in an order; `-column` is descending."""
        query = sa.select(*self._columns(spec)).where(*(self._same(spec, column) for column in equal))
        for name in order:
            key = self._order(spec, name.removeprefix("-"))
            query = query.order_by(key.desc() if name.startswith("-") else key.asc())
        if paged:
            query = query.limit(sa.bindparam("row_limit", type_=sa.BIGINT))
            query = query.offset(sa.bindparam("row_offset", type_=sa.BIGINT))
        return query

    def _one_of(self, spec: TableSpec[Any], column: str, many: int) -> Any:
        """A column of ids has one of so many values (bound as `value_0`, `value_1`, ...)."""
        own = spec.table.c[column]
        return own.in_([sa.bindparam(f"value_{number}", type_=own.type) for number in range(many)])

    @_kept
    def select_some(self, spec: TableSpec[Any], many: int) -> Any:
        """Rows with one of so many ids."""
        return sa.select(*self._columns(spec)).where(self._one_of(spec, "id", many))

    @_kept
    def ids(self, spec: TableSpec[Any], column: str, many: int) -> Any:
        """The ids of the rows of which a column has one of so many values."""
        return sa.select(spec.table.c.id).where(self._one_of(spec, column, many))

    @_kept
    def delete_some(self, spec: TableSpec[Any], many: int) -> Any:
        """Delete the rows with one of so many ids."""
        return spec.table.delete().where(self._one_of(spec, "id", many))

    @_kept
    def make_nobodys(self, spec: TableSpec[Any], column: str, many: int, labels: tuple[str, ...]) -> Any:
        """Take out of calls what says whose they are: the user `the_user`, the ids of what is deleted, the text of an
        error, and all labels but these.
        """
        c = spec.table.c
        nobody = sa.bindparam("nobody", type_=c.user_id.type)
        user = sa.bindparam("the_user", type_=c.user_id.type)
        changed: dict[str, Any] = dict.fromkeys(
            ("chat_session_id", "request_message_id", "response_message_id"), nobody
        )
        changed["user_id"] = sa.case((c.user_id == user, nobody), else_=c.user_id)
        changed["error_message"] = sa.null()
        earlier = sa.text(self._grammar.before.format(column="create_time", **_moment_parameters("now")))
        now = sa.bindparam("write_time", type_=c.update_time.type)
        changed["update_time"] = sa.case((earlier, now), else_=c.create_time)
        if LABELS in c:
            changed[LABELS] = self._dialect.idioms.only_labels(labels)
        return spec.table.update().where(self._one_of(spec, column, many)).values(changed)

    @_kept
    def fill_price(self, spec: TableSpec[Any]) -> Any:
        """Give the call `the_id` a price, if it has none."""
        c = spec.table.c
        changed = {name: sa.bindparam(name, type_=c[name].type) for name in _FILLED}
        return spec.table.update().where(self._same(spec, "id"), c.total_price.is_(None)).values(changed)

    def _columns(self, spec: TableSpec[Any]) -> Sequence[Any]:
        return [self._dialect.idioms.read_column(spec.table.c[name]) for name in spec.columns]

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

    @_kept
    def calls(self, spec: TableSpec[Any], where: tuple[str, ...], limited: bool, skip: bool) -> Any:
        """API calls, newest first: all columns and behind them the key of the order."""
        grammar = self._grammar
        if limited:
            before = f" WHERE {' AND '.join(where)}" if where else ""
            where = (*where, *filter(None, [grammar.only_newest(spec.table.name, before, ":row_last")]))
        query = sa.select(*self._columns(spec), self._order(spec, "create_time").label(_SORT_KEY))
        query = query.where(*map(sa.text, where)).order_by(*map(sa.text, grammar.newest()))
        if limited:
            query = query.limit(sa.bindparam("row_limit", type_=sa.BIGINT))
        if skip:
            query = query.offset(sa.bindparam("row_offset", type_=sa.BIGINT))
        return query

    @_kept
    def statistics(self, where: tuple[str, ...]) -> Any:
        """Counts and exact sums of the API calls, a row for each status and currency, as it is written."""
        c = API_CALL.table.c
        sums = [sa.func.sum(column) for column in (c.total_tokens, c.prompt_tokens, c.completion_tokens)]
        averaged = [f(column) for column in (c.latency_ms, c.tokens_per_second) for f in (sa.func.sum, sa.func.count)]
        money = [sa.func.count(c.total_price), *self._dialect.idioms.money_sums(c.total_price)]
        query = sa.select(c.status, self._priced_in(), sa.func.count(), *sums, *averaged, *money)
        query = query.where(*map(sa.text, where))
        return query.group_by(c.status, sa.literal_column(_CURRENCY))

    def _priced_in(self) -> Any:
        """The currency of a call's price, as it is written."""
        written: Any = sa.literal_column(f"CASE WHEN total_price IS NOT NULL THEN {self._dialect.idioms.currency} END")
        return written.label(_CURRENCY)

    @_kept
    def tallies(self, where: tuple[str, ...], bounds_ms: tuple[int, ...]) -> Any:
        """Counts and exact sums of the API calls, a row for each model, status, currency and interval of latency."""
        c = API_CALL.table.c
        name: Any = sa.literal_column(self._grammar.distinct.format(column="model_name"))
        cases = [f"WHEN latency_ms <= {int(bound)} THEN {number}" for number, bound in enumerate(bounds_ms)]
        interval: Any = sa.literal_column(
            f"CASE WHEN latency_ms IS NULL THEN NULL {' '.join(cases)} ELSE {len(bounds_ms)} END"
        )
        counts = [sa.func.count(), sa.func.count(c.total_price)]
        sums = [sa.func.sum(column) for column in (c.prompt_tokens, c.completion_tokens, c.latency_ms)]
        money = self._dialect.idioms.money_sums(c.total_price)
        groups = [name.label(_NAME), c.status, self._priced_in(), interval.label(_INTERVAL)]
        query = sa.select(*groups, *counts, *sums, *money).where(*map(sa.text, where))
        return query.group_by(*map(sa.literal_column, (_NAME, "status", _CURRENCY, _INTERVAL)))

    def _old(self) -> Any:
        return sa.text(self._grammar.before.format(column="create_time", **_moment_parameters("before")))

    @_kept
    def old_calls(self) -> Any:
        """Delete at most `batch` API calls from before `before`."""
        return self._dialect.idioms.delete_before(API_CALL.table, self._old())

    @_kept
    def count_old(self, spec: TableSpec[Any]) -> Any:
        """How many rows are from before `before`."""
        return sa.select(sa.func.count()).select_from(spec.table).where(self._old())

    @_kept
    def page_end(self, spec: TableSpec[Any]) -> Any:
        """The id that `row_offset` ids come before, counted from `first`."""
        own = spec.table.c.id
        query = sa.select(own).where(own >= sa.bindparam("first", type_=own.type)).order_by(own).limit(1)
        return query.offset(sa.bindparam("row_offset", type_=sa.BIGINT))

    @_kept
    def delete_old_page(self, spec: TableSpec[Any], ends: bool) -> Any:
        """Delete the rows from before `before` with an id from `first` on, and before `end` where the page `ends`."""
        own = spec.table.c.id
        page = [own >= sa.bindparam("first", type_=own.type)]
        page += [own < sa.bindparam("end", type_=own.type)] if ends else []
        return spec.table.delete().where(*page, self._old())
