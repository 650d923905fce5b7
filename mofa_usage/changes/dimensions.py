"""By what slices of calls are made: when nobody says, by names that make sense, and not by ids of a call or two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from mofa_usage.analysis.asking import By, found
from mofa_usage.analysis.engine import LazyCalls
from mofa_usage.changes.leaves import MOST_KEPT, keys_by
from mofa_usage.errors import UsageError
from mofa_usage.measures import LABEL_COLUMNS, Dimension
from mofa_usage.reading.spark_frames import is_spark

__all__ = ["SliceOptions", "Sliced", "sliced_by"]

MOST_DIMENSIONS = 8
MOST_NAMES = 10_000
"""A dimension with more values than that is an id to us, which slices are not made by unless asked for."""

_USUAL = (
    ("model_name",),
    ("provider_name",),
    ("agent_name", "agent_code", "agent_id"),
    ("tenant_id",),
    ("labels.user", "user_id"),
    ("operation",),
    ("service_tier",),
    ("environment",),
)
"""The usual dimensions; of each line the first that tells calls apart."""

_WIDE = 1.5
"""No guess of an engine is so many times too large or too small: they are off by 5%, seldom by 10%."""

_OPEN = ("labels.", "session.")

_ALIKE = {"labels.agent", "labels.provider", "labels.session", "labels.user", *LABEL_COLUMNS}
"""Labels that say what one of the usual dimensions does, or are ids."""


class SliceOptions(TypedDict, total=False):
    """As `mofa_usage.changes.drivers` and `slow_drivers` take them."""

    dimensions: By | None
    top: int
    min_calls: int


@dataclass(frozen=True, slots=True)
class Sliced:
    """The dimensions that slices are made by, and how many values each has, a missing one not counted.

    It is a guess where neither of the bounds is near: the 10,000 of what is a name, and the 100 that are told apart.
    """

    dimensions: tuple[Dimension, ...]
    distinct: tuple[int, ...]


def sliced_by(by: By | None, calls: LazyCalls, tz: str) -> Sliced:
    """The dimensions of that name, or the usual ones; one look at the calls.

    Those are the first eight that have two to 10,000 different values, a missing one counted: model, provider, agent,
    tenant, user, operation, service tier and environment, and then every label and key of a session's metadata.

    Raises:
        UsageError: there is none of a name, one is a time bucket, or none was given or found.
    """
    asked = found(by, calls) if by is not None else _usual(calls)
    if not asked:
        raise UsageError("dimensions names none; give some, such as model_name, or leave it out")
    for entry in asked:
        if entry.kind == "time":
            raise UsageError(f"{entry.name} is a time bucket; slices are of names, hours of the day or weekdays")
    values, missing = _look(asked, calls, tz)
    told = dict(zip(asked, values, strict=True))
    if by is not None:
        return Sliced(asked, tuple(values))
    apart = {
        entry.name: entry for entry, less in zip(asked, missing, strict=True) if 2 <= told[entry] + less <= MOST_NAMES
    }
    lines = [*_USUAL, *((entry.name,) for entry in asked if entry.name.startswith(_OPEN))]
    first = [next((apart[name] for name in line if name in apart), None) for line in lines]
    chosen = tuple(dict.fromkeys(entry for entry in first if entry is not None))[:MOST_DIMENSIONS]
    chosen = chosen or asked[:1]  # so that the answer says that there is no cause
    return Sliced(chosen, tuple(told[entry] for entry in chosen))


def _usual(calls: LazyCalls) -> tuple[Dimension, ...]:
    labels = sorted(name for name in calls.schema if name.startswith(_OPEN) and name not in _ALIKE)
    names = [name for line in (*_USUAL, labels) for name in line if name in calls.schema]
    if not names:
        raise UsageError("the calls have none of the usual dimensions, such as model_name; name some in dimensions")
    return found(names, calls)


def _look(dimensions: Sequence[Dimension], calls: LazyCalls, tz: str) -> tuple[list[int], list[bool]]:
    """How many values each dimension has, about, and exactly where that decides; whether it is missing from some calls.

    Engines guess in different ways, and of two values a guess may see one.
    """
    keys = keys_by(dimensions, calls, tz)
    keyed: Any = calls.frame.select(**keys).to_native()
    looks = ((f"approx_count_distinct({name})", f"count(*) > count({name})") for name in keys)
    row = _asked(keyed, [sql for pair in looks for sql in pair])
    values, missing = list(row[::2]), list(row[1::2])
    unsure = [place for place, about in enumerate(values) if _decides(about)]
    if unsure:
        exact = _asked(keyed, [f"count(DISTINCT k{place})" for place in unsure])
        for place, number in zip(unsure, exact, strict=True):
            values[place] = number
    return values, missing


def _decides(about: int) -> bool:
    """Whether about so many values may be more or less than a bound."""
    return about == 1 or any(bound / _WIDE < about < bound * _WIDE for bound in (MOST_KEPT, MOST_NAMES))


def _asked(keyed: Any, sql: Sequence[str]) -> tuple[Any, ...]:
    """One row of aggregates."""
    if is_spark(keyed):
        (row,) = keyed.selectExpr(*sql).collect()
    else:
        (row,) = keyed.aggregate(", ".join(sql)).fetchall()
    return tuple(row)
