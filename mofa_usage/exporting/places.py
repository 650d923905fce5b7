"""Where the windows of an export are: a folder of this machine, or a prefix in an object store.

A window is there when its manifest is. In a folder the window comes as a whole, by renaming. An object store knows no
renaming: there the files are written first, looked at again, and the manifest last. What a killed export left has no
manifest; the next one for that time has the same names and writes over it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.exporting.manifest import MANIFEST, Manifest, digest
from mofa_usage.exporting.staging import clear_up, move, staged
from mofa_usage.reading.object_stores import StorageOptions, is_object_url, object_store, told_of
from mofa_usage.reading.places import local_path

fs = require("pyarrow.fs", extra="analysis")

__all__ = ["Place"]


class Place:
    """A folder or a prefix that holds windows.

    Raises:
        UsageError: storage options for a folder, or options that make no sense.
    """

    def __init__(self, path: str | os.PathLike[str], options: StorageOptions | None) -> None:
        self._folder = None if is_object_url(path) else local_path(path)
        if self._folder is None:
            self._name = str(path).rstrip("/")
            self._files, self._root = object_store(self._name, options)
        else:
            if options:
                raise UsageError(f"storage options are for object stores (s3://bucket/folder); {path} is a folder")
            self._name = str(self._folder)
            self._files, self._root = fs.LocalFileSystem(), self._folder.as_posix()

    def __str__(self) -> str:
        return self._name

    def manifests(self) -> list[Manifest]:
        """The manifests of all windows, in order of time."""
        with told_of(f"read the manifests in {self}"):
            found = [self._manifest(path) for path in self._paths() if path.endswith(f"/{MANIFEST}")]
        return sorted(found, key=lambda one: (one.start is not None, one.start, one.end))

    def _manifest(self, path: str) -> Manifest:
        manifest = Manifest.from_json(self._files.open_input_stream(path).read(), path)
        if path != f"{self._root}/{manifest.name}/{MANIFEST}":
            raise UsageError(f"{path} is the manifest of another window ({manifest.window}): was it moved?")
        return manifest

    def files(self) -> list[str]:
        """The names of all Parquet files, by which `open` opens them, whether a manifest speaks of them or not."""
        with told_of(f"list {self}"):
            return sorted(path.removeprefix(f"{self._root}/") for path in self._paths() if path.endswith(".parquet"))

    def _paths(self) -> list[str]:
        found = self._files.get_file_info(fs.FileSelector(self._root, allow_not_found=True, recursive=True))
        return [one.path for one in found if one.type == fs.FileType.File]

    def open(self, name: str) -> Any:
        """A file, to be read at any place.

        Raises:
            FileNotFoundError: it is not there.
        """
        return self._files.open_input_file(f"{self._root}/{name}")

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder of this machine in which a window is prepared; it is gone afterwards."""
        if self._folder is not None:
            clear_up(self._folder, self._home)
            with staged(self._folder) as folder:
                yield folder
        else:
            with told_of(f"export to {self}"), TemporaryDirectory(prefix="mofa-usage-") as folder:
                yield Path(folder)

    def _home(self, window: Path) -> Path:
        """Where a window belongs that was put aside."""
        assert self._folder is not None  # noqa: S101 (object stores put nothing aside)
        manifest = window / MANIFEST
        return self._folder / Manifest.from_json(manifest.read_bytes(), str(manifest)).name

    def publish(self, prepared: Path, manifest: Manifest, *, overwrite: bool) -> None:
        """Put a prepared window, which has its manifest in it, in its place.

        Raises:
            UsageError: it is there already, or what arrived is not what was sent.
        """
        if self._folder is not None:
            target = self._folder / manifest.name
            if target.exists() and not overwrite:
                raise UsageError(f"{target} is there already: another export has written this window meanwhile")
            self._folder.mkdir(exist_ok=True)
            move(prepared, target)
            return
        with told_of(f"write to {self}"):
            self._files.delete_dir_contents(f"{self._root}/{manifest.name}", missing_dir_ok=True)
            for file in manifest.files:
                name = f"{manifest.name}/{file.name}"
                self._send(prepared / file.name, name)
                with self.open(name) as arrived:
                    if digest(arrived) != (file.bytes, file.sha256):
                        raise UsageError(f"{self}/{name} is not what was sent; does somebody else write there?")
            self._send(prepared / MANIFEST, f"{manifest.name}/{MANIFEST}")

    def _send(self, file: Path, name: str) -> None:
        with file.open("rb") as source, self._files.open_output_stream(f"{self._root}/{name}") as target:
            shutil.copyfileobj(source, target, 1 << 23)
