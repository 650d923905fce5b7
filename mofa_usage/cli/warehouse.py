"""The commands about the usage warehouse: `warehouse sync`, `verify`, `compact`, `vacuum` and `history`."""

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mofa_usage.cli.bundles import unbundled
from mofa_usage.cli.options import Printed, StorageOption, Url, database_url, pairs_of
from mofa_usage.cli.output import complain, console, print_record, print_rows
from mofa_usage.cli.retention import existing
from mofa_usage.errors import PersistenceError, UsageError
from mofa_usage.urls import backend_of

if TYPE_CHECKING:
    from mofa_usage.warehouse import SyncSummary, Warehouse

__all__ = ["app"]

app = typer.Typer(
    name="warehouse",
    no_args_is_help=True,
    help="A columnar copy of all usage, which syncs keep up to date (extra warehouse).",
)

Place = Annotated[str, typer.Argument(metavar="PATH", help="The folder of the warehouse, or s3://bucket/folder.")]

_LONGEST_PAUSE = 300.0


@app.command()
@unbundled
def sync(
    printed: Printed,
    path: Place,
    url: Url = None,
    content: Annotated[bool, typer.Option("--content", help="Also the content of messages.")] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror-deletes", help="Remove what was deleted at the source as an error, or forgotten.")
    ] = False,
    kept_before: Annotated[
        str | None, typer.Option("--kept-before", metavar="MOMENT", help="With that: but for calls made before.")
    ] = None,
    most_deleted: Annotated[
        float,
        typer.Option("--most-deleted", metavar="PART", help="With that: at most so much of a table.", min=0, max=1),
    ] = 0.5,
    full: Annotated[bool, typer.Option("--full", help="Read everything at the source again.")] = False,
    follow: Annotated[
        float | None, typer.Option("--follow", metavar="SECONDS", min=0.1, help="Go on, with such pauses.")
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Take over what changed in a database since the last sync, or everything the first time.

    The URL may also be a Parquet file, folder or pattern, or another warehouse.

    With --follow it goes on until it is stopped, a line for each sync; while the database or the object store cannot be
    reached, the pauses get longer.

    [bold]mofa-usage warehouse sync usage_warehouse --url postgres://me@db/agents[/bold]
    """
    source, warehouse = _source(url), _warehouse(path, storage_option)

    def once() -> "SyncSummary":
        return warehouse.sync(
            source,
            content=content,
            deletes="mirror" if mirror else "keep",
            kept_before=kept_before,
            most_deleted=most_deleted,
            full=full,
        )

    if follow is None:
        _show(once(), printed)
        return
    pause, has_worked = follow, False
    while True:
        try:
            done = once()
        except (PersistenceError, UsageError) as error:
            if isinstance(error, UsageError) and not has_worked:
                raise  # what is wrong from the beginning does not become right
            pause = min(2 * pause, max(_LONGEST_PAUSE, follow))
            complain(f"{error}; trying again in {pause:.0f} s")
        else:
            pause, has_worked = follow, True
            _show(done, printed, line=True)
        time.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311


def _show(done: "SyncSummary", printed: Printed, *, line: bool = False) -> None:
    if printed.for_programs:
        print_rows(list(_row(done.tables[0])), [_row(one) for one in done.tables], printed, lines=line)
    elif line:
        console().print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {done.sentence}", highlight=False, soft_wrap=True)
    else:
        console().print(str(done), highlight=False, soft_wrap=True)


def _row(table: object) -> Mapping[str, Any]:
    row = dict(vars(table))
    lag = row.pop("lag")
    return row | {"lag_seconds": None if lag is None else lag.total_seconds()}


@app.command()
@unbundled
def verify(printed: Printed, path: Place, url: Url = None, storage_option: StorageOption = None) -> None:
    """Prove that the warehouse has everything that the database has, as it is there; exit code 1 where it has not.

    What was saved since the last sync is missing.
    """
    found = _warehouse(path, storage_option).verify(_source(url))
    if printed.for_programs:
        print_record(
            {
                "equal": found.equal,
                "rows": dict(found.rows),
                "differences": found.differences.to_dicts(),
                "kept": found.kept.to_dicts(),
            },
            printed,
        )
    else:
        console().print(str(found), highlight=False, soft_wrap=True)
        for row in found.differences.head(20).iter_rows():
            console().print("  " + " ".join(row), highlight=False, markup=False)
    if not found.equal:
        raise typer.Exit(1)


@app.command()
def compact(path: Place, storage_option: StorageOption = None) -> None:
    """Put the small files of each month together, which many syncs leave."""
    console().print(str(_warehouse(path, storage_option).compact()), highlight=False)


@app.command()
def vacuum(
    path: Place,
    keep_days: Annotated[
        float, typer.Option("--keep-days", metavar="DAYS", min=1, help="Versions of so many days stay readable.")
    ] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many files would go.")] = False,
    storage_option: StorageOption = None,
) -> None:
    """Remove the files that no version of the last days needs."""
    console().print(str(_warehouse(path, storage_option).vacuum(keep_days, dry_run=dry_run)), highlight=False)


@app.command()
@unbundled
def history(
    printed: Printed,
    path: Place,
    last: Annotated[int | None, typer.Option("--last", metavar="N", min=1, help="Only so many of each table.")] = None,
    storage_option: StorageOption = None,
) -> None:
    """The versions of the tables, the newest first."""
    versions = _warehouse(path, storage_option).history(last)
    if printed.for_programs:
        print_rows(versions.columns, versions.to_dicts(), printed)
        return
    for row in versions.to_dicts():
        changes = ", ".join(f"{row[word]:,} {word}" for word in ("added", "updated", "deleted") if row[word])
        said = f"{row['time']:%Y-%m-%d %H:%M:%S}Z  {row['table']} {row['version']}: {row['what']}"
        console().print(said + (f", {changes}" if changes else ""), highlight=False, markup=False, soft_wrap=True)


def _source(url: str | None) -> str:
    """A database that is there, or a Parquet path or another warehouse."""
    said = database_url(url)
    return existing(said) if backend_of(said) else said


def _warehouse(path: str, storage_option: list[str] | None) -> "Warehouse":
    from mofa_usage.warehouse import Warehouse

    return Warehouse(path, storage_options=pairs_of("--storage-option", storage_option, "NAME"))
