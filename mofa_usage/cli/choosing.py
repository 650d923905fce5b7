"""The calls that the options choose: loaded, or explained where there are none.

What a database can be asked for goes into a `QueryFilter`: the model, the status, and ids. Names of agents, providers,
users, tenants and sessions, labels and `--filter` become SQL conditions on the calls. A name that is no id may stand
for the id that a recorder makes of it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

import typer

from mofa_usage import wording
from mofa_usage.cli.options import Calls, Printed, Which, database_url, pairs_of, price_book
from mofa_usage.cli.output import complain, print_rows
from mofa_usage.cli.periods import period
from mofa_usage.errors import UsageError
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.records import QueryFilter
    from mofa_usage.usage import UsageFrame

__all__ = ["Chosen", "chosen", "end_without_calls", "load", "loaded", "nothing", "priced"]

_NAMED = {
    "agent": ("agent_id", "agent_id", ("agent_name", "agent_code")),
    "user": ("user_id", "user_id", ("labels.user",)),
    "tenant": ("tenant_id", "tenant_id", ()),
    "session": ("chat_session_id", "session_id", ("labels.session",)),
}
"""What an option names: the column of ids, the field of a filter, and the columns of names."""
_LISTED = 8


@dataclass(frozen=True)
class Named:
    """What an option names: calls that have the name in one of some columns, or the id that stands for it."""

    option: str
    name: str
    columns: tuple[str, ...]
    identity: tuple[str, UUID] | None = None
    """The column of an id, and the id."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that decide."""
        return (*self.columns, *(self.identity or ())[:1])

    def sql(self, columns: Collection[str]) -> str:
        """The condition on calls that have these columns."""
        same = [f"{_identifier(column)} = {_literal(self.name)}" for column in self.columns if column in columns]
        if self.identity is not None and self.identity[0] in columns:
            same.append(f"{_identifier(self.identity[0])} = {_literal(str(self.identity[1]))}")
        return " OR ".join(same) or "false"


@dataclass(frozen=True)
class Chosen:
    """What the options mean.

    Attributes:
        query: What a database is asked for; None where that is all.
        start, end: The half-open range of times.
        named: What was named, of which `asked` is already in the query.
        own: SQL conditions as they were written.
    """

    query: "QueryFilter | None"
    start: datetime | None
    end: datetime | None
    named: tuple[Named, ...] = ()
    asked: tuple[Named, ...] = ()
    own: tuple[str, ...] = ()

    @property
    def is_more(self) -> bool:
        """Whether the query does not say it all."""
        return bool(self.named or self.own)

    def conditions(self, columns: Collection[str]) -> list[str]:
        """What the query does not say, as SQL about calls that have these columns."""
        return [*(one.sql(columns) for one in self.named), *self.own]


def chosen(which: Which, start: datetime | None = None, end: datetime | None = None) -> Chosen:
    """What the options mean; nothing is loaded.

    Raises:
        UsageError: there is no such status, or a label is not NAME=VALUE.
    """
    from mofa_usage.measures import dimension
    from mofa_usage.records import ApiCallStatus, QueryFilter
    from mofa_usage.values import text_uuid

    if which.status is not None and which.status not in list(ApiCallStatus):
        raise UsageError(f"--status: {which.status!r} is not one of {', '.join(ApiCallStatus)}")
    equal: dict[str, Any] = {"model_name": which.model, "status": which.status and ApiCallStatus(which.status)}
    asked = [Named("model", which.model, ("model_name",))] if which.model is not None else []
    named = [] if which.provider is None else [Named("provider", which.provider, ("provider_name",))]
    for option, (column, queried, names) in _NAMED.items():
        given = getattr(which, option)
        if given is None:
            continue
        identity = _uuid(given)
        if identity is not None:
            equal[queried] = identity
            asked.append(Named(option, given, (column,)))
        else:
            named.append(Named(option, given, names, (column, text_uuid(column, given))))
    for name, value in pairs_of("--label", which.label, "NAME", prefix="labels.").items():
        named.append(Named(f"label {name}", value, dimension(f"labels.{name}").needs))
    query = QueryFilter(**equal)
    own = (which.condition or ()) if isinstance(which, Calls) else ()
    return Chosen(None if query == QueryFilter() else query, start, end, tuple(named), tuple(asked), tuple(own))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def load(
    calls: Calls,
    columns: Sequence[str] | None = None,
    seen_from: Callable[[datetime | None, ZoneInfo], datetime | None] = lambda start, _: start,
) -> tuple["UsageFrame", Chosen]:
    """The calls that a command is about, and what chose them. Of a database only these columns are read, or all.

    `seen_from` says from when on they are loaded, given their start and the zone: earlier for rolling measures.

    Raises:
        UsageError: the URL, the period or a filter cannot be understood, or there is no such file.
        StoreConnectionError: the database cannot be reached.
    """
    source, clock = database_url(calls.url), zone(calls.tz)
    which = chosen(calls, *period(calls.start, calls.end, clock))
    from mofa_usage.urls import backend_of
    from mofa_usage.usage import load_usage

    # A file reads what a question needs by itself, and need not have all columns.
    wanted = None
    if columns is not None and not which.own and backend_of(source) is not None:
        wanted = list(dict.fromkeys((*columns, *(column for one in which.named for column in one.needs))))
    start = seen_from(which.start, clock)
    usage = load_usage(source, which.query, start=start, end=which.end, tz=calls.tz, columns=wanted)
    return (usage.filter(*which.conditions(usage.columns)) if which.is_more else usage), which


