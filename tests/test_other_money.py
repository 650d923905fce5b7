"""Usage with other money: priced, at another model's price, in another currency; in memory and lazily over files."""

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import LLMApiCall, PriceBook, UsageError
from mofa_usage.demo import generate_usage
from mofa_usage.repricing.what_if import Factor
from mofa_usage.usage import UsageFrame, load_usage
from tests.plain_analysis import call, polars_frame
from tests.proofs import trials
from tests.test_repricing import api_calls, frame_of

MAY = datetime(2026, 5, 20, 12, tzinfo=UTC)
ROWS = [
    # 800 of 2.50, 200 cached of 1.25, 500 of 10 per million: 0.00725
    call(MAY, id="a", model_name="gpt-4o", prompt_tokens=1000, completion_tokens=500, cached_tokens=200),
    call(MAY, id="b", model_name="gpt-4o", prompt_tokens=1000, total_price=Decimal("1.5"), currency="EUR"),
    # at the rates of another tier: an estimate
    call(MAY, id="c", model_name="gpt-4o", prompt_tokens=1_000_000, service_tier="express"),
    call(MAY, id="d", model_name="nobody-knows", prompt_tokens=7),
    call(MAY, id="e", model_name="gpt-4o", prompt_tokens=None, completion_tokens=None, token_source="none"),
]
Made = Callable[[Path], UsageFrame]


def in_memory(_: Path) -> UsageFrame:
    return load_usage(polars_frame(ROWS).drop("price_source", "converted_from"), tz="Asia/Tokyo")


def in_files(folder: Path) -> UsageFrame:
    in_memory(folder).export_parquet(folder / "calls.parquet")
    return load_usage(folder / "calls.parquet", tz="Asia/Tokyo")


def somebodys(_: Path) -> UsageFrame:
    database = duckdb.connect()
    database.register("these", polars_frame(ROWS).drop("price_source", "converted_from"))
    return load_usage(database.table("these"), tz="Asia/Tokyo")


everywhere = pytest.mark.parametrize("made", [in_memory, in_files, somebodys])


def told(usage: UsageFrame, *columns: str) -> dict[str, list[Any]]:
    """The columns of each call by its id."""
    return {row[0]: list(row[1:]) for row in usage.frame.select("id", *columns).iter_rows()}


@everywhere
def test_calls_without_a_price_get_one(made: Made, tmp_path: Path) -> None:
    usage = made(tmp_path)
    priced = usage.with_prices()
    assert told(priced, "total_price", "input_price", "output_price", "currency", "price_source") == {
        "a": [Decimal("0.00725"), Decimal("0.00225"), Decimal("0.005"), "USD", "computed"],
        "b": [Decimal("1.5"), None, None, "EUR", "recorded"],
        "c": [Decimal("2.5"), Decimal("2.5"), Decimal(0), "USD", "standard_estimate"],
        "d": [None, None, None, None, None],
        "e": [None, None, None, None, None],
    }
    assert (priced.tz, len(priced)) == ("Asia/Tokyo", 5)
    assert told(usage, "total_price") == {"a": [None], "b": [Decimal("1.5")], "c": [None], "d": [None], "e": [None]}
    assert priced.columns == [*usage.columns, "price_source"]
    assert priced.frame.columns == priced.columns
    assert {row["id"]: row for row in priced.frame.drop(priced.columns[-1]).to_dicts()}.keys() == set("abcde")


@everywhere
def test_all_calls_are_priced_anew_and_keep_what_was_recorded(made: Made, tmp_path: Path) -> None:
    again = made(tmp_path).with_prices(recompute=True)
    columns = ("total_price", "currency", "price_source", "recorded_price", "recorded_currency")
    assert told(again, *columns)["b"] == [Decimal("0.0025"), "USD", "computed", Decimal("1.5"), "EUR"]
    assert told(again, *columns)["a"] == [Decimal("0.00725"), "USD", "computed", None, None]
    assert told(again, *columns)["d"] == [None, None, None, None, None]
    twice = again.with_prices(recompute=True, as_of=date(2026, 6, 1))
    assert told(twice, "recorded_price", "recorded_currency")["b"] == [Decimal("1.5"), "EUR"]


