"""What rows of logs are made of: objects written as text, times of a known zone, zeros, folders of projects."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mofa_usage.values import read_nested

__all__ = ["as_object", "as_utc", "is_zero", "project_of"]

_HOME = re.compile(r"^(?:/home/[^/]+|/Users/[^/]+|/root|[A-Za-z]:[\\/]Users[\\/][^\\/]+)(?=[\\/]|$)")
_ZONED = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?|UTC|GMT)\s*$", re.IGNORECASE)
_DATED = re.compile(r"\s*\d{4}-\d\d-\d\d[T ]")


def as_object(value: Any) -> Mapping[str, Any]:
    """An object, from itself, from its text or from the pairs of a map in Parquet; empty where it is none."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = read_nested(value)
        except ValueError:
            return {}
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return {str(key): item for key, item in value}
    return value if isinstance(value, Mapping) else {}


def as_utc(value: Any) -> Any:
    """A time that a tool writes without its zone, which is UTC; everything else as it is."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, str) and _DATED.match(value) and not _ZONED.search(value):
        return f"{value.strip()}+00:00"
    return value


def is_zero(value: Any) -> bool:
    """Whether a number, or a text of one, is 0: what tools write where they know nothing."""
    try:
        return value is not None and float(value) == 0
    except (TypeError, ValueError, OverflowError):
        return False


def project_of(folder: Any) -> str | None:
    """A working folder as the name of a project: the user's home folder is `~`, whoever the user is."""
    return _HOME.sub("~", folder) if isinstance(folder, str) and folder else None
