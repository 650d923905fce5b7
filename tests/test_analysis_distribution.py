"""A distribution counts every call that has the value once, in bins that fit the values, on every engine."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage.analysis import distribution
from mofa_usage.analysis.spread import DistributionOf
from mofa_usage.errors import UsageError
from mofa_usage.measures import DIMENSIONS
from tests.plain_analysis import Row, call, calls, currency, frames, polars_frame
from tests.proofs import trials

T = datetime(2025, 5, 1, 12, tzinfo=UTC)
COLUMNS = {
    **{"latency": "latency_ms", "ttft": "time_to_first_token_ms", "cost": "total_price"},
    **{name: name for name in get_args(DistributionOf) if "_" in name},
}
NAMES = st.sampled_from(get_args(DistributionOf))


def plain_counts(rows: list[Row], by: list[str], column: str, edges: dict[Any, list[Any]]) -> dict[Any, list[int]]:
    """How many calls of each combination lie between the edges of their currency (None: it is not about money)."""
    counts: dict[Any, list[int]] = {}
    for row in rows:
        value, apart = row[column], currency(row) if column == "total_price" else None
        if value is not None:
            group = (*(currency(row) if name == "currency" else row[name] for name in by), apart)
            bins = counts.setdefault(group, [0] * (len(edges[apart]) - 1))
            bins[sum(value >= edge for edge in edges[apart]) - 1] += 1
    return counts


def assert_wide(edges: list[Any], values: list[Any], bins: int, unit: Any) -> None:
    """The edges hold the values, what is 0 apart, and are spread over the rest by one factor."""
    assert (edges[0], edges[-1]) == (min(values), max(values) + unit)
    assert len(edges) - 1 <= bins
    above = [value for value in values if value > 0]
    if edges[0] == 0 and above and bins > 1:
        assert edges[1] == min(above)
        edges = edges[1:]
    # Where edges are units apart they round, and a factor says nothing.
    factors = [float(late / early) for early, late in pairwise(edges) if early > 1000 * unit]
    assert max(factors, default=1) <= min(factors, default=1) * 1.01


@pytest.mark.proof
@settings(max_examples=trials(5, 100), deadline=None)
@given(
    rows=calls(currencies=["EUR"]) | calls(),
    of=NAMES,
    bins=st.integers(1, 50),
    by=st.sampled_from([[], ["model_name"], ["provider_name", "status"], ["currency", "labels.feature"]]),
)
def test_a_distribution_counts_every_value_once(rows: list[Row], of: Any, bins: int, by: list[str]) -> None:
    results = [distribution(native, by, of=of, bins=bins) for native in frames(rows)]
    for other in results[1:]:
        assert_frame_equal(results[0], other, check_exact=True)
        assert other.roles == results[0].roles
    found, column = results[0], COLUMNS[of]
    values: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        if row[column] is not None:
            values[currency(row) if column == "total_price" else None].append(row[column])
    unit = Decimal("1e-10") if column == "total_price" else 1
    edges = {apart: plain_edges(found, apart) for apart in values}
    for apart, bounds in edges.items():
        assert_wide(bounds, values[apart], bins, unit)
    expected = plain_counts(rows, by, column, edges)
    groups: dict[Any, list[int]] = defaultdict(list)
    for row in found.iter_rows(named=True):
        apart = row["currency"] if column == "total_price" else None
        groups[(*(row[name] for name in by), apart)].append(row["calls"])
    assert dict(groups) == expected
    assert sum(map(sum, groups.values())) == sum(map(len, values.values()))


def plain_edges(found: pl.DataFrame, apart: str | None) -> list[Any]:
    """The edges of the bins of a currency, in order and without a hole."""
    rows = found if apart is None else found.filter(pl.col("currency") == apart)
    bins = rows.select("bin_start", "bin_end").unique().sort("bin_start")
    edges = [*bins["bin_start"], bins["bin_end"][-1]]
    assert bins["bin_end"].to_list() == edges[1:]
    return edges


def test_a_distribution_has_bins_of_equal_ratio() -> None:
    rows = [call(T, latency_ms=ms, time_to_first_token_ms=1) for ms in (100, 99_999)]
    assert distribution(polars_frame(rows), bins=3).rows() == [(100, 1000, 1), (1000, 10_000, 0), (10_000, 100_000, 1)]
    assert distribution(polars_frame(rows), of="ttft").rows() == [(1, 2, 2)]
    assert distribution(polars_frame(rows), start="2026-01-01").rows() == []


def test_what_is_free_has_a_bin_of_its_own() -> None:
    prices = ("0", "0", "0.0001", "0.0009999999")
    rows = [call(T, total_price=Decimal(price)) for price in prices]
    for native in frames(rows):
        found = distribution(native, of="cost", bins=2)
        assert found.rows() == [
            (Decimal(0), Decimal("0.0001"), 2, "USD"),
            (Decimal("0.0001"), Decimal("0.001"), 2, "USD"),
        ]
        assert found.schema["bin_start"] == found.schema["bin_end"] == pl.Decimal(38, 10)
    assert distribution(polars_frame(rows[:2]), of="cost").rows() == [(0, Decimal("1e-10"), 2, "USD")]


def test_currencies_have_bins_of_their_own() -> None:
    rows = [call(T, total_price=Decimal(price), currency=of) for price, of in ((1, "EUR"), (700, "JPY"), (2, "EUR"))]
    for native in frames([*rows, call(T)]):
        found = distribution(native, of="total_price", bins=1)
        unit = Decimal("1e-10")
        assert found.rows() == [("EUR", 1, 2 + unit, 2), ("JPY", 700, 700 + unit, 1)]
        assert found.columns == ["currency", "bin_start", "bin_end", "calls"]
        assert (list(found.roles.dimensions), found.currencies) == (["currency"], ())
    one = distribution(polars_frame(rows[:1]), of="cost")
    assert (list(one.roles.dimensions), one.currencies) == ([], ("EUR",))
    none = distribution(polars_frame([call(T)]), of="cost")
    assert (none.columns, none.height, none.currencies) == (one.columns, 0, ())


def test_an_answer_says_what_it_is_of() -> None:
    rows = polars_frame([call(T, latency_ms=5)])
    for of, column in COLUMNS.items():
        roles = distribution(rows, "model_name", of=of).roles
        assert (roles.question, roles.about) == ("distribution", column)
        assert roles.dimensions == {"model_name": DIMENSIONS["model_name"]}
        assert {name: entry.measure.name for name, entry in roles.measures.items()} == {"calls": "calls"}


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"by": "day"}, "cannot be split by the time dimension 'day'"),
        ({"bins": 0}, "bins = 0"),
        ({"of": "totl_price"}, "of = 'totl_price'; there is no distribution of that; near it: total_price"),
        ({"of": "calls"}, "of = 'calls'; there is no distribution of that; there are: latency_ms, "),
        ({"by": "colour"}, "no dimension is called 'colour'"),
    ],
)
def test_a_distribution_refuses(question: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        distribution(polars_frame([call(T)]), **question)


def test_the_column_must_be_there() -> None:
    with pytest.raises(UsageError, match="the frame has no column 'total_price', which the distribution needs"):
        distribution(polars_frame([call(T)]).drop("total_price"), of="cost")
    bare = polars_frame([call(T, total_price=Decimal(1))]).select("total_price")
    assert distribution(bare, of="cost").rows() == [(1, 1 + Decimal("1e-10"), 1, "USD")]
