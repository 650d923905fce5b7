"""The commands that make a database: `demo` and `migrate`."""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.options import Overwrite, Url, database_url
from mofa_usage.cli.output import agree, announce, console
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from mofa_usage.demo import DemoUsage

__all__ = ["demo", "migrate"]

_SQL_DIALECTS = {"postgres": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}


def demo(
    directory: Annotated[Path, typer.Option("--dir", metavar="FOLDER", help="Where to write.")] = Path(
        "mofa-usage-demo"
    ),
    calls: Annotated[int, typer.Option("--calls", min=1, help="How many calls.")] = 50_000,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Of how many days.")] = 30,
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="When they end; now unless given, always in UTC.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed makes other calls of the same kind.")] = 2026,
    overwrite: Overwrite = False,
) -> None:
    """Make up a month of realistic usage and show what can be seen in it.

    Writes a SQLite database, an HTML report and a Parquet file into a folder. The calls, prices and speeds are made up;
    the same seed and --end give the same again.

    [bold]mofa-usage demo[/bold]

    [bold]mofa-usage demo --dir try --calls 5000 --days 7 --end 2026-06-01[/bold]
    """
    database, report, parquet = (directory / name for name in ("usage.db", "report.html", "calls.parquet"))
    _make_room(directory, (database, report, parquet), overwrite=overwrite)
    url = f"sqlite:{database}"
    shown = console()
    with _nothing_thrown_away():
        _fill(url, calls, days, end, seed)
    announce(database, f": {calls:,} made-up calls of {days} days")
    from mofa_usage.cli.views import show_summary
    from mofa_usage.exporting import export_parquet
    from mofa_usage.report import write_report
    from mofa_usage.usage import load_usage

    frame = load_usage(url)
    with shown.status("Writing the report"):
        write_report(frame, report)
    with shown.status("Writing Parquet"):
        export_parquet(url, parquet)
    announce(report, ": the report, open it in a browser")
    announce(parquet, ": the same calls for Polars, DuckDB, Spark, ...\n")
    show_summary(frame, ["model_name"])
    _what_next(url)


@contextmanager
def _nothing_thrown_away() -> Iterator[None]:
    """Do not look for garbage: where all that is made is kept, that finds none and takes half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _fill(url: str, calls: int, days: int, end: str | None, seed: int) -> None:
    """Make up usage and save it, which lives no longer than that."""
    from mofa_usage.demo import generate_usage

    with console().status(f"Making up {calls:,} calls"):
        usage = generate_usage(calls=calls, days=days, end=_end(end), seed=seed)
    with ThreadPoolExecutor(1) as beside:
        beside.submit(import_module, "mofa_usage.report")  # while the database works; what is missing is said later
        asyncio.run(_save(url, usage))


def _make_room(directory: Path, files: Sequence[Path], *, overwrite: bool) -> None:
    """Make the folder, with none of the files in it."""
    database = files[0]
    there = [
        file
        for file in (*files, *(database.with_name(database.name + end) for end in ("-wal", "-shm")))
        if file.exists()
    ]
    if there:
        said = "--overwrite replaces it, --dir writes elsewhere"
        agree(f"{there[0]} is there already", said, agreed=overwrite, question="Replace it?")
    directory.mkdir(parents=True, exist_ok=True)
    for file in there:
        file.unlink()


def _end(text: str | None) -> "datetime | None":
    if text is None:
        return None
    from mofa_usage.zones import instant, zone

    return instant(text, zone("UTC"), "--end")


async def _save(url: str, usage: "DemoUsage") -> None:
    from mofa_usage.demo import write_usage
    from mofa_usage.progress import progress_bar
    from mofa_usage.stores import connect

    with progress_bar("Writing the database", len(usage.calls)) as advance:
        async with connect(url) as store:
            await write_usage(store, usage, advance=advance)


def _what_next(url: str) -> None:
    shown = console()
    shown.print("\n[bold]What next[/bold]")
    for command in (
        f"mofa-usage summary --url {url} --by agent_name",
        f"mofa-usage summary --url {url} --by week --by provider_name",
        f"mofa-usage notebook 02_cost --url {url}",
        "mofa-usage import YOUR_CALLS.csv --url sqlite:usage.db",
    ):
        shown.print(f"  {command}", soft_wrap=True, markup=False)


def migrate(
    url: Url = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
) -> None:
    """Create the tables, or bring older ones up to date.

    Connecting does this by itself to tables that mofa_usage made. It is a command of its own for databases whose
    programs may not change tables (run it once with a user who may, or give the SQL to somebody who does), and for
    tables that MoFA made, which nothing else changes: they get the column for labels.

    [bold]Restart MoFA's Rust agents after it[/bold]: until they reconnect, a new column breaks what they have prepared.
    Doing it twice changes nothing.

    [bold]mofa-usage migrate --url postgres://owner@host/name[/bold]

    [bold]mofa-usage migrate --url postgres:// --sql > tables.sql[/bold]
    """
    from mofa_usage.stores.migrations import migration_sql
    from mofa_usage.urls import parse_url

    chosen = database_url(url)
    backend = parse_url(chosen).backend
    if backend == "memory":
        raise UsageError("memory: has no tables to migrate")
    if sql:
        typer.echo(migration_sql(_SQL_DIALECTS[backend]), nl=False)
        return
    version = asyncio.run(_migrate(chosen))
    console().print(f"the tables are at version {version}; if MoFA's agents use them, restart the agents")


async def _migrate(url: str) -> str:
    from mofa_usage.stores import connect
    from mofa_usage.stores.sql_store import SqlStore

    async with connect(url, create_tables=False) as store:
        assert isinstance(store, SqlStore)  # noqa: S101 (for the type checker: every store with a database is one)
        return await store.migrate()
