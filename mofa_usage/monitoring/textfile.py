"""Metrics as a file for the textfile collector, whose counters never fall.

Prometheus takes a counter that falls for one that began anew, and all of its value for new: after each deletion of old
calls, and whenever a model takes the place of another among the heaviest (then "other" falls), there would be a peak of
calls that nobody made. So the file remembers, in a comment, what its counters were counted from:

1. Counted with the models that the file names, each counter has grown by what it counts more now than then. Where it
   counts less, it stands still; calls that came in the same interval as a deletion may go unseen.
2. From there on the models are named that are the heaviest now, and the series that go on go on from their values.

One file is one memory: it is written whole, beside its place, and then renamed, so that the collector never reads half.
"""

import json
import os
import secrets
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.monitoring.counting import Counts, Usage, families_of
from mofa_usage.monitoring.exposition import Family, exposition

__all__ = ["write_textfile"]

_MEMORY = "# mofa-usage remembers: "
_NOTHING: dict[str, Any] = {"named": [], "counters": []}


def write_textfile(path: str | os.PathLike[str], usage: Usage | None, further: Sequence[Family] = ()) -> None:
    """Write the metrics of calls, and further ones, into a file, where a former one may be.

    Args:
        path: In the folder of the collector; its name ends with `.prom`, or the collector does not see it.
        usage: What the calls add up to; None writes nothing of calls, and what the file remembers of them stays.
        further: Metrics that need no memory.

    Raises:
        UsageError: the name is another, the file there is not one of ours, or it cannot be written.
    """
    target = Path(path)
    if target.suffix != ".prom":
        raise UsageError(f"{target}: the textfile collector reads only files whose names end with .prom")
    try:
        remembered, values = _memory_of(target), Counts()
        if usage is not None:
            named, counted = usage.heaviest(), usage.counts(usage.heaviest())
            values = _gone_on(remembered, usage, counted)
            remembered = {"named": named, "counters": [[key, str(counted[key]), str(values[key])] for key in counted]}
        text = exposition([*families_of(values), *further])
        _replace(target, f"{_MEMORY}{json.dumps(remembered)}\n{text}")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error


def _gone_on(memory: Any, usage: Usage, counted: Counts) -> Counts:
    """The values of the counters, which go on from those that are remembered."""
    then = {tuple(key): (Decimal(count), Decimal(value)) for key, count, value in memory["counters"]}
    now = usage.counts(memory["named"])
    grown = {key: value + max(now.get(key, 0) - count, Decimal(0)) for key, (count, value) in then.items()}
    return {key: grown.get(key, count) for key, count in counted.items()}


def _memory_of(path: Path) -> Any:
    if not path.exists():
        return _NOTHING
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    if not first.startswith(_MEMORY):
        raise UsageError(f"{path} is there already, and mofa-usage did not write it")
    try:
        return json.loads(first.removeprefix(_MEMORY))
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged: its first line is no JSON; remove it, and the counters begin anew"
        ) from error


def _replace(path: Path, text: str) -> None:
    """Put a file in its place in one step; everybody may read it, as the collector is another user."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
