"""The command `export`: calls out of a database into a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mofa_usage.cli.choosing import Chosen, chosen, nothing
from mofa_usage.cli.options import Calls, Overwrite, database_url
from mofa_usage.cli.output import announce, complain, may_write
from mofa_usage.cli.periods import period
from mofa_usage.errors import UsageError
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.reading.open import Source

__all__ = ["export"]

_PARQUET = (".parquet", ".pq")


def export(
    calls: Calls,
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="calls.parquet, calls.csv, or with --partition-by the folder to write."),
    ],
    partition_by: Annotated[
        str | None, typer.Option("--partition-by", metavar="month|day", help="Write a folder with a file for each.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write calls to a file, oldest first: Parquet (exact types, compressed), or CSV where the name ends so.

    Times are written in UTC; months and days of a folder are those of --tz. What is there already is replaced when you
    say so: in a terminal it asks, else --overwrite does it. Where no call meets the options, nothing is written, and
    the exit code is 1.

    [bold]mofa-usage export calls.parquet --url sqlite:usage.db[/bold]

    [bold]mofa-usage export may.csv --start 2026-05 --agent "Support bot" --tz Europe/Berlin[/bold]

    [bold]mofa-usage export calls --partition-by month --start 2026-01-01[/bold]
    """
    from mofa_usage.exporting import export_csv, export_parquet

    source, is_csv = database_url(calls.url), path.suffix.lower() == ".csv"
    if partition_by is not None and is_csv:
        raise UsageError(f"{path} is one CSV file; --partition-by writes a folder of Parquet files")
    if partition_by is None and not is_csv and path.suffix.lower() not in _PARQUET:
        raise UsageError(f"{path} does not say what to write: end it with .parquet or .csv, or give --partition-by")
    clock = zone(calls.tz)
    which = chosen(calls, *period(calls.start, calls.end, clock))
    may_write(path, overwrite=overwrite)
    with _chosen_calls(source, which, calls.tz, path) as (found, count, asked):
        if not count:
            complain(f"{nothing(calls, which)}; nothing was written")
            raise typer.Exit(1)
        first, last = asked.start, asked.end
        if is_csv:
            written = export_csv(found, path, filter=asked.query, start=first, end=last, overwrite=True)
        else:
            partition: Any = partition_by  # what it may be, the library says
            written = export_parquet(
                found,
                path,
                filter=asked.query,
                start=first,
                end=last,
                tz=calls.tz,
                partition_by=partition,
                overwrite=True,
            )
    numbers = (_count(written.rows, "call"), _count(len(written.files), "file"))
    announce(path, f": {' in '.join(numbers)}, {written.bytes / 1e6:,.2f} MB")


@contextmanager
def _chosen_calls(source: str, which: Chosen, tz: str, path: Path) -> "Iterator[tuple[Source, int, Chosen]]":
    """What to export, how many calls that is, and what an export is still to be asked for."""
    from mofa_usage.exporting.conditions import calls_that_meet
    from mofa_usage.reading.open import open_source
    from mofa_usage.reading.selection import Selection

    if not which.is_more:
        selection = Selection.of(which.query, which.start, which.end, tz, None)
        yield source, open_source(source).count(selection) or 0, which
        return
    beside = path.absolute().parent
    with calls_that_meet(
        source, which.conditions, beside, filter=which.query, start=which.start, end=which.end, tz=tz
    ) as (found, count):
        yield found, count, Chosen(None, None, None)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
