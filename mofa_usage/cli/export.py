"""The commands `export`, calls out of a database into files, and `verify_export`, whether these are whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mofa_usage.cli.choosing import Chosen, chosen, nothing
from mofa_usage.cli.options import Calls, Overwrite, Printed, StorageOption, Url, database_url, pairs_of
from mofa_usage.cli.output import announce, complain, console, may_write, print_record
from mofa_usage.cli.periods import age, period
from mofa_usage.errors import UsageError
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.reading.open import Source

__all__ = ["export", "verify_export"]

_PARQUET = (".parquet", ".pq")


def export(
    calls: Calls,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="calls.parquet, calls.csv, or with --partition-by or --incremental the folder to write; with "
            "--incremental also s3://bucket/folder.",
        ),
    ],
    partition_by: Annotated[
        str | None, typer.Option("--partition-by", metavar="month|day", help="Write a folder with a file for each.")
    ] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Write what is new since the last time, with a manifest.")
    ] = False,
    hold_back: Annotated[
        str | None,
        typer.Option("--hold-back", metavar="AGE", help="Until how long ago: 1h unless given. Later calls come next."),
    ] = None,
    storage_option: StorageOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Write calls to a file, oldest first: Parquet (exact types, compressed), or CSV where the name ends so.

    Times are written in UTC; months and days of a folder are those of --tz. What is there already is replaced when you
    say so: in a terminal it asks, else --overwrite does it. Where no call meets the options, nothing is written, and
    the exit code is 1.

    [bold]mofa-usage export calls.parquet --url sqlite:usage.db[/bold]

    [bold]mofa-usage export may.csv --start 2026-05 --agent "Support bot" --tz Europe/Berlin[/bold]

    With --incremental each run writes the calls since the last one into a folder of its own, which a manifest
    describes: nothing twice, nothing missing. --start and --end name another window.

    [bold]mofa-usage export calls --partition-by month --start 2026-01-01[/bold]

    [bold]mofa-usage export s3://bucket/calls --incremental[/bold]
    """
    if incremental:
        _export_window(calls, path, partition_by, hold_back, storage_option, overwrite=overwrite)
        return
    if hold_back is not None or storage_option or path.startswith("s3://"):
        raise UsageError("object stores, --storage-option and --hold-back are for --incremental")
    _export_file(calls, Path(path), partition_by, overwrite=overwrite)


def _export_file(calls: Calls, path: Path, partition_by: str | None, *, overwrite: bool) -> None:
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


def _export_window(
    calls: Calls,
    path: str,
    partition_by: str | None,
    hold_back: str | None,
    storage_option: list[str] | None,
    *,
    overwrite: bool,
) -> None:
    from mofa_usage.exporting import HOLD_BACK, export_window

    which = chosen(calls, *period(calls.start, calls.end, zone(calls.tz)))
    if which.is_more:
        raise UsageError("--incremental takes no condition that its database cannot be asked for; export all calls")
    partition: Any = partition_by
    written = export_window(
        database_url(calls.url),
        path,
        start=which.start,
        end=which.end,
        tz=calls.tz,
        filter=which.query,
        hold_back=HOLD_BACK if hold_back is None else age("--hold-back", hold_back),
        partition_by=partition,
        overwrite=overwrite,
        storage_options=pairs_of("--storage-option", storage_option, "NAME"),
    )
    if written is None:
        console().print("nothing to export yet: no time has passed since the last window, but what is held back")
        return
    numbers = (_count(written.rows, "call"), _count(len(written.files), "file"))
    announce(written.name, f": {' in '.join(numbers)}, {written.size / 1e6:,.2f} MB, from {written.window}")


def verify_export(
    printed: Printed,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The folder or s3://... that --incremental wrote to.")],
    url: Url = None,
    storage_option: StorageOption = None,
) -> None:
    """Compare an incremental export with its manifests: that all files are there and unchanged, and their exact sums.

    With --url the calls that are in the database now are compared, too: that shows what arrived later, with a time in a
    window that was exported before. The exit code is 1 where something is wrong.

    [bold]mofa-usage verify-export calls --url sqlite:usage.db[/bold]
    """
    from mofa_usage.exporting import verify_export as verify
    from mofa_usage.wording import visible

    found = verify(path, url, storage_options=pairs_of("--storage-option", storage_option, "NAME"))
    rows, windows = sum(one.rows for one in found.windows), len(found.windows)
    if printed.for_programs:
        flaws = [vars(flaw) for flaw in found.flaws]
        print_record({"equal": found.equal, "windows": windows, "rows": rows, "flaws": flaws}, printed)
    else:
        for flaw in found.flaws:
            console().print(f"{flaw.kind}: {visible(flaw.said)}", markup=False, soft_wrap=True)
        said = "all as exported" if found.equal else f"{_count(len(found.flaws), 'flaw')}"
        console().print(f"{_count(windows, 'window')}, {_count(rows, 'call')}: {said}")
    if not found.equal:
        raise typer.Exit(1)


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
