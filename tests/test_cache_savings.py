"""`usage.cache_savings`: what caches saved and could have saved, against rates and neighbours of each call."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import load_usage
from mofa_usage.efficiency import cache_savings
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension
from mofa_usage.pricing import PriceBook
from tests import plain_analysis as plain
from tests.plain_analysis import NIL, SCHEMA, Row, call, calls, relation
from tests.proofs import trials

START = datetime(2026, 3, 28, 23, 50, tzinfo=UTC)
CHANGE = datetime(2026, 3, 29, tzinfo=UTC)
ONE = "0190aaaa-0000-7000-8000-000000000001"
WRITES = ("cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")

BEFORE = {"input": "3", "cached": "0.3", "cache_write": "3.75", "cache_write_1h": "6", "output": "15"}
AFTER = {"input": "2", "cached": "0.50", "cache_write": "2.123456", "cache_write_1h": "1.5", "output": "15"}
OTHER = {"input": "0.1", "cached": "0.2", "output": "1"}


def table(model: str, rates: dict[str, str], first: str | None = None) -> str:
    lines = [f"{name} = {rate}" for name, rate in rates.items()]
    return "\n".join(["[[prices]]", f'model = "{model}"', *([f"from = {first}"] if first else []), *lines])


# A model whose prices change, and one whose cached tokens cost more than others; a third has none.
PRICES = "\n".join(['currency = "USD"', table("a", BEFORE), table("a", AFTER, "2026-03-29"), table("b", OTHER)])


def rates_of(row: Row) -> dict[str, Fraction] | None:
    known = {"a": AFTER if row["create_time"] >= CHANGE else BEFORE, "b": OTHER}.get(row["model_name"])
    if known is None:
        return None
    rates = {name: Fraction(rate) for name, rate in known.items()}
    rates.setdefault("cache_write", rates["input"])
    rates.setdefault("cache_write_1h", rates["cache_write"])
    return rates


@st.composite
def cached_calls(draw: st.DrawFn) -> list[Row]:
    """Calls minutes apart, around the change of prices, that read and write a little of everything."""
    minutes = st.sampled_from([0, 1, 4, 5, 6, 30, 61, 66, 70])
    rows = draw(calls(minutes.map(lambda n: START + timedelta(minutes=n)), max_size=14))
    few = st.none() | st.sampled_from([0, 0, 7, 1000, 2**31 - 1])
    for row in rows:
        row |= {"model_name": draw(st.sampled_from(["a", "b", "nobody"])), "prompt_tokens": draw(few)}
        row |= {name: draw(few) for name in ("cached_tokens", *WRITES)}
        row |= {"agent_id": draw(st.sampled_from([NIL, ONE])), "user_id": draw(st.sampled_from([NIL, ONE]))}
    return rows


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        [row | {name: row.get(name) for name in WRITES} for row in rows],
        schema=SCHEMA | dict.fromkeys(WRITES, pl.Int64),
    )


def written(row: Row) -> tuple[int, int] | tuple[None, None]:
    """For five minutes, and for an hour."""
    if all(row[name] is None for name in WRITES):
        return None, None
    whole, short, long = (row[name] or 0 for name in WRITES)
    return max(whole, short + long) - long, long


def same_cache(row: Row) -> tuple[str, ...]:
    if row["chat_session_id"] != NIL:
        return row["model_name"], row["chat_session_id"]
    return row["model_name"], "", row["agent_id"], row["user_id"]


def looked_at(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """What is known of one call among others."""
    same = [
        (other, other["create_time"] - row["create_time"]) for other in rows if same_cache(other) == same_cache(row)
    ]
    sent = [other["prompt_tokens"] or 0 for other, apart in same if timedelta(minutes=-5) <= apart < timedelta(0)]
    reads = [apart for other, apart in same if (other["cached_tokens"] or 0) > 0 and apart > timedelta(0)]
    short, long = written(row)
    cached, prompt, rates = row["cached_tokens"], row["prompt_tokens"], rates_of(row)
    found: dict[str, Any] = {"written_5m_tokens": short, "written_1h_tokens": long, "cached_tokens": cached}
    unread_short, unread_long = short or 0, long or 0
    if short is not None and long is not None:
        unread_short = 0 if any(apart <= timedelta(minutes=5) for apart in reads) else short
        unread_long = 0 if any(apart <= timedelta(hours=1) for apart in reads) else long
        found["unread_tokens"] = unread_short + unread_long
    if cached is not None and prompt is not None:
        found["missed_tokens"] = max(min(prompt, max(sent, default=0)) - cached, 0)
        unwritten = max(prompt - max(cached, max(sent, default=0)) - (short or 0) - (long or 0), 0)
    found["uses"] = bool(cached or short or long)
    found["rated"] = found["uses"] and rates is not None
    if rates is None:
        return found
    cheaper = (rates["input"] - rates["cached"]) / 1_000_000
    extra = [(rates[name] - rates["input"]) / 1_000_000 for name in ("cache_write", "cache_write_1h")]
    if cached is not None:
        found["cache_saved"] = cached * cheaper
    if short is not None and long is not None:
        found["cache_premium"] = short * extra[0] + long * extra[1]
        found["unread_premium"] = unread_short * extra[0] + unread_long * extra[1]
    if cached is not None or short is not None:
        found["cache_savings"] = found.get("cache_saved", 0) - found.get("cache_premium", 0)
    if found.get("missed_tokens") is not None:
        found["missed_savings"] = found["missed_tokens"] * cheaper
        found["candidate_savings"] = found["missed_savings"] - unwritten * extra[0]
    return found


TOKENS = ("cached_tokens", "written_5m_tokens", "written_1h_tokens", "unread_tokens", "missed_tokens")
MONEY = ("cache_savings", "cache_saved", "cache_premium", "unread_premium", "missed_savings", "candidate_savings")


def summed(found: Sequence[dict[str, Any]], name: str) -> Any:
    known = [one[name] for one in found if one.get(name) is not None]
    return sum(known) if known else None


def exact(amount: Any) -> Decimal | None:
    if amount is None:
        return None
    with localcontext(prec=100):
        whole = Decimal(Fraction(amount).numerator) / Fraction(amount).denominator
        return whole.quantize(Decimal("1e-10"), ROUND_HALF_EVEN)


@pytest.mark.proof
@settings(max_examples=trials(3, 90))
@given(rows=cached_calls(), by=st.sampled_from([(), ("model_name",), ("day", "team")]))
def test_every_number_is_that_of_its_calls(rows: list[Row], by: tuple[str, ...], book: PriceBook) -> None:
    answer = cache_savings(relation(frame_of(rows)), by, tz="Europe/Berlin", book=book)
    groups = plain.grouped(rows, by, "Europe/Berlin")
    if by:
        assert {tuple(row[name] for name in by) for row in answer.to_dicts()} == set(groups)
    for row in answer.to_dicts():
        group = groups.get(tuple(row[name] for name in by), [])
        found = [looked_at(one, rows) for one in group]
        assert {name: row[name] for name in TOKENS} == {name: summed(found, name) for name in TOKENS}
        assert {name: row[name] for name in MONEY} == {name: exact(summed(found, name)) for name in MONEY}
        uses = sum(one["uses"] for one in found)
        assert (row["cache_calls"], row["calls"]) == (uses, len(group))
        assert row["rate_coverage"] == (sum(one["rated"] for one in found) / uses if uses else None)
        assert row["cache_hit_rate"] == plain.PLAIN["cache_hit_rate"](group)


@pytest.mark.proof
@settings(max_examples=trials(2, 30))
@given(rows=cached_calls())
def test_no_number_depends_on_the_order_of_rows(rows: list[Row], book: PriceBook) -> None:
    one, other = (cache_savings(relation(frame_of(some)), book=book) for some in (rows, rows[::-1]))
    assert one.equals(other)


# By hand


def reading(cached: int | None, *, minutes: int = 0, model: str = "a", **fields: Any) -> Row:
    when = START + timedelta(minutes=minutes)
    row = call(when, model_name=model, chat_session_id=ONE, prompt_tokens=2_000_000, cached_tokens=cached)
    return row | dict.fromkeys(WRITES) | fields


def test_savings_may_be_below_zero(book: PriceBook) -> None:
    rows = [reading(0, cache_write_tokens=1_000_000), reading(100_000, minutes=1)]
    answer = load_usage(frame_of(rows)).cache_savings(book=book)
    assert answer.select("cache_saved", "cache_premium", "cache_savings").rows() == [
        (Decimal("0.27"), Decimal("0.75"), Decimal("-0.48"))
    ]
    assert answer.sentence == (
        "Caches cost more than they saved, by $0.48 ($0.27 by reading, less $0.75 for writing). "
        "At most $5.13 more could be saved where prompts were sent again."
    )
    assert [list(trace.x) for trace in answer.draw().data] == [[0.27], [-0.75], [5.13], [4.65]]


def test_what_nobody_reads_in_time(book: PriceBook) -> None:
    rows = [reading(0, cache_write_5m_tokens=10, cache_write_1h_tokens=20), reading(5, minutes=6)]
    answer = load_usage(frame_of(rows)).cache_savings(book=book)
    assert answer["unread_tokens"].to_list() == [10]
    assert "10 tokens were written and never read, a premium of $0.0000075" in answer.sentence


def test_unknown_rates_are_unknown(book: PriceBook) -> None:
    answer = load_usage(frame_of([reading(5, model="nobody")])).cache_savings(book=book)
    assert answer.select("cache_savings", "cached_tokens", "rate_coverage").rows() == [(None, 5, 0.0)]
    assert answer.sentence == "What caches saved is unknown: no rates are known where they were used."
    assert [text.text for text in answer.draw().layout.annotations] == ["No rates are known"]
    unused = load_usage(frame_of([reading(0)])).cache_savings(book=book)
    assert unused.sentence == "No call is known to have read from a cache or written to one."


def test_a_frame_without_writes_and_sessions(book: PriceBook) -> None:
    columns = ["model_name", "create_time", "prompt_tokens", "completion_tokens", "cached_tokens"]
    frame = frame_of([reading(1_000_000), reading(1_000_000, minutes=1)]).select(columns)
    answer = cache_savings(relation(frame), book=book)
    assert answer.select("cache_savings", "written_5m_tokens", "missed_tokens").rows() == [
        (Decimal("5.4"), None, 1_000_000)
    ]
    with pytest.raises(UsageError, match="no column 'cached_tokens'"):
        cache_savings(relation(frame.drop("cached_tokens")), book=book)


def test_where_caching_would_pay(book: PriceBook) -> None:
    again = [reading(0, minutes=n, prompt_tokens=1_000_000) for n in (0, 1)]  # $0.75 to write, $2.70 read
    once = [reading(0, minutes=n, chat_session_id=NIL, agent_id=ONE, prompt_tokens=1_000_000) for n in (0, 6)]
    usage = load_usage(frame_of([row | {"team": "often"} for row in again] + [row | {"team": "once"} for row in once]))
    answer = usage.cache_savings("team", book=book, rank="candidates", top=1)
    assert answer.columns[:2] == ["team", "candidate_savings"]
    assert answer.select("team", "candidate_savings", "missed_savings").rows() == [
        ("often", Decimal("1.95"), Decimal("2.7")),
        ("other", Decimal("-1.5"), Decimal(0)),
    ]
    assert "caching would pay most for often ($1.95)." in answer.sentence
    few = usage.cache_savings(by=[], book=book, start=START + timedelta(minutes=1))  # one of each
    assert few["candidate_savings"].to_list() == [Decimal("1.95")]
    rows = [*again, *(row | {"create_time": row["create_time"] + timedelta(hours=n)} for row in once for n in range(3))]
    assert (
        load_usage(frame_of(rows))
        .cache_savings(book=book)
        .sentence.endswith("Writing every prompt to a cache would cost more than that in premiums.")
    )
    with pytest.raises(UsageError, match="rank = 'best'; it is one of: savings, candidates"):
        usage.cache_savings(book=book, rank="best")  # type: ignore[arg-type]


def test_prices_of_another_day_and_along_time(book: PriceBook) -> None:
    usage = load_usage(frame_of([reading(1_000_000)]))
    later = usage.cache_savings(book=book, as_of=CHANGE.date())
    assert later["cache_savings"].to_list() == [Decimal("1.5")]
    figure = usage.cache_savings("day", book=book).draw()
    assert [list(trace.y) for trace in figure.data] == [[2.7]]


def test_what_caching_costs_most_is_not_folded_in_the_figure(book: PriceBook) -> None:
    rows = [reading(10, model="a"), reading(1_000_000, model="b"), reading(9, model="nobody")]
    figure = load_usage(frame_of(rows)).cache_savings(book=book).draw(top=1)
    assert figure.layout.annotations[0].text == "<b>b</b>"


def test_the_rest_is_cut_where_it_dwarfs_the_named_bars(book: PriceBook) -> None:
    users = [ONE.replace("1", str(number)) for number in range(2, 8)]
    rows = [reading(1_000_000, user_id=user, cache_write_tokens=200_000) for user in users]
    figure = load_usage(frame_of(rows)).cache_savings("user_id", book=book).draw(top=1)
    saved, premium = (list(trace.x) for trace in figure.data)
    low, high = figure.layout.xaxis.range
    assert saved[0] == 2.7
    assert low < premium[1] < premium[0] < 0 < saved[0] < saved[1] == pytest.approx(high)
    assert premium[1] / saved[1] == pytest.approx(premium[0] / saved[0])
    assert "the bar of other is cut" in figure.layout.title.subtitle.text


def test_a_mark_says_what_would_be_left_of_what_could_be_saved(book: PriceBook) -> None:
    often = [reading(0, minutes=minute) for minute in range(3)]  # sent three times, so that caching it would pay
    answer = load_usage(frame_of(often)).cache_savings(book=book)
    figure = answer.draw()
    could_save, mark = figure.data
    assert (mark.mode, mark.name) == ("markers", "left after the premium of writing all")
    assert list(mark.x) == [float(answer["candidate_savings"][0])]
    assert 0 < mark.x[0] < could_save.x[0]
    once = load_usage(frame_of([reading(0, minutes=9 * n) for n in range(3)])).cache_savings(book=book).draw()
    assert "markers" not in [trace.mode for trace in once.data if trace.type == "scatter"]


def test_what_is_added_up_is_the_same_as_call_by_call(book: PriceBook) -> None:
    rows = [reading(1_000, minutes=place, model="ab"[place % 2], status="success") for place in range(9)]
    calls = relation(frame_of(rows))
    each = Dimension("model", expression=nw.col("model_name"))  # of which nobody knows what it is made of
    for top in (None, 1):
        one, other = (cache_savings(calls, by, book=book, top=top) for by in ("model_name", each))
        assert one.rows() == other.rows()
        assert sum(one["calls"]) == 9
    sizes = cache_savings(calls, ["prompt_length", "minute"], book=book, start=START + timedelta(minutes=1, seconds=1))
    assert sizes["calls"].to_list() == [1] * 7


def test_money_is_in_the_currency_of_the_rates(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("\n".join(['currency = "CNY"', table("a", BEFORE)]))
    odd = reading(3_000_000)  # more than the prompt has: what the call costs is not known, what was saved is
    answer = cache_savings(relation(frame_of([odd])), book=PriceBook.load(tmp_path / "prices.toml"))
    assert answer.select("cache_savings", "currency").rows() == [(Decimal("8.1"), "CNY")]
