"""Paths of this machine as people write them."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from mofa_usage.errors import UsageError

__all__ = ["local_path"]

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
