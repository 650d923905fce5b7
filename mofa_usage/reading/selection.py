"""Which calls and which of their columns are wanted, the same for every source.

A filter's times include both ends, an analysis takes a half-open range [start, end). As times are whole microseconds,
the last microsecond of a filter is one more for the range, so that one range says both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.grammar import next_moment
from mofa_usage.reading.columns import CALL_COLUMNS, CALL_SCHEMA, may_be_absent, origin
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment, time_range, zone

__all__ = ["Selection", "offered"]

_TIME = CALL_SCHEMA["create_time"]


@dataclass(frozen=True)
class Selection:
    """Which calls and which of their columns are wanted.

    `equal` maps columns to the value that they must have, `start` and `end` are the half-open range of `create_time`
    in UTC. With a `limit` or an `offset` the calls come newest first, ties by descending
    id; without, in no particular order.
    `columns` is None when nobody asked: then it is whatever the source has, with `details` the JSON columns too. Labels
    and further columns of a source are known only there, so `offered` checks the names.
    """

    columns: tuple[str, ...] | None
    equal: Mapping[str, str]
    start: datetime | None
    end: datetime | None
    limit: int | None = None
    offset: int = 0
    details: bool = False

    @classmethod
    def of(
        cls,
        filter: QueryFilter | None,  # noqa: A002 (the contract's name)
        start: Moment | None,
        end: Moment | None,
        tz: str,
        columns: Sequence[str] | None,
    ) -> Self:
        """The calls that meet the filter (both ends of its times included) and lie in [start, end).

        Raises:
            UsageError: no column, a time without a zone, a range that ends before it starts.
        """
        if filter is not None and not isinstance(filter, QueryFilter):
            raise UsageError(f"filter is a {type(filter).__name__}; give a QueryFilter")
        first, last = time_range(start, end, zone(tz))
        chosen = filter or QueryFilter()
        after_end = None if chosen.end_time is None else next_moment(chosen.end_time)
        return cls(
            columns=None if columns is None else _named(columns),
            equal={
                column: str(value)
                for field, column in QueryFilter.COLUMNS.items()
                if (value := getattr(chosen, field)) is not None
            },
            start=max((time for time in (first, chosen.start_time) if time is not None), default=None),
            end=min((time for time in (last, after_end) if time is not None), default=None),
            limit=chosen.limit,
            offset=chosen.offset or 0,
        )

    @property
    def ordered(self) -> bool:
        """Whether a part of the calls in their order is asked for, not all of them."""
        return self.limit is not None or self.offset > 0

    @property
    def conditions(self) -> tuple[str, ...]:
        """The columns that decide which calls are taken."""
        times = ("create_time",) if self.start is not None or self.end is not None or self.ordered else ()
        return (*self.equal, *times, *(("id",) if self.ordered else ()))

    def apply(self, calls: pl.DataFrame) -> pl.DataFrame:
        """The selected ones of normalised calls, which have the columns of `conditions`."""
        wanted = [pl.col(column) == value for column, value in self.equal.items()]
        if self.start is not None:
            wanted.append(pl.col("create_time") >= pl.lit(self.start, dtype=_TIME))
        if self.end is not None:
            wanted.append(pl.col("create_time") < pl.lit(self.end, dtype=_TIME))
        calls = calls.filter(*wanted) if wanted else calls
        if self.ordered:
            calls = calls.sort("create_time", "id", descending=True).slice(self.offset, self.limit)
        return calls


def _named(columns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, str):
        raise UsageError(f"columns is the text {columns!r}; give a list of column names")
    if not columns:
        raise UsageError("columns is empty: a frame needs one at least")
    return tuple(dict.fromkeys(columns))


def offered(given: Collection[str], selection: Selection, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of the frame that a source with the given columns makes: those asked for, or all that it can.

    `labels` are the columns of labels that are found inside its column `labels`. Further columns of the source come
    last. What `may_be_absent` knows is there in any case.

    Raises:
        UsageError: it is no source of calls, or lacks a column that was asked for.
    """
    known = [name for name in CALL_COLUMNS if origin(name, given)]
    if not known:
        raise UsageError(f"these are no calls: the columns are {', '.join(given) or 'none'}")
    for name in (*(selection.columns or ()), *selection.conditions):
        if origin(name, given) or may_be_absent(name, given):
            continue
        if name in CALL_COLUMNS:
            raise UsageError(f"the source has no column {name}; it has {', '.join(given)}")
        raise UsageError(f"no column is called {name!r}; there are {', '.join(dict.fromkeys((*CALL_SCHEMA, *given)))}")
    everything = CALL_COLUMNS if selection.details else CALL_SCHEMA
    there = (name for name in everything if name in known or may_be_absent(name, given))
    further = (name for name in given if name not in CALL_COLUMNS)
    return selection.columns or tuple(dict.fromkeys((*there, *labels, *further)))
