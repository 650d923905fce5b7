"""Exports that grow: a window of time each, none of which overlap.

```python
export_window("sqlite:usage.db", "lake")        # all calls until an hour ago
export_window("sqlite:usage.db", "lake")        # a day later: those since then, until an hour ago
```

Each window is a folder of its own (`since=2026-05-01T00-00-00Z/calls.parquet`) with a manifest. Windows are half-open,
and the next one begins where the last one ends: a call is in one of them by its `create_time`, whatever the clock did.

What a window cannot know are calls that arrive later with a time inside it: of an outbox that delivered late, of an
import of old files. `hold_back` waits for the usual ones; `verify_export(path, source)` names the windows that have got
more since, and such a window can be written anew. Who wants them all, and changes of old calls too, without doing
anything wants the warehouse, which syncs by when rows were saved.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mofa_usage.errors import UsageError
from mofa_usage.exporting.files import CallFiles, Partition, Partitions, calls_in_order
from mofa_usage.exporting.manifest import MANIFEST, Manifest, Sums, described, sums_in
from mofa_usage.exporting.places import Place
from mofa_usage.exporting.staging import to_disk
from mofa_usage.reading.object_stores import StorageOptions
from mofa_usage.reading.open import Source
from mofa_usage.reading.relation import SCHEMA_VERSION
from mofa_usage.reading.selection import Selection
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment

__all__ = ["HOLD_BACK", "export_window", "exported_windows"]

HOLD_BACK = timedelta(hours=1)
_ROW_GROUP = 65_536


def export_window(
    source: Source,
    path: str | os.PathLike[str],
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    hold_back: timedelta = HOLD_BACK,
    partition_by: Partition | None = None,
    overwrite: bool = False,
    storage_options: StorageOptions | None = None,
    progress: bool | None = None,
) -> Manifest | None:
    """Export the calls of the next window of time, or of one that is given, in bounded memory.

    Args:
        source: What `load_usage` takes.
        path: The folder of all windows, or `s3://bucket/folder`. One export at a time may write there.
        start: Where the window begins: by default where the last one ends, and for the first one at the beginning.
        end: Where it ends, by default `hold_back` ago, at a whole second; not in the future.
        tz: The zone of dates and text without a zone in `start` and `end`, and of partitions.
        filter: Only calls that meet it, without its times; the same for all windows of a path.
        hold_back: How long to wait for calls that arrive late.
        partition_by: Files for each "month" or "day" inside the window.
        overwrite: Write the window anew that ends at `end`; the old one stays whole until then (in an object store it
            is gone for as long as that takes).
        storage_options: Of an object store, as deltalake takes them: `aws_region`, `aws_endpoint_url`, ...
        progress: As for `load_usage`.

    Returns:
        The window's manifest; None when no time has passed since the last one.

    Raises:
        UsageError: the window overlaps another one or ends in the future, the filter is another, the path cannot be
            written, what was written is not what was read, or as `export_parquet`.
        PersistenceError: as `load_usage`.
    """
    now = datetime.now(UTC)
    place, asked = Place(path, storage_options), Selection.of(filter, start, end, tz, None)
    if asked.ordered or (filter is not None and (filter.start_time or filter.end_time)):
        raise UsageError("the filter of a window has no times, limit or offset: start and end say which window")
    windows = place.manifests()
    for window in windows[:1]:
        if dict(window.filter) != dict(asked.equal):
            raise UsageError(f"the windows in {place} have the filter {dict(window.filter)}, not {dict(asked.equal)}")
    until = asked.end if asked.end is not None else (now - hold_back).replace(microsecond=0)
    if until > now:
        raise UsageError(f"the window ends at {until.isoformat()}, which is still to come")
    first = asked.start if start is not None else _begin(windows, until, overwrite)
    if first is not None and until <= first:
        if end is None:
            return None
        raise UsageError(f"the window ends at {until.isoformat()}, and begins at {first.isoformat()}")
    _check_overlaps(windows, first, until, overwrite)
    partitions = None if partition_by is None else Partitions(partition_by, tz)
    selection = Selection(None, asked.equal, first, until)
    with place.staging() as folder:
        manifest = _write(source, selection, folder, partitions, progress)
        place.publish(folder, manifest, overwrite=overwrite)
    return manifest


def exported_windows(path: str | os.PathLike[str], *, storage_options: StorageOptions | None = None) -> list[Manifest]:
    """The manifests of the windows in a folder or an object store, in order of time.

    Raises:
        UsageError: it cannot be read, or one is no manifest.
    """
    return Place(path, storage_options).manifests()


def _begin(windows: Sequence[Manifest], until: datetime, overwrite: bool) -> datetime | None:
    """Where a window begins of which only the end is said: where the last one ends, or where it began before."""
    if overwrite:
        for window in windows:
            if window.end == until:
                return window.start
    return max((window.end for window in windows), default=None)


def _check_overlaps(windows: Sequence[Manifest], first: datetime | None, until: datetime, overwrite: bool) -> None:
    same = [window for window in windows if (window.start, window.end) == (first, until)]
    if same and not overwrite:
        raise UsageError(f"the window from {same[0].window} is exported already; overwrite=True writes it anew")
    for window in windows:
        if (
            window not in same
            and (first is None or first < window.end)
            and (window.start is None or window.start < until)
        ):
            raise UsageError(f"the window would overlap the one from {window.window}")


def _write(
    source: Source, selection: Selection, folder: Path, partitions: Partitions | None, progress: bool | None
) -> Manifest:
    """Write the files of a window and their manifest into a folder of this machine, and read them again.

    Raises:
        UsageError: what is read is not what the source gave.
    """
    columns, batches = calls_in_order(source, selection, progress)
    sums = Sums()
    with CallFiles(folder, partitions, _ROW_GROUP, columns) as files:
        for calls in batches:
            sums.add(calls)
            files.write(calls)
    read = Sums()
    for name in files.names:
        read.add_sums(sums_in(folder / name))
    if read != sums:
        raise UsageError(f"what was written is not what was read: {read} instead of {sums}; is the disk well?")
    assert selection.end is not None  # noqa: S101 (every window ends)
    manifest = Manifest(
        start=selection.start,
        end=selection.end,
        filter=selection.equal,
        columns_version=SCHEMA_VERSION,
        sums=sums,
        files=tuple(described(folder, name) for name in files.names),
        created=datetime.now(UTC),
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    to_disk(folder / MANIFEST)
    return manifest
