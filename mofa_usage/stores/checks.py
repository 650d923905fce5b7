"""What every store refuses of its arguments."""

from datetime import datetime

from mofa_usage.values import to_utc

__all__ = ["check_page", "check_time"]


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