@everywhere
def test_usage_with_other_money_is_usage(made: Made, tmp_path: Path) -> None:
    usage = made(tmp_path)
    priced = usage.with_prices()
    assert len(priced.filter("total_price > 1")) == 2
    assert len(priced.filter(price_source="computed")) == 1
    assert len(priced.filter("total_price > 1").between("2026-05-20", "2026-05-21")) == 2
    assert len(priced.between(None, "2026-05-20")) == 0
    assert priced.sql("SELECT count(*) AS n FROM calls WHERE price_source IS NULL")["n"][0] == 2
    back = pickle.loads(pickle.dumps(priced.filter("total_price < 1")))
    assert told(back, "total_price") == {"a": [Decimal("0.00725")]}
    assert priced.styles("model_name") == usage.styles("model_name")
    assert set(priced.styles("price_source")) == {"computed", "recorded", "standard_estimate"}
    priced.export_parquet(tmp_path / "priced.parquet")
    exported = load_usage(tmp_path / "priced.parquet")
    assert told(exported, "total_price", "price_source") == told(priced, "total_price", "price_source")
    # What was computed before does not become recorded.
    assert told(exported.with_prices(), "price_source") == told(priced, "price_source")


def test_files_stay_lazy(tmp_path: Path) -> None:
    usage = in_files(tmp_path).with_prices().what_if({"gpt-4o": "gpt-4o-mini"}).filter(model_name="gpt-4o")
    assert "lazy" in repr(usage)
    assert usage.breakdown("priced_as", "calls").rows() == [("gpt-4o-mini", 4)]


def test_a_cost_says_how_much_of_it_was_not_recorded() -> None:
    priced = in_memory(Path()).with_prices()
    said = priced.cost().sentence
    assert "(60.0% of the 5 calls priced, 33.3% of these by a price book, 33.3% of these as an estimate)" in said
    assert "60.0% of the calls have a price, 33.3% by a price book, 33.3% as an estimate" in priced._repr_html_()
    assert "price book" not in in_memory(Path()).cost().sentence
    rates = pl.DataFrame({"date": [date(2026, 5, 1)], "currency": ["EUR"], "rate": [1.1]})
    assert "33.3% of these converted" in priced.in_currency("USD", rates).cost().sentence


@everywhere
def test_what_it_would_have_cost_elsewhere(made: Made, tmp_path: Path) -> None:
    other = made(tmp_path).what_if({"gpt-4o": "gpt-4o-mini"})
    # gpt-4o-mini: 800 of 0.15, 200 cached of 0.075, 500 of 0.60 per million
    columns = ("model_name", "priced_as", "total_price", "currency", "price_source", "recorded_price")
    assert told(other, *columns) == {
        "a": ["gpt-4o", "gpt-4o-mini", Decimal("0.000435"), "USD", "computed", None],
        "b": ["gpt-4o", "gpt-4o-mini", Decimal("0.00015"), "USD", "computed", Decimal("1.5")],
        "c": ["gpt-4o", "gpt-4o-mini", Decimal("0.15"), "USD", "standard_estimate", None],
        "d": ["nobody-knows", None, None, None, None, None],
        "e": ["gpt-4o", "gpt-4o-mini", None, None, None, None],
    }


@everywhere
def test_another_tokenizer_makes_other_counts(made: Made, tmp_path: Path) -> None:
    other = made(tmp_path).what_if({"gpt-4o": "claude-sonnet-4-20250514"}, token_factor={"gpt-4o": 1.0005})
    columns = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
    # 1000 * 1.0005 = 1000.5, to even; 500 * 1.0005 = 500.25; 200 * 1.0005 = 200.1, down
    assert told(other, *columns)["a"] == [1000, 500, 1500, 200]
    assert told(other, *columns)["c"] == [1_000_500, 0, 1_000_500, None]
    assert told(other, *columns)["d"] == [7, 0, 0, None]
    assert told(other, *columns)["e"] == [None, None, None, None]
    # 800 of 3, 200 cached of 0.30, 500 of 15
    assert told(other, "total_price")["a"] == [Decimal("0.00996")]


@pytest.mark.proof
@settings(max_examples=trials(4, 60), deadline=None)
@given(
    calls=st.lists(api_calls(), min_size=10, max_size=40),
    factor=st.fractions(Fraction(1, 10), Fraction(3), max_denominator=100),
)
def test_tokens_that_are_multiplied_stay_parts_of_their_wholes(calls: list[LLMApiCall], factor: Fraction) -> None:
    frame = frame_of(calls)
    other = load_usage(frame).what_if(dict.fromkeys(frame["model_name"], "gpt-4o"), token_factor=factor).frame
    for before, after in zip(frame.to_dicts(), other.to_dicts(), strict=True):
        for name in ("prompt_tokens", "completion_tokens"):
            assert after[name] == (None if before[name] is None else round(before[name] * factor))
        for name in ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens"):
            assert after[name] == (None if before[name] is None else int(before[name] * factor))
        cached, written = after["cached_tokens"] or 0, after["cache_write_tokens"] or 0
        if (before["cached_tokens"] or 0) + (before["cache_write_tokens"] or 0) <= (before["prompt_tokens"] or 0):
            assert cached + written <= (after["prompt_tokens"] or 0)


