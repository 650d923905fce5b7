"""How each database compares text and times, in SQL: said once, for the stores, which bind values, and for the readers,
whose drivers take none and which write them into the statement.

A rule is a template. Its slots are filled with SQL: the column, and the value as a parameter or as a literal.

- SQLite keeps times as text, as Rust's chrono writes RFC 3339: `2026-11-23T14:35:27.123456+00:00`, with 0 to 9 digits
  behind the second, and `Z` or `+00:00` at the end. Such text is in order up to the second, which is what an index on
  it is good for; within a second `order` decides, a key that always has six digits.
- MySQL compares text by the collation of the column, which may ignore case and trailing blanks: the bytes decide. The
  first half of that comparison can use an index.
- PostgreSQL may have an enum where others have text.

A tenant may be NULL, which is the nil UUID, and a status that we do not know is `failed`: conditions on them say so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mofa_usage.records import NIL_UUID, ApiCallStatus
from mofa_usage.schema import API_CALL, Kind

__all__ = ["GRAMMARS", "Grammar", "next_moment"]


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """How one kind of database compares.

    Attributes:
        same: A text `{column}` is, to the letter, the `{value}`.
        distinct: What groups the text `{column}` to the letter; bytes or text.
        order: What sorts like the time that `{column}` is.
        since, before: That time is at or after a moment, or before it. The moment is `{exact}`, which compares with
            `order`, and where the template wants it `{second}`, which compares with the column.
        behind: In the order of `newest`, a row with `{column}` and `id` comes after that of the moment with `{id}`.
        second: The part of `{column}` up to which an index is in order, where it is not in order of the whole.
        exact: A moment in UTC as the value of `{exact}`.
        second_of: The value of `{second}` for one of `{exact}`.
        everything: What stands for no limit.
    """

    same: str = "{column} = {value}"
    distinct: str = "{column}"
    order: str = "{column}"
    since: str = "{column} >= {exact}"
    before: str = "{column} < {exact}"
    # Not as a comparison of rows, for which MySQL does not use the index.
    behind: str = "{column} <= {exact} AND ({column} < {exact} OR id < {id})"
    second: str | None = None
    exact: Callable[[datetime], Any] = _itself
    second_of: Callable[[Any], Any] = _itself
    everything: str = "ALL"

    def newest(self, column: str = "create_time") -> tuple[str, ...]:
        """What puts the newest calls first, and of those of one moment the greatest id."""
        return f"{self.order.format(column=column)} DESC", "id DESC"

    def only_newest(self, table: str, where: str, last: str) -> str:
        """A further condition behind `where` that lets an index find the newest calls; empty if it does anyway.

        The index finds the second of the last call that is wanted, which `last` others are newer than; only what is
        not older has to be sorted.
        """
        if self.second is None:
            return ""
        second = self.second.format(column="create_time")
        oldest = f"SELECT {second} FROM {table}{where} ORDER BY create_time DESC LIMIT 1 OFFSET {last}"  # noqa: S608
        return f"create_time >= coalesce(({oldest}), '')"

    def equals(self, column: str, asked: Any, value: str) -> str:
        """The condition that a column of the calls holds what is asked for, which is `value` in SQL."""
        kind = API_CALL.kinds[column]
        if kind is Kind.ID:
            same = f"{column} = {value}"
            return f"({same} OR {column} IS NULL)" if str(asked) == str(NIL_UUID) else same
        if column == "status" and str(asked) == ApiCallStatus.FAILED:
            return f"({column} IS NULL OR NOT ({' OR '.join(self._other_statuses(column))}))"
        return self.same.format(column=column, value=value)

    def _other_statuses(self, column: str) -> Iterator[str]:
        for status in ApiCallStatus:
            if status is not ApiCallStatus.FAILED:
                yield self.same.format(column=column, value=f"'{status}'")


def next_moment(moment: datetime) -> datetime | None:
    """The microsecond after this one, before which everything lies that is not after this one; None for the last."""
    try:
        return moment + timedelta(microseconds=1)
    except OverflowError:
        return None


# The fraction without its point and zeros, the zone cut off, filled up to six digits; nine are cut to six.
_KEY = "(substr({column}, 1, 19) || '.' || substr(rtrim(ltrim(substr({column}, 20), '.'), 'Zz+0:') || '000000', 1, 6))"
_SECOND = len("2026-11-23T14:35:27")
# '~' sorts behind all that may follow a second.
_SQLITE = Grammar(
    order=_KEY,
    since=f"{{column}} >= {{second}} AND ({{column}} > {{second}} || '~' OR {_KEY} >= {{exact}})",
    before=f"{{column}} < {{second}} || '~' AND ({{column}} < {{second}} OR {_KEY} < {{exact}})",
    behind=(
        f"{{column}} < {{second}} || '~' AND ({{column}} < {{second}} OR {_KEY} < {{exact}}"
        f" OR ({_KEY} = {{exact}} AND id < {{id}}))"
    ),
    second=f"substr({{column}}, 1, {_SECOND})",
    exact=lambda moment: moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"),
    second_of=lambda exact: exact[:_SECOND],
    everything="-1",
)
_POSTGRES = Grammar(same="CAST({column} AS TEXT) = {value}")
_MYSQL = Grammar(
    same="({column} = {value} AND CAST(CONVERT({column} USING utf8mb4) AS BINARY) = CAST({value} AS BINARY))",
    distinct="CAST(CONVERT({column} USING utf8mb4) AS BINARY)",
    everything=str(2**63 - 1),
)
GRAMMARS: Mapping[str, Grammar] = {"sqlite": _SQLITE, "postgres": _POSTGRES, "mysql": _MYSQL}
"""By the name of the backend."""