def loaded(calls: Calls, printed: Printed, columns: Sequence[str]) -> "UsageFrame":
    """The calls that a command is about; without any it ends, for programs with a table of those columns."""
    usage, which = load(calls)
    if not len(usage):
        if printed.for_programs:
            print_rows(columns, [], printed)
        end_without_calls(calls, which)
    return usage


def priced(usage: "UsageFrame", prices: str | None, start: datetime | None) -> "tuple[UsageFrame, str]":
    """The calls, those without a price at that of the book which `--prices` names; and how many got one, in words.

    Without the option nothing is said. Calls before `start` get a price, too, and are not counted.

    Raises:
        UsageError: there is no such price file, or the calls lack a column that prices need.
        MissingExtraError: the extra `pricing` is not installed.
    """
    if prices is None:
        return usage, ""
    book = price_book(prices)
    found = usage.with_prices(book)
    before, after = (_price_counts(one, start) for one in (usage, found))
    lacking, got = before["calls"] - before["priced_calls"], after["priced_calls"] - before["priced_calls"]
    if not lacking:
        return found, "every call had one already"
    if not got:
        return found, f"none for the {wording.calls(lacking)} without one in {book.source}"
    estimated = after["estimated_calls"] - before["estimated_calls"]
    roughly = f", {estimated:,} of them as an estimate" if estimated else ""
    among = "" if got == lacking else f"{got:,} of the "
    return found, f"{among}{wording.calls(lacking)} without one got it from {book.source}{roughly}"


def _price_counts(usage: "UsageFrame", start: datetime | None) -> dict[str, int]:
    from mofa_usage.analysis.asking import Usual

    asked = Usual(("calls", "priced_calls", "estimated_calls"), about=("calls",))
    return {"priced_calls": 0, "estimated_calls": 0, **usage.breakdown((), asked, start=start).row(0, named=True)}


def end_without_calls(calls: Calls, which: Chosen) -> NoReturn:
    """Say why there are no calls, and end."""
    complain(nothing(calls, which))
    raise typer.Exit(1)


def nothing(calls: Calls, which: Chosen) -> str:
    """Why there are no calls, as far as names that are near and the period of all calls tell."""
    from mofa_usage.urls import backend_of
    from mofa_usage.usage import load_usage

    source, named = database_url(calls.url), (*which.asked, *which.named)
    columns = list(dict.fromkeys(["create_time", *(column for one in named for column in one.columns)]))
    everything = load_usage(source, tz=calls.tz, columns=columns if backend_of(source) is not None else None)
    if not len(everything):
        return "no calls: there are none at all"
    asked = [f"{one.option} {one.name!r}" for one in named]
    asked += [f"status {calls.status!r}"] if calls.status else []
    asked += [f"--filter {condition!r}" for condition in which.own]
    parts = [f"no calls{' of ' if asked else ''}{' and '.join(asked)}{_when(which, calls)}"]
    parts += filter(None, (_near(everything, one) for one in named))
    first, last = everything.sql("SELECT min(create_time), max(create_time) FROM calls").row(0)
    return "; ".join([*parts, f"there are calls from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} {calls.tz}"])


def _when(which: Chosen, calls: Calls) -> str:
    clock = zone(calls.tz)
    since = "" if which.start is None else f" since {which.start.astimezone(clock):%Y-%m-%d %H:%M}"
    until = "" if which.end is None else f" before {which.end.astimezone(clock):%Y-%m-%d %H:%M}"
    return f"{since} and{until}" if since and until else since + until


def _near(everything: "UsageFrame", named: Named) -> str:
    """What the calls have instead of a name; nothing where some have it."""
    from mofa_usage.measures.spelling import suggestion

    there = [column for column in named.columns if column in everything.columns]
    names = [str(one) for column in there for one in everything.breakdown(column, "calls")[column] if one is not None]
    if not named.columns or named.name in names:
        return ""
    if not names:
        return (
            f"no call has a {named.option}" if named.option.startswith("label ") else f"no call names a {named.option}"
        )
    hint = suggestion(named.name, names)
    if hint.startswith("there are:") and len(names) > _LISTED:
        return f"there are {len(names):,} others, such as {', '.join(names[:_LISTED])}"
    return hint
