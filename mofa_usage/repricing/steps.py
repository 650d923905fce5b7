"""Calls with other money: what such a step is, and how it is said.

A step replaces columns of the calls, or adds them. It is SQL over them and holds nothing but text and numbers, so that
it can be pickled and be done again wherever the calls are: lazily over Parquet files, at once in memory.

What money means stands beside it, in columns of these names:

- `price_source`: `recorded`; `computed` by a price book, every token at its own rate; `standard_estimate` where the
  book had to put one rate for another (`Price.exact` is False); null without a price;
- `recorded_price`, `recorded_currency`: the price that a call had before a step took another one, once and for all
  further steps;
- `priced_as`: the model at whose price a call is, where that is not its own;
- `converted_from`: the currency that a price was converted from, and `rate_day`, the day of the rate;
- `compared_price`, `compared_currency`: the recorded price, converted as the other one beside it was.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import count
from typing import Any, Protocol, cast, runtime_checkable

from mofa_usage.errors import require
from mofa_usage.reading.columns import quoted

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = [
    "COMPUTED",
    "ESTIMATE",
    "RECORDED",
    "Step",
    "asked",
    "before",
    "compared_before",
    "selected",
    "source_before",
    "with_columns",
]

RECORDED, COMPUTED, ESTIMATE = "recorded", "computed", "standard_estimate"
_names = count(1)


@runtime_checkable
class Step(Protocol):
    """Something that gives calls other money. Frozen, and it can be pickled."""

    def columns(self, has: Collection[str]) -> tuple[str, ...]:
        """The columns that it replaces or adds, of calls that have these."""
        ...

    def apply(self, calls: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """The calls with them, lazily, whatever clock their session is on."""
        ...


def asked(calls: duckdb.DuckDBPyRelation, query: Callable[[str], str]) -> duckdb.DuckDBPyRelation:
    """The answer to a query over calls; it is told what they are called in it.

    That is another name each time: in one session, a name would come to mean the last that it was given to.
    """
    name = f"calls asked {next(_names)}"
    answer: Any = calls.query(name, query(quoted(name)))
    return cast(duckdb.DuckDBPyRelation, answer)


def with_columns(has: Collection[str], columns: Mapping[str, str]) -> str:
    """What to select for all columns in their order, some of them replaced, and the new ones after them."""
    kept = (f"{columns[name]} AS {quoted(name)}" if name in columns else quoted(name) for name in has)
    new = (f"{sql} AS {quoted(name)}" for name, sql in columns.items() if name not in has)
    return ", ".join((*kept, *new))


def selected(sql: str, has: Collection[str], columns: Mapping[str, str]) -> str:
    """A query for all columns of `has`, some of them replaced, and new ones, of what is in a query."""
    return f"SELECT {with_columns(has, columns)} FROM ({sql})"  # noqa: S608 (names are quoted)


def source_before(has: Collection[str]) -> str:
    """Where the price comes from that a call has, as SQL."""
    known = f"CASE WHEN price_source IN ('{COMPUTED}', '{ESTIMATE}') THEN price_source ELSE '{RECORDED}' END"
    source = known if "price_source" in has else f"'{RECORDED}'"
    return f"CASE WHEN total_price IS NOT NULL THEN {source} END" if "total_price" in has else "CAST(NULL AS VARCHAR)"


def before(has: Collection[str]) -> dict[str, str]:
    """The columns with the price that a call had before, as SQL."""
    if "recorded_price" in has:
        return {}
    price = "total_price" if "total_price" in has else "CAST(NULL AS DECIMAL(38,10))"
    currency = "currency" if {"total_price", "currency"} <= set(has) else "CAST(NULL AS VARCHAR)"
    return {"recorded_price": price, "recorded_currency": currency}


def compared_before(has: Collection[str]) -> dict[str, str]:
    """The columns with the recorded price that another one is compared with, as SQL; none where there is no other."""
    if "recorded_price" not in has:
        return {}
    which = "compared" if "compared_price" in has else "recorded"
    return {"compared_price": f"{which}_price", "compared_currency": f"{which}_currency"}
