"""Paths of this machine as people write them, and what they may lead to."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from mofa_usage.errors import UsageError

__all__ = ["LOG", "local_path", "refuse_tables", "table_refused"]

LOG = "_delta_log"
"""The folder in a Delta table where its versions are."""

_FILE = "file:"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def local_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path: `~` is the user's folder, and `file:///some%20where` the path `/some where`.

    Raises:
        UsageError: it is empty, no path at all, or the URL of something elsewhere, which is not shown.
    """
    text = os.fspath(path)
    if not text.strip() or "\0" in text:
        raise UsageError(f"{text!r} is no path")
    if isinstance(path, str) and text.lower().startswith(f"{_FILE}//"):
        host, slash, rest = text[len(_FILE) + 2 :].partition("/")
        if not slash or host.lower() not in ("", "localhost"):
            raise UsageError(f"{text} is of another machine; a file here is file:///folder/name, or its path")
        return Path(unquote(f"/{rest}"))
    if isinstance(path, str) and (scheme := _URL.match(text)):
        raise UsageError(f"what begins with {scheme[0]} is no path of this machine")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # a user who is unknown
        raise UsageError(f"{text} cannot be a path: {error}") from error


def refuse_tables(folder: Path) -> None:
    """Refuse a folder with Delta tables, whose files are also those of earlier versions.

    Raises:
        UsageError: it has one.
    """
    logs = [folder / LOG, *folder.glob(f"*/{LOG}"), *folder.glob(f"*/*/{LOG}")] if folder.is_dir() else []
    if table := next((log.parent for log in logs if log.is_dir()), None):
        raise table_refused(str(table))


def table_refused(place: str) -> UsageError:
    """Why the files of a Delta table are not read as any others."""
    return UsageError(
        f"{place} is a Delta table: some of its files are of earlier versions, and what they hold would be there "
        "twice; a warehouse is read by the path of its folder, another table by polars.scan_delta"
    )
