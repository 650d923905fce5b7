"""What every store refuses of its arguments."""

from datetime import datetime

__all__ = ["check_page", "check_time"]


def check_page(**numbers: int) -> None:
    """Refuse a negative offset or limit.

    Raises:
        ValueError: with the name of the one that is negative.
    """
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name} must not be negative, it is {number}")


def check_time(name: str, time: datetime) -> None:
    """Refuse a time without a zone.

    Raises:
        ValueError: it has none.
    """
    if time.tzinfo is None or time.utcoffset() is None:
        raise ValueError(f"{name} needs a zone: a naive datetime could be any hour of the day")