RATES = pl.DataFrame(
    {
        "date": ["2026-05-18", "2026-05-19", "2026-05-22", "2026-05-18", "2026-05-01"],
        "currency": ["USD", "usd", "USD", "JPY", "GBP"],
        "rate": [Decimal("0.9"), Decimal("0.917431192661"), Decimal(2), Decimal("0.00613"), Decimal(1)],
    }
)


def paid(day: int, price: str, currency: str, **more: Any) -> dict[str, Any]:
    return call(datetime(2026, 5, day, 23, 30, tzinfo=UTC), total_price=Decimal(price), currency=currency, **more)


@pytest.mark.parametrize("lazily", [False, True])
def test_prices_in_one_currency(lazily: bool, tmp_path: Path) -> None:
    rows = [
        paid(20, "1.0000000001", "USD", id="a", input_price=Decimal("0.5")),
        paid(18, "0.0000000005", "USD", id="b"),  # 4.5 units of 1e-10: to even
        paid(18, "100", "JPY", id="c"),
        paid(20, "3", "EUR", id="d"),
        paid(17, "3", "USD", id="e"),  # before the first rate
        paid(20, "3", "CHF", id="f"),
        call(MAY, id="g"),
        paid(21, "7", "USD", id="h"),  # at 23:30 UTC it is the 22nd in Berlin
    ]
    usage = load_usage(polars_frame(rows).drop("price_source", "converted_from"), tz="Europe/Berlin")
    if lazily:
        usage.export_parquet(tmp_path / "calls.parquet")
        usage = load_usage(tmp_path / "calls.parquet", tz="Europe/Berlin")
    euros = usage.in_currency("EUR", RATES)
    assert ("lazy" in repr(euros)) is lazily
    columns = ("total_price", "currency", "converted_from", "rate_day", "recorded_price", "recorded_currency")
    days = [date(2026, 5, day) for day in (19, 18, 22)]
    assert told(euros, *columns) == {
        # 1.0000000001 * 0.917431192661 = 0.9174311927527...
        "a": [Decimal("0.9174311928"), "EUR", "USD", days[0], Decimal("1.0000000001"), "USD"],
        "b": [Decimal("0.0000000005"), "EUR", "USD", days[0], Decimal("0.0000000005"), "USD"],
        "c": [Decimal("0.613"), "EUR", "JPY", days[1], Decimal(100), "JPY"],
        "d": [Decimal(3), "EUR", None, None, Decimal(3), "EUR"],
        "e": [Decimal("2.7"), "EUR", "USD", days[1], Decimal(3), "USD"],
        "f": [None, None, None, None, Decimal(3), "CHF"],
        "g": [None, None, None, None, None, None],
        "h": [Decimal(14), "EUR", "USD", days[2], Decimal(7), "USD"],
    }
    assert told(euros, "input_price")["a"] == [Decimal("0.4587155963")]
    assert euros.cost(by=()).currencies == ("EUR",)


