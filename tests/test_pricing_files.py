"""Price files: which entry counts, what it comes to, and what a bad file is told."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofa_usage import PriceBook, UsageError
from mofa_usage.pricing.rates import PARTS
from tests.test_pricing import amounts, call, price_of

Load = Callable[[str], PriceBook]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str) -> PriceBook:
        (tmp_path / "prices.toml").write_text(text, encoding="utf-8")
        return PriceBook.load(tmp_path / "prices.toml")

    return write


def entry(model: str, price: int = 1, *more: str) -> str:
    return "\n".join(["[[prices]]", f'model = "{model}"', f"input = {price}", "output = 0", *more, ""])


EUR = 'currency = "EUR"\n'


def test_an_invoice_by_hand(load: Load) -> None:
    book = load("""
        currency = "eur"
        [[prices]]
        model = "claude-*"
        input = 3
        cached = 0.30
        cache_write = 3.75
        cache_write_1h = 6
        output = 15
        discount = 12.5
    """)
    details = {"cached_tokens": 20_000, "cache_write_5m_tokens": 3_000, "cache_write_1h_tokens": 2_000}
    price = price_of(book, call("claude-x", 26_500, 700, prompt_details=details))
    # as in the invoice of test_pricing.py, times 0.875: 0.0045, 0.006, 0.02325, 0.0105, together 0.04425
    assert amounts(price) == ["0.0039375", "0.00525", "0.02034375", "0.0091875", "0", "0.03871875"]
    assert (price.currency, price.exact) == ("EUR", True)
    assert price.source.startswith("prices.toml ")
    assert price.source == book.source


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", 1),
        ("GPT-4O", 1),  # case does not matter
        ("gpt-4o-mini", 2),
        ("gpt-4o-audio", 3),
        ("gpt-5", 4),
        ("claude", 5),
        ("openai/gpt-4o", 1),  # what stands before a name does not make it another
        ("gpt.4o", 5),  # a dot is a dot
        ("xgpt-4o", 5),  # a pattern fits the whole name
    ],
)
def test_the_name_that_says_it_most_closely_counts(load: Load, model: str, expected: int) -> None:
    entries = [("*", 5), ("gpt-4o*", 3), ("gpt-4o", 1), ("gpt-*", 4), ("gpt-4o-m*", 2)]
    for order in (entries, entries[::-1]):
        book = load(EUR + "".join(entry(*each) for each in order))
        assert price_of(book, call(model, 1_000_000, 0)).total == expected


def test_the_latest_day_that_has_come_counts(load: Load) -> None:
    days = ["from = 2026-03-01", "from = 2026-09-01"]
    book = load(
        EUR + entry("m", 2, days[0]) + entry("m") + entry("m", 3, days[1]) + entry("n", 4, days[1]) + entry("*", 5)
    )
    for at, expected in [
        (datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 3, 1, tzinfo=UTC), 2),
        (datetime(2026, 8, 31, 23, 59, tzinfo=UTC), 2),
        (datetime(2026, 9, 1, tzinfo=UTC), 3),
        (datetime.fromisoformat("2026-09-01T01:00:00+02:00"), 2),  # still August, UTC
    ]:
        assert price_of(book, call("m", 1_000_000, 0, at=at)).total == expected
    # What is not yet in force does not hide what is.
    assert price_of(book, call("n", 1_000_000, 0, at=datetime(2026, 8, 1, tzinfo=UTC))).total == 5
    assert price_of(book, call("m", 1_000_000, 0), on=date(2026, 1, 1)).total == 1


def test_the_served_model_counts_before_the_one_asked_for(load: Load) -> None:
    book = load(EUR + entry("small", 1) + entry("large", 2))
    assert price_of(book, call("large", 1_000_000, 0, served_model="small")).total == 1
    stand_in = price_of(book, call("large", 1_000_000, 0, served_model="unheard-of"))
    assert (int(stand_in.total), stand_in.exact) == (2, False)
    dated = price_of(book, call("large", 1_000_000, 0, served_model="large-2026-01-01"))
    assert (int(dated.total), dated.exact) == (2, True)
    alone = price_of(book, call("large-2026-01-01", 1_000_000, 0))
    assert (int(alone.total), alone.exact) == (2, False)


def test_a_provider_may_stand_before_the_model(load: Load) -> None:
    book = load(EUR + entry("azure/gpt-4o", 1) + entry("gpt-4o", 2))
    assert price_of(book, call("gpt-4o", 1_000_000, 0, provider="Azure")).total == 1
    assert price_of(book, call("gpt-4o", 1_000_000, 0, provider="openai")).total == 2


def test_own_prices_win_and_the_rest_is_looked_up_elsewhere(load: Load) -> None:
    own = load(EUR + entry("gpt-4o", 1) + entry("my-*", 0))
    both = own.or_else(PriceBook.default())
    assert both.source == f"{own.source}, {PriceBook.default().source}"
    contract = price_of(both, call("gpt-4o", 1_000_000, 0, served_model="gpt-4o-2024-08-06"))
    assert (int(contract.total), contract.currency, contract.source) == (1, "EUR", own.source)
    listed = price_of(both, call("gpt-4o-mini", 1_000_000, 0))
    assert (listed.total, listed.currency) == (Decimal("0.15"), "USD")
    free = price_of(both, call("my-llama"))
    assert free.total == 0
    assert free.exact
    assert both.price(call("nobody")) is None
    assert (both.unknown, own.unknown) == ({"nobody": 1}, {})


def test_a_tier_has_no_price_in_a_file(load: Load) -> None:
    book = load(EUR + entry("m"))
    assert price_of(book, call("m", service_tier="default")).exact
    assert not price_of(book, call("m", service_tier="batch")).exact


def test_what_is_left_out_costs_what_stands_in_for_it(load: Load) -> None:
    book = load(EUR + entry("m", 2) + entry("n", 2, "cached = 2", "cache_write = 3"))
    cached = price_of(book, call("m", 1_000_000, 0, prompt_details={"cached_tokens": 500_000}))
    assert (amounts(cached)[:2], cached.exact) == (["1", "1"], False)
    said = price_of(book, call("n", 1_000_000, 0, prompt_details={"cached_tokens": 500_000}))
    assert (amounts(said)[:2], said.exact) == (["1", "1"], True)
    hour = price_of(book, call("n", 1_000_000, 0, prompt_details={"cache_write_1h_tokens": 1_000_000}))
    assert (amounts(hour)[2], hour.exact) == ("3", False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "`currency` is missing"),
        ("currency = ", "Invalid value"),
        (EUR, "at least one entry"),
        (EUR + "prices = 3", "at least one entry"),
        ('currency = "euros"\n' + entry("m"), "currency: 'euros' is no currency"),
        ("currency = 3\n" + entry("m"), "currency"),
        (EUR + 'unit = "k"\n' + entry("m"), "'unit' is not known"),
        (EUR + '[[prices]]\nmodel = "m"\ninput = 1\n', r"entry 1 \('m'\): `output` is missing"),
        (EUR + "[[prices]]\ninput = 1\noutput = 1\n", "entry 1: `model` is missing"),
        (EUR + entry(" "), "`model` must be a name"),
        (EUR + entry("m") + entry("n", 1, "cache = 1"), r"entry 2 \('n'\): 'cache' is not known; an entry has model"),
        (EUR + entry("m", 1, 'cached = "1"'), "`cached` is '1', it must be a number without quotes"),
        (EUR + entry("m", 1, "cached = true"), "`cached` is True"),
        (EUR + entry("m", -1), "`input` is -1, it must be from 0"),
        (EUR + entry("m", 1, "cached = nan"), "`cached` is NaN"),
        (EUR + entry("m", 1, "cached = inf"), "`cached` is Infinity"),
        (EUR + entry("m", 1_000_000_000), "must be from 0 to below"),
        (EUR + entry("m", 1, "cached = 0.00000000001"), "at most 10 decimal places"),
        (EUR + entry("m", 1, "discount = 101"), "`discount` is 101, it must be percent"),
        (EUR + entry("m", 1, 'from = "2026-01-01"'), "it must be a day without quotes"),
        (EUR + entry("m", 1, "from = 2026-01-01T00:00:00Z"), "it must be a day without quotes"),
        (EUR + entry("m") + entry("M"), r"entry 2 \('M'\): entry 1 is for the same model from the same day"),
    ],
)
def test_a_bad_file_is_told_the_entry_and_the_rule(load: Load, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        load(text)
    assert "prices.toml" in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml: No such file"):
        PriceBook.load(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'currency = "\xff"')
    with pytest.raises(UsageError, match=r"latin\.toml"):
        PriceBook.load(tmp_path / "latin.toml")


def test_prices_of_other_versions_have_other_names(load: Load) -> None:
    assert load(EUR + entry("m")).source != load(EUR + entry("m", 2)).source


def money(value: Fraction) -> Decimal:
    """Half to even at ten places, worked out in whole numbers."""
    scaled = value * 10**10
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    twice = 2 * rest - scaled.denominator
    whole += twice > 0 or (twice == 0 and whole % 2 == 1)
    return Decimal(whole).scaleb(-10, Context(prec=60, rounding=ROUND_HALF_EVEN))


PRICES = st.decimals(0, 200, places=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(dict.fromkeys(("input", "cached", "cache_write", "cache_write_1h", "output"), PRICES)),
    st.decimals(0, 100, places=3),
    st.lists(st.integers(0, 10_000_000), min_size=5, max_size=5),
)
def test_a_file_against_plain_arithmetic(
    load: Load, prices: dict[str, Decimal], discount: Decimal, counts: list[int]
) -> None:
    lines = [f"{key} = {value}" for key, value in prices.items()]
    book = load("\n".join([EUR, "[[prices]]", 'model = "*"', *lines, f"discount = {discount}"]))
    plain, cached, written, hour, output = counts
    details = {
        "cached_tokens": cached,
        "cache_write_tokens": written + hour,
        "cache_write_5m_tokens": written,
        "cache_write_1h_tokens": hour,
    }
    price = book.price(call("m", plain + cached + written + hour, output, prompt_details=details))
    share = (100 - Fraction(discount)) / 100
    total = sum(
        Fraction(prices[key]) * count * share / 1_000_000
        for key, count in zip(("input", "cached", "cache_write", "cache_write_1h", "output"), counts, strict=True)
    )
    if total >= 100_000:
        assert price is None
        return
    assert price is not None
    assert price.total == money(Fraction(total))
    with localcontext(Context(prec=60)):
        assert sum(getattr(price, part) for part in PARTS) == price.total
