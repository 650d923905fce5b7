"""The command `tail`: the calls of a database as they come in.

A call is saved when it has ended, and its `create_time` is when it began, so a slow one comes in behind faster ones
that began later. Each look therefore reads from the newest call back, until `_KNOWN` calls in a row have been seen.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from mofa_usage.cli.choosing import Named, chosen
from mofa_usage.cli.options import Url, Which, database_url
from mofa_usage.cli.output import console
from mofa_usage.errors import PersistenceError, QueryError, UsageError
from mofa_usage.wording import compact, duration, money, shorten, visible
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from uuid import UUID

    from rich.console import Console
    from rich.text import Text

    from mofa_usage.recording.outbox.folder import Outbox
    from mofa_usage.records import LLMApiCall, QueryFilter
    from mofa_usage.stores import Store

__all__ = ["tail"]

_KNOWN = 500
_REMEMBERED = 20 * _KNOWN
_STALE = 3  # looks after which it is said that records wait
_MODEL_WIDTHS = 14, 28
_NUMBERS = 66  # columns of a line up to its last number that are no model's name, and one for the dots behind
_COLORS = {"success": "green", "cancelled": "dim", "rate_limited": "yellow"}


def tail(
    which: Which,
    url: Url = None,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Begin with so many that are there already.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Look every so many seconds.")] = 1.0,
    folder: Annotated[
        Path | None, typer.Option("--outbox", metavar="FOLDER", help="Where the recorder's records wait.")
    ] = None,
    tz: Annotated[str, typer.Option("--tz", metavar="ZONE", help="Time zone of what is shown.")] = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object in a line for each call.")] = False,
) -> None:
    """Show the calls as they come in: run your agent beside it and see that it is recorded.

    It also says when accepted records wait in the outbox, because the database cannot be reached. Of names that are no
    ids, those of the newest 500 calls are found.

    [bold]mofa-usage tail --url sqlite:usage.db[/bold]

    [bold]mofa-usage tail --agent "Support bot" --label environment=production[/bold]
    """
    meant = chosen(which)
    source, lines = database_url(url), _Lines(console(), zone(tz), meant.named, as_json=as_json)
    every = interval if follow else None
    try:
        _wait_for_file(source, lines, every)
        asyncio.run(_watch(source, meant.query, lines, last, every, folder))
    except (KeyboardInterrupt, asyncio.CancelledError):
        lines.end()


class _Names:
    """What the calls of a store are called that have an agent there."""

    def __init__(self, store: "Store", wanted: Sequence[Named]) -> None:
        self._store = store
        self._wanted = wanted
        self._agents: dict[UUID, dict[str, str]] = {}

    async def fit(self, call: "LLMApiCall") -> bool:
        """Whether a call has all the names that are wanted."""
        if not self._wanted:
            return True
        names = {**{f"labels.{name}": value for name, value in call.labels.items()}, **call.labels}
        names |= {"agent_name": call.labels.get("agent", ""), **await self._agent(call.agent_id)}
        names["provider_name"] = call.labels.get("provider", names.get("provider_name", ""))
        return all(
            any(names.get(column) == one.name for column in one.columns)
            or (one.identity is not None and getattr(call, one.identity[0]) == one.identity[1])
            for one in self._wanted
        )

    async def _agent(self, agent_id: "UUID") -> dict[str, str]:
        if agent_id not in self._agents:
            agent = await self._store.get_agent(agent_id)
            config = await self._store.get_agent_with_provider(agent_id)
            names = {} if agent is None else {"agent_name": agent.agent_name, "agent_code": agent.agent_code}
            self._agents[agent_id] = names | (
                {} if config is None else {"provider_name": config.provider.provider_name}
            )
        return self._agents[agent_id]


class _Lines:
    """Prints a line for each call, and counts them."""

    def __init__(self, shown: "Console", tz: ZoneInfo, wanted: "Sequence[Named]", *, as_json: bool) -> None:
        self.wanted = wanted
        self._console = shown
        self._tz = tz
        self._as_json = as_json
        self._problem = ""
        self._calls = 0
        self._costs: dict[str, Decimal] = {}

    def call(self, call: "LLMApiCall", *, counted: bool) -> None:
        """`counted` are those that came in meanwhile."""
        if counted:
            self._calls += 1
            if call.total_price is not None and call.currency is not None:
                self._costs[call.currency] = self._costs.get(call.currency, Decimal(0)) + call.total_price
        if self._as_json:
            typer.echo(json.dumps(call.model_dump(mode="json")))
        else:
            room = self._console.width - _NUMBERS
            line = _line(call, self._tz, max(_MODEL_WIDTHS[0], min(_MODEL_WIDTHS[1], room)))
            # What does not fit is cut off behind the numbers; where they do not fit themselves, the line is broken.
            is_wide = room >= _MODEL_WIDTHS[0]
            self._console.print(line, no_wrap=is_wide, overflow="ellipsis" if is_wide else "fold", crop=is_wide)

    def say(self, sentence: str) -> None:
        """Something that is no call."""
        if not self._as_json:
            self._console.print(sentence, style="dim", markup=False, soft_wrap=True)

    def problem(self, sentence: str) -> None:
        """Why nothing can be read now, said as long as it is news; empty where all is well."""
        if sentence and sentence != self._problem:
            self.say(sentence)
        self._problem = sentence

    def end(self) -> None:
        """Nothing more comes."""
        amounts = [money(amount, currency) for currency, amount in sorted(self._costs.items())]
        self.say(f"\n{self._calls:,} calls came in{''.join(f', {amount}' for amount in amounts)}")


async def _watch(
    url: str,
    chosen: "QueryFilter | None",
    lines: _Lines,
    last: int,
    interval: float | None,
    folder: Path | None,
) -> None:
    """Print what is there, then what comes; once where there is no `interval`."""
    from mofa_usage.stores import connect

    waiting = _Waiting(url, folder)
    seen: dict[UUID, None] = {}
    async with connect(url, max_connections=1, create_tables=False) as store:
        names = _Names(store, lines.wanted)
        found = [call for call in await _first(store, chosen, seen, last, lines, interval) if await names.fit(call)]
        for call in reversed(found[:last]):
            lines.call(call, counted=False)
        if interval is not None:
            lines.say("waiting for calls; Ctrl-C ends" if found else "no calls yet; Ctrl-C ends")
        while interval is not None:
            await asyncio.sleep(interval)
            try:
                for call in reversed([call async for call in _new(store, chosen, seen)]):
                    if await names.fit(call):
                        lines.call(call, counted=True)
                lines.problem("")
            except PersistenceError as error:
                lines.problem(f"{error}; trying again")
            if sentence := waiting.look():
                lines.say(sentence)


def _wait_for_file(url: str, lines: _Lines, interval: float | None) -> None:
    """Whoever reads makes no file: wait for the agent to make it."""
    from mofa_usage.urls import backend_of, sqlite_path

    backend = backend_of(url)
    if backend in (None, "memory"):
        raise UsageError("tail follows a database that others write, for example sqlite:usage.db")
    path = Path(sqlite_path(url.partition(":")[2])) if backend == "sqlite" else None
    if path is None or path.exists():
        return
    if interval is None:
        raise UsageError(f"there is no file {path}")
    lines.say(f"{path} is not there yet; waiting for it")
    while not path.exists():
        time.sleep(interval)


async def _first(
    store: "Store",
    chosen: "QueryFilter | None",
    seen: "dict[UUID, None]",
    last: int,
    lines: _Lines,
    interval: float | None,
) -> "list[LLMApiCall]":
    """The newest calls that are there, at least `last` if there are so many."""
    from mofa_usage.records import QueryFilter

    asked = (chosen or QueryFilter()).model_copy(update={"limit": max(last, _KNOWN)})
    while True:
        try:
            found = await store.query_api_calls(asked)
            break
        except QueryError as error:  # no tables, perhaps: an agent that begins makes them
            if interval is None:
                raise
            lines.problem(f"{error}; waiting")
            await asyncio.sleep(interval)
    lines.problem("")
    seen.update(dict.fromkeys(call.id for call in reversed(found)))
    return found


async def _new(store: "Store", chosen: "QueryFilter | None", seen: "dict[UUID, None]") -> "AsyncIterator[LLMApiCall]":
    """The calls that have not been seen, newest first."""
    known, new = 0, []
    async with aclosing(store.stream_api_calls(chosen)) as calls:  # type: ignore[type-var]
        async for call in calls:
            known = known + 1 if call.id in seen else 0
            if not known:
                new.append(call.id)
                yield call
            elif known == _KNOWN:
                break
    seen.update(dict.fromkeys(reversed(new)))
    for old in list(seen)[: len(seen) - _REMEMBERED]:
        del seen[old]


class _Waiting:
    """Says when records wait in the outbox for longer than it takes to deliver them."""

    def __init__(self, url: str, folder: Path | None) -> None:
        from mofa_usage.recording.targets import default_folder, target_of

        self._folder = folder or default_folder(target_of(url))
        self._box: Outbox | None = None
        self._looks = 0
        self._said = 0

    def look(self) -> str:
        """A sentence, when there is news."""
        from mofa_usage.recording.outbox.folder import Outbox

        if self._box is None and not self._folder.is_dir():
            return ""
        self._box = self._box or Outbox(self._folder)
        found = self._box.survey()
        self._looks = self._looks + 1 if found.waiting else 0
        if not found.waiting and self._said:
            self._said = 0
            return "what waited is delivered"
        if self._looks < _STALE or found.waiting == self._said or found.oldest_waiting is None:
            return ""
        self._said = found.waiting
        since = found.oldest_waiting.astimezone(UTC)
        return f"{found.waiting:,} records wait in {self._folder}, the oldest since {since:%H:%M:%S} UTC"


def _line(call: "LLMApiCall", tz: ZoneInfo, model_width: int) -> "Text":
    from rich.cells import set_cell_size
    from rich.text import Text

    from mofa_usage.values import COMPLETION_UNKNOWN, PROMPT_UNKNOWN

    prompt = None if call.token_source in PROMPT_UNKNOWN else call.prompt_tokens
    completion = None if call.token_source in COMPLETION_UNKNOWN else call.completion_tokens
    tokens = f"{compact(prompt)} → {compact(completion)}"
    price = money(call.total_price, call.currency or "")
    first = f"first {duration(call.time_to_first_token_ms)}" if call.time_to_first_token_ms is not None else ""
    failed = call.status != "success"
    outcome = call.status.replace("_", " ") if failed else "ok"
    notes = [
        visible(call.error_code) if failed and call.error_code else "",
        f"attempt {call.labels['attempt']}" if "attempt" in call.labels else "",
        *(visible(call.labels[name]) for name in ("operation", "agent", "user", "session") if name in call.labels),
    ]
    line = Text.assemble(
        (f"{call.create_time.astimezone(tz):%H:%M:%S}  ", "dim"),
        f"{set_cell_size(shorten(call.model_name, model_width), model_width)}  ",
        (f"{outcome:<12}", _COLORS.get(call.status, "red")),
        f"  {tokens:>15}  {price:>11}  {duration(call.latency_ms):>8}  ",
        (f"{first:<13}  ", "dim"),
        " · ".join(filter(None, notes)),
    )
    line.rstrip()
    return line