@pytest.mark.proof
@settings(max_examples=trials(5, 60), deadline=None)
@given(
    prices=st.lists(st.integers(0, 10**15 - 1), min_size=1, max_size=40),
    rate=st.decimals("0.000001", "99999", places=12) | st.decimals("0.0000000000001", "0.001", places=17),
)
def test_converted_amounts_are_exact(prices: list[int], rate: Decimal) -> None:
    rows = [paid(20, "0", "USD") | {"total_price": Decimal(units).scaleb(-10)} for units in prices]
    rates = pl.DataFrame({"date": [date(2026, 5, 1)], "currency": ["USD"], "rate": [str(rate)]})
    found = load_usage(polars_frame(rows)).in_currency("EUR", rates).frame["total_price"]
    with localcontext(prec=60):
        expected = [(row["total_price"] * rate).quantize(Decimal("1E-10"), ROUND_HALF_EVEN) for row in rows]
    assert list(found) == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            lambda usage: usage.with_prices(as_of="today"),
            'as_of is \'today\'; prices are as of "call", "now", or a date',
        ),
        (lambda usage: usage.with_prices("list"), "book is a str; give a PriceBook, such as PriceBook.load"),
        (lambda usage: usage.what_if({}), "what_if takes models by the one that was asked for"),
        (lambda usage: usage.what_if({"gpt-4o": "gpt-4o-minni"}), "there is no price for 'gpt-4o-minni'"),
        (lambda usage: usage.what_if({"gpt-4x": "gpt-5"}), "no call asked for 'gpt-4x'; models here: 'gpt-4o'"),
        (lambda usage: usage.what_if({"gpt-4o": "gpt-5"}, token_factor=0), "token_factor is 0; it must be above 0"),
        (lambda usage: usage.what_if({"gpt-4o": "gpt-5"}, token_factor=float("nan")), "token_factor is nan"),
        (lambda usage: usage.what_if({"gpt-4o": "gpt-5"}, token_factor={"x": 2}), "token_factor has 'x'"),
        (lambda usage: usage.in_currency("euro", RATES), "currency is 'euro', which is no ISO 4217 code"),
        (lambda usage: usage.in_currency("EUR", RATES.drop("rate")), "rates has no column rate"),
        (lambda usage: usage.in_currency("EUR", 1.1), "rates is a float"),
        (
            lambda usage: usage.in_currency("USD", pl.DataFrame({"date": ["x"], "currency": ["EUR"], "rate": [1]})),
            "rates: date is 'x', which is no day",
        ),
        (
            lambda usage: usage.in_currency("USD", pl.DataFrame({"date": [MAY], "currency": ["EUR"], "rate": [-1]})),
            "rates: rate is -1, which is no number above 0",
        ),
        (
            lambda usage: usage.in_currency(
                "USD", pl.DataFrame({"date": [MAY, MAY], "currency": ["EUR"] * 2, "rate": [1, 2]})
            ),
            "rates has two rates of EUR on 2026-05-20",
        ),
    ],
)
def test_what_cannot_be_is_said(asked: Callable[[UsageFrame], UsageFrame], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        asked(in_memory(Path()))
    assert said in str(refused.value)


def test_a_column_that_prices_need_is_named() -> None:
    usage = load_usage(polars_frame(ROWS), columns=["model_name", "prompt_tokens", "completion_tokens"])
    with pytest.raises(UsageError, match="prices need the column create_time, which was not loaded"):
        usage.with_prices()
    assert usage.with_prices(as_of=date(2026, 5, 1)).frame["total_price"].sum() == Decimal("2.51")
    assert usage.with_prices(as_of="2026-05-01").frame["total_price"].sum() == Decimal("2.51")


def test_calls_without_a_price_are_counted_once_in_the_book() -> None:
    book = PriceBook.default()
    in_memory(Path()).with_prices(book)
    assert book.unknown == {"nobody-knows": 1}


def test_a_factor_is_what_its_digits_say() -> None:
    factors: list[Factor] = [1.1, Decimal("1.1"), Fraction(11, 10)]
    counts = [in_memory(Path()).what_if({"gpt-4o": "gpt-5"}, token_factor=factor) for factor in factors]
    assert {told(usage, "prompt_tokens")["c"][0] for usage in counts} == {1_100_000}


def test_the_model_of_the_demo_that_has_no_price_gets_one(tmp_path: Path) -> None:
    """It runs on machines of its own, whose prices no list knows."""
    (tmp_path / "prices.toml").write_text(
        'currency = "USD"\n[[prices]]\nmodel = "llama*"\ninput = 0.20\noutput = 0.60\n'
    )
    usage = load_usage(frame_of(list(generate_usage(calls=300, days=2).calls)))
    priced = usage.with_prices(PriceBook.load(tmp_path / "prices.toml").or_else(PriceBook.default()))
    own = usage.frame.filter(model_name="llama-3.3-70b")
    assert own["total_price"].null_count() == len(own) > 0
    counted = own.filter(pl.col("total_tokens").is_not_null())
    # 0.20 and 0.60 per million tokens; what somebody gave up on has no counts, and so no price
    millionths = Decimal(counted["prompt_tokens"].sum()) * 20 + Decimal(counted["completion_tokens"].sum()) * 60
    found = priced.filter(model_name="llama-3.3-70b", price_source="computed").frame["total_price"]
    assert found.sum() == millionths / 100_000_000
    assert priced.filter("model_name <> 'llama-3.3-70b'").frame["price_source"].unique().to_list() == ["recorded"]
