"""The commands that delete: `cleanup` of what is old, `forget` of a user. Both show before what they would do."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from mofa_usage.cli.options import Printed, Url, Yes, database_url
from mofa_usage.cli.output import agree, complain, console, print_record
from mofa_usage.cli.periods import age
from mofa_usage.errors import StoreConnectionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mofa_usage.stores import Store

__all__ = ["cleanup", "existing", "forget"]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def cleanup(
    printed: Printed,
    url: Url = None,
    calls: Annotated[
        str | None, typer.Option("--calls", metavar="AGE", help="Delete API calls that are older: 400d, 60w, 12h.")
    ] = None,
    messages: Annotated[
        str | None, typer.Option("--messages", metavar="AGE", help="Delete messages that are older; sessions stay.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete old API calls and old messages.

    It counts them first and asks. Without a terminal, as in cron, it deletes only with --yes. Rows go in batches, so
    that agents can write meanwhile. The exit code is 1 when there was nothing to delete.

    [bold]mofa-usage cleanup --calls 400d --messages 30d --dry-run[/bold]

    [bold]mofa-usage cleanup --messages 30d --yes --url sqlite:usage.db[/bold]
    """
    now, ages = datetime.now(UTC), {"calls": calls, "messages": messages}
    before = {what: _moment(now, f"--{what}", text) for what, text in ages.items() if text is not None}
    if not before:
        raise UsageError("what is old? Give --calls, --messages or both, for example --messages 30d")
    source = existing(url)
    old = _run(source, lambda store: _clean_up(store, before, dry_run=True))
    if not dry_run and any(old.values()):
        said = " and ".join(f"{_count(number, what)} from before {before[what]:%Y-%m-%d %H:%M} UTC"
                            for what, number in old.items())  # fmt: skip
        agree(f"{said} will be deleted", "--yes deletes them, --dry-run only counts", agreed=yes)
        old = _run(source, lambda store: _clean_up(store, before, dry_run=False))
    _say(printed, old, "would be deleted" if dry_run else "deleted", "nothing is so old", dry_run=dry_run)


def forget(
    printed: Printed,
    user: Annotated[
        str, typer.Option("--user", metavar="NAME|ID", help="The user: an id, or a name as a recorder was given it.")
    ],
    url: Url = None,
    keep_label: Annotated[
        list[str] | None,
        typer.Option("--keep-label", metavar="NAME", help="Keep this label of the calls, for example team. Repeat."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take a user out of the database.

    Messages and sessions of the user are deleted. API calls stay with their tokens and prices, as the ledger, but say
    no longer whose they were: ids of the user, the session and its messages, texts of errors, and all labels but those
    that say what a call was. It counts first and asks; without a terminal it needs --yes. The exit code is 1 when
    nothing is known of the user.

    [bold]mofa-usage forget --user 3f0c9a52-7a43-4c0e-9d7e-2f1f6a3b8f11 --dry-run[/bold]

    [bold]mofa-usage forget --user alice --keep-label team --yes --url sqlite:usage.db[/bold]
    """
    identity, source = _user_id(user), existing(url)
    kept = keep_label or []

    async def forgotten(store: "Store", only_count: bool) -> dict[str, int]:
        done = await store.forget_user(identity, keep_labels=kept, dry_run=only_count)
        return {"messages": done.messages, "sessions": done.sessions, "calls": done.calls}

    found = _run(source, lambda store: forgotten(store, True))
    if not dry_run and any(found.values()):
        said = f"{_count(found['messages'], 'messages')} and {_count(found['sessions'], 'sessions')} will be deleted"
        agree(
            f"{said}, and {_count(found['calls'], 'calls')} will be nobody's",
            "--yes does it, --dry-run only counts",
            agreed=yes,
        )
        found = _run(source, lambda store: forgotten(store, False))
    unknown = f"nothing is known of the user {user}"
    if user != str(identity):
        unknown += f", whose id is {identity}; one that was recorded with another id is forgotten by that id"
    if dry_run and not any(found.values()):
        complain(unknown)
    _say(printed, found, "would be forgotten" if dry_run else "forgotten", unknown, dry_run=dry_run)


def _user_id(user: str) -> UUID:
    from mofa_usage.values import text_uuid

    try:
        return UUID(user)
    except ValueError:
        return text_uuid("user_id", user)


def _moment(now: datetime, option: str, text: str) -> datetime:
    length = age(option, text)
    if length <= timedelta(0):
        raise UsageError(f"{option} = {text!r} would delete all of them")
    try:
        return now - length
    except OverflowError as error:
        raise UsageError(f"{option} = {text!r} lies before the year 1") from error


def existing(url: str | None) -> str:
    """The URL of a database that is there: none is made to change something in it."""
    from mofa_usage.urls import MEMORY_PATH, parse_url, sqlite_path

    source = database_url(url)
    backend, parsed = parse_url(source)
    if backend == "memory" or (backend == "sqlite" and parsed.database == MEMORY_PATH):
        raise UsageError(f"{source} is in memory: there is nothing in it when the command begins")
    if backend == "sqlite":
        path = Path(sqlite_path(source.partition(":")[2]))
        if not path.exists():
            raise StoreConnectionError(f"there is no SQLite database at {path.absolute()}")
    return source


def _run(url: str, work: "Callable[[Store], Awaitable[dict[str, int]]]") -> dict[str, int]:
    async def connected() -> dict[str, int]:
        from mofa_usage.stores import connect

        async with connect(url, create_tables=False) as store:
            return await work(store)

    return asyncio.run(connected())


async def _clean_up(store: "Store", before: dict[str, datetime], *, dry_run: bool) -> dict[str, int]:
    works: dict[str, Any] = {"calls": store.cleanup_old_records, "messages": store.cleanup_old_messages}
    return {what: await works[what](moment, dry_run=dry_run) for what, moment in before.items()}


def _say(printed: Printed, counts: dict[str, int], done: str, nothing: str, *, dry_run: bool) -> None:
    if printed.for_programs:
        print_record({**counts, "dry_run": dry_run}, printed)
    elif dry_run or any(counts.values()):
        console().print(f"{', '.join(_count(number, what) for what, number in counts.items())} {done}")
    if not dry_run and not any(counts.values()):
        complain(nothing)
        raise typer.Exit(1)


def _count(number: int, plural: str) -> str:
    return f"{number:,} {plural.removesuffix('s') if number == 1 else plural}"
