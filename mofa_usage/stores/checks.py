"""What every store refuses of its arguments."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from mofa_usage.errors import UsageError
from mofa_usage.labels import KEPT, OF_A_USER
from mofa_usage.records import NIL_UUID
from mofa_usage.values import to_utc

__all__ = ["check_forgetting", "check_page", "check_time", "checked"]

_R = TypeVar("_R")


def check_forgetting(user_id: UUID, keep_labels: Iterable[str]) -> frozenset[str]:
    """The labels that calls keep whose user is forgotten.

    Raises:
        UsageError: that user is nobody, or what names users shall be kept.
    """
    if user_id == NIL_UUID:
        raise UsageError("the nil UUID is no user who could be forgotten: it stands for nobody")
    if naming := OF_A_USER.intersection(keep_labels):
        raise UsageError(f"the label {min(naming)} says whose a call was, so it cannot stay when a user is forgotten")
    return KEPT.union(keep_labels)


def check_page(**numbers: int) -> None:
    """Refuse a negative offset or limit.

    Raises:
        ValueError: with the name of the one that is negative.
    """
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name} must not be negative, it is {number}")


def check_time(name: str, time: datetime) -> datetime:
    """A time in UTC.

    Raises:
        ValueError: it has no zone.
    """
    try:
        return to_utc(time)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def checked(kind: type[_R], records: Iterable[_R]) -> list[_R]:
    """The records, all of which are of the kind.

    Raises:
        UsageError: one is something else, which no table of this kind holds.
    """
    held = list(records)
    for record in held:
        if not isinstance(record, kind):
            raise UsageError(f"a {type(record).__name__} is no {kind.__name__}")
    return held
