"""What every source of rows gives, whatever it is: a file, standard input, later a frame or the answer of a query.

A source is iterated as often as wanted, each time from its beginning, and gives a `SourceRow` for every row, good or
malformed, in its order and without ever holding more of it than a bounded part. A malformed row does not end the
reading: it is handed on with what is wrong about it. Only what cannot be read on at all raises.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["NO_CALL", "Identity", "RowSource", "SourceRow"]

NO_CALL = "lines that are no calls"
"""Why most lines of a log are left out."""


class Identity(NamedTuple):
    """Which call a row of a log is about, where a log says the same call in several rows.

    `key` is the same text in all of them, in every file and every import. The row with the greatest `weight` says most;
    of equal ones the one with the earliest `time` counts, then the first by file and line. `time` sorts as text, and
    the earliest one of all rows is when the call began.
    """

    key: str
    weight: int = 0
    time: str = ""


class SourceRow(NamedTuple):
    """One row of a source.

    `line` counts from 1, in the source's `unit`: the line on which the row begins, or the number of the row. `values`
    are its values by column name, None when the row is malformed; then `problem` says why. `raw` gives the row as it
    stands in the source (JSON where it is no text). Of a tool's own log, `left_out` says why a row is none of the calls
    and no mistake either (its `values` may still say what is around the calls), and `identity` which call it is. `file`
    is the one it stands in, where a source is several.
    """

    line: int
    values: Mapping[str, Any] | None
    raw: Callable[[], str]
    problem: str | None = None
    left_out: str | None = None
    identity: Identity | None = None
    file: str | None = None


class RowSource(Protocol):
    """Rows, opened for any number of passes, one at a time."""

    name: str  # for people
    format: str
    unit: str  # what `SourceRow.line` counts: "line", "row" or "item"
    size: int  # of the whole, in the unit of `position`
    is_text: bool  # whether an empty value is a missing one, as in a CSV

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None when every row names its own, as JSON does."""

    def __iter__(self) -> Iterator[SourceRow]: ...

    def position(self) -> int:
        """How far the pass has come, from 0 to `size`."""

    def pause(self) -> None:
        """Let go of what the next pass can open again."""

    def close(self) -> None:
        """Let go of everything; there is no other pass."""
