"""Whether an export is still what its manifests say, and whether its source has got more since."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mofa_usage.errors import UsageError
from mofa_usage.exporting.manifest import Manifest, Sums, digest, sums_in
from mofa_usage.exporting.places import Place
from mofa_usage.reading.object_stores import StorageOptions, told_of
from mofa_usage.reading.open import Calls, Source, open_source
from mofa_usage.reading.selection import Selection

__all__ = ["ExportCheck", "Flaw", "verify_export"]


@dataclass(frozen=True)
class Flaw:
    """What is wrong: with which window (`Manifest.name`) or file of it, of which kind, and in words.

    Kinds: "missing", "changed" and "unknown" files, "sums" that are others than written, a "gap" between windows, and
    a "source" that has other calls in the window now.
    """

    where: str
    kind: str
    said: str


@dataclass(frozen=True)
class ExportCheck:
    """The windows of an export, and what is wrong with them."""

    windows: tuple[Manifest, ...]
    flaws: tuple[Flaw, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing is wrong."""
        return not self.flaws


def verify_export(
    path: str | os.PathLike[str],
    source: "Source | None" = None,
    *,
    storage_options: StorageOptions | None = None,
) -> ExportCheck:
    """Compare every file of a windowed export with its manifest: that it is there, its SHA-256, calls and exact sums.

    Args:
        path: What `export_window` wrote to.
        source: Where the calls came from. The calls and sums of each window are compared with what is there now, by
            which calls show that arrived late, were changed or were deleted.
        storage_options: Of an object store.

    Raises:
        UsageError: there is no export, a manifest cannot be read, or the source gives no calls.
        PersistenceError: as `load_usage`.
    """
    place = Place(path, storage_options)
    windows = place.manifests()
    if not windows:
        raise UsageError(f"there is no manifest in {place}; export_window writes them")
    calls = None if source is None else open_source(source)
    flaws = [*_unknown(place, windows), *_gaps(windows)]
    for window in windows:
        flaws += _in_files(place, window)
        if calls is not None:
            flaws += _at_source(calls, window)
    return ExportCheck(tuple(windows), tuple(flaws))


def _unknown(place: Place, windows: Sequence[Manifest]) -> Iterator[Flaw]:
    known = {f"{window.name}/{file.name}" for window in windows for file in window.files}
    for name in place.files():
        if name not in known:
            yield Flaw(name, "unknown", f"no manifest speaks of {name}: a killed export, or somebody else's file")


def _gaps(windows: Sequence[Manifest]) -> Iterator[Flaw]:
    for before, after in pairwise(windows):
        assert after.start is not None  # noqa: S101 (only the first begins at the beginning)
        if before.end < after.start:
            said = f"nothing is exported from {before.end.isoformat()} to {after.start.isoformat()}"
            yield Flaw(before.name, "gap", said)


def _in_files(place: Place, window: Manifest) -> Iterator[Flaw]:
    read = Sums()
    for file in window.files:
        name = f"{window.name}/{file.name}"
        with told_of(f"read {place}/{name}"):
            try:
                opened = place.open(name)
            except FileNotFoundError:
                yield Flaw(name, "missing", f"{name} is not there; it had {file.rows:,} calls")
                return
            with opened:
                if digest(opened) != (file.bytes, file.sha256):
                    yield Flaw(name, "changed", f"{name} is not the file that was exported: its SHA-256 is another")
                    return
                opened.seek(0)
                read.add_sums(sums_in(opened))
    if read != window.sums:
        yield Flaw(window.name, "sums", f"the files have {_told(read)}, the manifest says {_told(window.sums)}")


def _at_source(calls: Calls, window: Manifest) -> Iterator[Flaw]:
    selection = Selection(None, window.filter, window.start, window.end)
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "total_price", "currency")
    there = calls.columns(selection)
    wanted = tuple(name for name in names if name in there) or there[:1]
    now = Sums()
    for batch in calls.batches(replace(selection, columns=wanted)):
        now.add(batch)
    if now != window.sums:
        more = now.rows - window.sums.rows
        came = f"{abs(more):,} calls {'more' if more > 0 else 'fewer'}" if more else "other values"
        yield Flaw(
            window.name,
            "source",
            f"the source has {came} in the window from {window.window}: {_told(now)}, exported were "
            f"{_told(window.sums)}",
        )


def _told(sums: Sums) -> str:
    costs = [f"{currency} {cost:f}" for currency, cost in sorted(sums.costs.items())]
    return ", ".join([f"{sums.rows:,} calls", f"{sums.tokens.get('total_tokens', 0):,} tokens", *costs])
