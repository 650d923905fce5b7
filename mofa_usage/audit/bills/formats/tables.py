"""Tables as buckets: the rows of a stretch of time together, a row that is there twice counted once."""

from collections.abc import Callable, Iterable, Mapping

from mofa_usage.audit.bills.pages import Bucket, Line

__all__ = ["buckets_of_rows"]


def buckets_of_rows(
    rows: Iterable[Mapping[str, str]], bucket: Callable[[Mapping[str, str]], Bucket]
) -> tuple[tuple[Bucket, ...], int]:
    """The buckets in the order of time, each row being one of them or a part, and how many rows were there twice.

    Raises:
        ValueError: a row is none; the message says which.
    """
    seen: set[tuple[tuple[str, str], ...]] = set()
    found: dict[tuple[int, int], list[Line]] = {}
    doubled = 0
    for number, row in enumerate(rows, 2):  # the head is the first line
        words = tuple(row.items())
        try:
            one = bucket(row)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if words in seen:
            doubled += bool(one.lines)
            continue
        seen.add(words)
        found.setdefault((one.start, one.end), []).extend(one.lines)
    return tuple(Bucket(start, end, tuple(lines)) for (start, end), lines in sorted(found.items())), doubled
