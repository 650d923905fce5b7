"""How a value becomes exact is one definition with two renderings: Polars and DuckDB agree on every value.

The same values go through a frame and through a relation, one at a time: both give the same value, or both refuse it.
What the value must be is worked out in plain Python.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mofa_usage import UsageError
from mofa_usage.reading import details
from mofa_usage.reading.columns import CALL_COLUMNS
from mofa_usage.reading.exact import STRICT, Leeway, rule_of
from mofa_usage.reading.frame import FrameCalls
from mofa_usage.reading.relation import RelationCalls, as_calls
from mofa_usage.reading.selection import Selection
from mofa_usage.values import read_currency, read_json
from tests.proofs import trials

REFUSED = "refused"


def many(test: Callable[..., None]) -> Callable[..., None]:
    """A proof of a property."""
    proof: Callable[..., None] = pytest.mark.proof(settings(deadline=None, max_examples=trials(15, 100))(test))
    return proof


CONNECTION = duckdb.connect()
CONNECTION.execute("SET threads = 1")


def read(frame: pl.DataFrame, column: str, leeway: Leeway = STRICT) -> Any:
    """The values of a column as Polars and as DuckDB read them, which must be the same; `REFUSED` where they do not."""
    selection = Selection((column,), {}, None, None)
    answers: list[Any] = []
    CONNECTION.register("given", frame)
    sources = FrameCalls(frame, leeway), RelationCalls(lambda tz: CONNECTION.sql("FROM given"), leeway)
    for calls in sources:
        try:
            answers.append(pl.concat(calls.batches(selection))[column].to_list())
        except UsageError:
            answers.append(REFUSED)
    assert answers[0] == answers[1]
    return answers[0]


def exactly(values: pl.Series, column: str, leeway: Leeway = STRICT) -> list[Any]:
    """The values as the rule of the column makes them, by Polars and by DuckDB: `REFUSED` for each that has none."""
    rule = rule_of(CALL_COLUMNS[column])
    frame = values.to_frame("given")
    CONNECTION.register("given", frame)
    kind = str(CONNECTION.sql("FROM given").types[0])
    sql, polars = rule.sql("given", kind, leeway), rule.polars(pl.col("given"), values.dtype, leeway)
    assert (sql is None) == (polars is None)
    if sql is None or polars is None:
        return [REFUSED] * len(values)
    answer = CONNECTION.sql(f"SELECT CAST({sql} AS {rule.sql_type}) AS exact FROM given").to_arrow_table()
    answers = (frame.select(exact=polars), as_calls(answer))
    both = [
        [
            REFUSED if exact is None and given is not None else exact
            for exact, given in zip(one["exact"], values, strict=True)
        ]
        for one in answers
    ]
    assert both[0] == both[1]
    return both[0]


# --- times ----------------------------------------------------------------------------------------------------------

TIME_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d+))?)?"
    r"([Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)",
    re.ASCII,
)


def instant(text: str) -> datetime | str:
    """The time that a text is, by the definition."""
    parts = TIME_TEXT.fullmatch(text)
    if parts is None:
        return REFUSED
    year, month, day, hour, minute, second = (int(part or 0) for part in parts.groups()[:6])
    micro, zone = int((parts[7] or "").ljust(6, "0")[:6]), parts[8]
    offset = timedelta()
    if zone not in "Zz":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:])) * (-1 if zone[0] == "-" else 1)
    try:
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return REFUSED


@st.composite
def time_texts(draw: st.DrawFn) -> str:
    """Times in many spellings, right and nearly right."""
    year = draw(st.sampled_from(["2026", "1969", "0001", "0000", "9999", "10000", "26", "-2026", "+2026"]))
    month, day = (
        draw(st.sampled_from(["01", "12", "13", "00", "2", "02"])),
        draw(st.sampled_from(["01", "29", "30", "31"])),
    )
    hour, minute = draw(st.sampled_from(["00", "12", "23", "24", "7"])), draw(st.sampled_from(["00", "59", "60"]))
    second = draw(st.sampled_from(["", ":00", ":59", ":60", ":61", ":5"]))
    fraction = draw(
        st.sampled_from(["", ".0", ".123", ".123456", ".123456789", ".9999999", ".1234567891234", ".", ",5"])
    )
    separator = draw(st.sampled_from(["T", "T", "T", "t", " ", "  ", "_"]))
    zone = draw(
        st.sampled_from(
            ["Z", "z", "+00:00", "-05:30", "+0530", "+05", "+23:59", "+24:00", "+05:60", "", " Z", "UTC", "+5"]
        )
    )
    return f"{year}-{month}-{day}{separator}{hour}:{minute}{second}{fraction}{zone}"


ODD_TIMES = [
    "2026-05-01T12:00Z",
    "2026-05-01T23:59:60Z",
    "2026-05-01T24:00:00Z",
    "10000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T23:59:59-00:01",
    "1969-12-31T23:59:59.9999999Z",
    "٢٠٢٦-05-01T12:00:00Z",
    "2026-05-01T12:00:00Z\n",
]
rfc_3339 = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda time: f"{time.isoformat()}Z")


@many
@given(st.lists(time_texts() | rfc_3339 | st.none(), min_size=1, max_size=50))
@example(ODD_TIMES)
@example(["2026-05-01T12:00:00Z"])
def test_times_in_text(texts: list[str | None]) -> None:
    wanted = [None if text is None else instant(text) for text in texts]
    assert exactly(pl.Series(texts, dtype=pl.String), "create_time") == wanted


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)) | st.datetimes(
    datetime(1900, 1, 1), datetime(2200, 1, 1)
)


@st.composite
def nearly_alike(draw: st.DrawFn) -> list[str]:
    """Times as programs write them, one of them perhaps with a character or two that are not meant."""
    ends = ["Z", "+00:00", "-05:30", ".123Z", ".000001+00:00", ".123456789+00:00", ".999999999-05:30"]
    texts = [
        time.isoformat(timespec="seconds") + draw(st.sampled_from(ends)) for time in draw(st.lists(MOMENTS, min_size=1))
    ]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(texts[0]) - 1))
        texts[0] = texts[0][:place] + draw(st.sampled_from([*"0369-+:.TZ tz,é", ""])) + texts[0][place + 1 :]
    return texts


@many
@given(nearly_alike())
@example(["2026-05-01T12:00:60.000000+00:00"])
@example(["2026-05-01T12+00:00:00"])
@example(["1200-01-01T00:00:00.123456789Z", "2500-01-01T00:00:00.123456789Z"])
def test_times_that_are_written_alike(texts: list[str]) -> None:
    assert exactly(pl.Series(texts), "create_time") == [instant(text) for text in texts]


@many
@given(
    st.lists(st.tuples(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(0, 999)), min_size=1),
    st.sampled_from(["UTC", "Asia/Tokyo"]),
)
def test_nanoseconds_are_cut(drawn: list[tuple[datetime, int]], zone: str) -> None:
    moments = [time.replace(tzinfo=UTC) for time, _ in drawn]
    counts = [
        (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000 + nanoseconds
        for moment, (_, nanoseconds) in zip(moments, drawn, strict=True)
    ]
    assert exactly(pl.Series(counts).cast(pl.Datetime("ns", zone)), "create_time") == moments


@pytest.mark.parametrize(
    "dtype", [pl.Datetime("ns"), pl.Datetime("us"), pl.Datetime("ms"), pl.Date, pl.Int64, pl.Boolean]
)
def test_what_has_no_zone_is_no_time(dtype: Any) -> None:
    assert exactly(pl.Series([1]).cast(dtype), "create_time") == [REFUSED]


# --- money ----------------------------------------------------------------------------------------------------------

PLACES = Decimal(1).scaleb(-10)
floats = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.integers(0, 10**15).map(lambda units: units / 10**10)
    | st.tuples(st.integers(1, 10**17), st.integers(-32, 5)).map(lambda parts: float(f"{parts[0]}e{parts[1]}"))
    | st.tuples(st.integers(0, 10**6), st.sampled_from([4, 5, 6])).map(lambda parts: float(f"{parts[0]}{parts[1]}e-11"))
)
ODD_PRICES = [
    4e-11,
    5e-11,
    1.5e-10,
    2.5e-10,
    5.000000000000001e-11,
    2.0000000000000002e-05,
    12345678.1,
    1e19,
    1e-300,
    -0.0,
]


def price(number: Decimal, rounded: bool) -> Decimal | str:
    """The price that a number is, by the definition."""
    if not number.is_finite():
        return REFUSED
    with localcontext(prec=400):
        exact = number.quantize(PLACES, ROUND_HALF_EVEN)
        return exact if rounded or exact == number else REFUSED


@many
@given(st.lists(floats, min_size=1, max_size=50), st.booleans())
@example(ODD_PRICES, False)
@example(ODD_PRICES, True)
def test_prices_as_floats(numbers: list[float], rounded: bool) -> None:
    wanted = [price(Decimal(repr(number)), rounded) if abs(number) < 1e19 else REFUSED for number in numbers]
    assert exactly(pl.Series(numbers), "total_price", Leeway(round_prices=rounded)) == wanted


@many
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50), st.booleans())
@example([0.012900000438094139, 0.10000000149011612, 2313849.75, 199779.625], False)
def test_prices_as_short_floats_are_their_shortest_decimal(numbers: list[float], rounded: bool) -> None:
    shortest = (Decimal(np.format_float_scientific(np.float32(number), unique=True)) for number in numbers)
    found = exactly(pl.Series(numbers, dtype=pl.Float32), "total_price", Leeway(round_prices=rounded))
    assert found == [price(number, rounded) if abs(number) < 1e19 else REFUSED for number in shortest]


@many
@given(st.lists(st.integers(-(10**20), 10**20), min_size=1, max_size=50), st.integers(0, 18), st.booleans())
@example([5, 15, 25, -5, -15], 11, True)
def test_prices_as_decimals(units: list[int], scale: int, rounded: bool) -> None:
    numbers = [Decimal(unit).scaleb(-scale) for unit in units]
    series = pl.Series(numbers, dtype=pl.Decimal(38, scale))
    wanted = [price(number, rounded) for number in numbers]
    assert exactly(series, "total_price", Leeway(round_prices=rounded)) == wanted


@pytest.mark.parametrize(
    "values", [pl.Series([True]), pl.Series(["0.1"]), pl.Series([b"0.1"]), pl.Series([timedelta(1)])]
)
def test_what_is_no_number_is_no_price(values: pl.Series) -> None:
    assert exactly(values, "total_price") == [REFUSED]


def test_tiny_prices_are_not_lost() -> None:
    tiny = pl.DataFrame({"total_price": [4e-11, 4e-11]})
    assert read(tiny, "total_price") == REFUSED
    assert read(tiny, "total_price", Leeway(round_prices=True)) == [Decimal(0)] * 2
    short = pl.DataFrame({"total_price": pl.Series([0.1, 0.0129], dtype=pl.Float32)})
    assert read(short, "total_price") == [Decimal("0.1"), Decimal("0.0129")]


# --- counts, durations, rates ---------------------------------------------------------------------------------------

INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


@pytest.mark.parametrize("column", ["prompt_tokens", "latency_ms"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_counts_as_integers(dtype: Any, column: str) -> None:
    ends = [pl.select(end).item() for end in (dtype.min(), dtype.max())]
    wanted = [number if number < 2**63 else REFUSED for number in (*ends, 7)]
    assert exactly(pl.Series([*ends, 7], dtype=dtype), column) == wanted


whole = st.integers(-(2**60), 2**60).map(float) | st.integers(-5000, 5000).map(lambda half: half / 2)


@many
@given(st.lists(st.floats() | whole, min_size=1, max_size=50))
@example([2.0**53, 2.0**53 - 1, 0.5, 1.5, -0.0])
def test_counts_and_durations_as_floats(numbers: list[float]) -> None:
    sure = [math.isfinite(number) and abs(number) < 2**53 for number in numbers]
    counts = [int(one) if ok and one == math.floor(one) else REFUSED for ok, one in zip(sure, numbers, strict=True)]
    assert exactly(pl.Series(numbers), "prompt_tokens") == counts
    milliseconds = [round(one) if ok else REFUSED for ok, one in zip(sure, numbers, strict=True)]
    assert exactly(pl.Series(numbers), "latency_ms") == milliseconds
    rates = [number if math.isfinite(number) else REFUSED for number in numbers]
    assert exactly(pl.Series(numbers), "tokens_per_second") == rates


@many
@given(st.lists(st.integers(-(10**16), 10**16), min_size=1, max_size=50), st.integers(0, 6))
def test_counts_as_decimals(units: list[int], scale: int) -> None:
    numbers = [Decimal(unit).scaleb(-scale) for unit in units]
    wanted = [int(number) if number == number.to_integral_value() else REFUSED for number in numbers]
    assert exactly(pl.Series(numbers, dtype=pl.Decimal(30, scale)), "prompt_tokens") == wanted


@many
@given(st.lists(st.integers(-(10**14), 10**14), min_size=1, max_size=50), st.sampled_from(["ns", "us", "ms"]))
@example([500_000, 1_500_999, -1_500_999, -1], "ns")
@example([2_500, -2_500, 3_500], "us")
def test_durations_of_any_unit_are_milliseconds(counts: list[int], unit: Any) -> None:
    scale = {"ns": Decimal("0.001"), "us": Decimal(1), "ms": Decimal(1000)}[unit]
    microseconds = [int(count * scale) for count in counts]
    wanted = [int((Decimal(count) / 1000).to_integral_value(ROUND_HALF_EVEN)) for count in microseconds]
    assert exactly(pl.Series(counts).cast(pl.Duration(unit)), "latency_ms") == wanted
    assert exactly(pl.Series(counts).cast(pl.Duration(unit)), "prompt_tokens") == [REFUSED] * len(counts)


# --- text -----------------------------------------------------------------------------------------------------------

UUID_TEXT = re.compile("[0-9A-Fa-f-]{32,36}")


@many
@given(
    st.lists(st.binary(max_size=40) | st.text(max_size=10).map(lambda text: text.encode("utf-8", "ignore")), min_size=1)
)
@example([UUID(int=10**38).bytes, str(UUID(int=10**38)).upper().encode(), b"\xff", b"short"])
def test_bytes_are_text_in_utf8_or_a_uuid(values: list[bytes]) -> None:
    def text(value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return REFUSED

    def identifier(value: bytes) -> str:
        if len(value) == 16:
            return str(UUID(bytes=value))
        return text(value).lower() if UUID_TEXT.fullmatch(text(value)) else REFUSED

    assert exactly(pl.Series(values), "model_name") == list(map(text, values))
    assert exactly(pl.Series(values), "user_id") == list(map(identifier, values))


@many
@given(st.lists(st.none() | st.text(alphabet="eurUSDß€ \t\n", max_size=5), min_size=1))
@example(["usd", "USD", " EUR ", "eur", "€", "€ur", "ab"])
def test_currencies_have_one_spelling(texts: list[str | None]) -> None:
    wanted = [None if text is None else read_currency(text) for text in texts]
    assert exactly(pl.Series(texts, dtype=pl.String), "currency") == wanted
    details = [None if text is None else json.dumps({"currency": text}) for text in texts]
    assert read(pl.DataFrame({"price_details": details}), "currency") == wanted


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (pl.Series([429]), "429"),
        (pl.Series([429.0]), "429"),
        (pl.Series([429.5]), REFUSED),
        (pl.Series([True]), REFUSED),
        (pl.Series([Decimal("429")]), REFUSED),
        (pl.Series([date(2026, 5, 1)]), REFUSED),
        (pl.Series(["429"], dtype=pl.Categorical), "429"),
        (pl.Series(["429"], dtype=pl.Enum(["429"])), "429"),
    ],
)
def test_codes_of_errors(values: pl.Series, wanted: Any) -> None:
    assert exactly(values, "error_code") == [wanted]


@many
@given(
    st.lists(
        st.text(alphabet="abcDEF019-xZ", max_size=40) | st.uuids().map(lambda value: str(value).upper()), min_size=1
    )
)
def test_ids_that_are_uuids_are_in_lower_case(texts: list[str]) -> None:
    wanted = [text.lower() if UUID_TEXT.fullmatch(text) else text for text in texts]
    assert exactly(pl.Series(texts), "user_id") == wanted


# --- JSON -----------------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
numbers_as_text = st.sampled_from(["12", "0.1", "1e3", "-5", " 1", "1_0", "0x1", "inf", "nan", "", "1.", ".5", "+1"])
json_values = st.recursive(
    scalars | numbers_as_text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
NOTHING: tuple[Any, ...] = (None, False, 0, 0.0, "", [], {})


def number_in(value: Any) -> float | str | None:
    """The number that a JSON value is, by the definition."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text, re.ASCII):
        return REFUSED
    return float(text)


@many
@given(st.fixed_dictionaries({}, optional={"cached_tokens": json_values, "x": json_values}) | json_values)
@example({"cached_tokens": True})
@example({"cached_tokens": 9007199254740993})
@example([{"cached_tokens": 1}])
@example(-0.0)
def test_counts_inside_json(told: Any) -> None:
    found = read(pl.DataFrame({"prompt_tokens_details": [json.dumps(told)]}), "cached_tokens")
    if not isinstance(told, dict):
        assert found == ([None] if told in NOTHING else REFUSED)
        return
    number = number_in(told.get("cached_tokens"))
    if isinstance(number, float):
        is_whole = math.isfinite(number) and number == math.floor(number) and abs(number) < 2**53
        assert found == ([int(number)] if is_whole else REFUSED)
    else:
        assert found == (REFUSED if number == REFUSED else [None])


@many
@given(json_values)
@example("0.1")
@example(0.30000000000000004)
@example(1e-300)
@example(1e19)
def test_prices_inside_json_are_rounded(value: Any) -> None:
    found = read(pl.DataFrame({"price_details": [json.dumps({"input_price": value})]}), "input_price")
    number = number_in(value)
    if isinstance(number, float):
        wanted = price(Decimal(repr(number)), rounded=True) if abs(number) < 1e19 else REFUSED
        assert found == (REFUSED if wanted == REFUSED else [wanted])
    else:
        assert found == (REFUSED if number == REFUSED else [None])


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", '{"a": 01}', "[1", "nul", '{"cached_tokens": NaN}', '{"a": 1} {}', "{},{}"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    assert read(pl.DataFrame({"prompt_tokens_details": ["{}", text]}), "cached_tokens") == REFUSED


def test_details_may_be_structs() -> None:
    structs = pl.Series([{"cached_tokens": 3, "x": "y"}, None, {"cached_tokens": None, "x": None}])
    assert read(pl.DataFrame({"prompt_tokens_details": structs}), "cached_tokens") == [3, None, None]


ODD = [
    "[1]",
    '{"cached_tokens": "4"}',
    '{"cached_tokens": 4, "x": 1e999}',
    "0",
    "null",
    '{"cached_tokens": [1]}',
    "{broken",
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("place", [0, 3_000, 4_999])
def test_only_the_rows_around_an_odd_one_are_read_one_by_one(
    odd: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly: list[str] = []

    def noted(text: str) -> Any:
        slowly.append(text)
        return read_json(text)

    monkeypatch.setattr(details, "read_json", noted)
    texts = [json.dumps({"cached_tokens": number}) for number in range(5_000)]
    texts[place] = odd
    frame = pl.DataFrame({"id": [str(number) for number in range(5_000)], "prompt_tokens_details": texts})
    wanted: Sequence[int | None] = [
        number if number != place else (4 if "4" in odd else None) for number in range(5_000)
    ]
    if odd in ("[1]", "{broken", '{"cached_tokens": [1]}'):
        with pytest.raises(UsageError, match=f"prompt_tokens_details of the call {place} "):
            list(FrameCalls(frame).batches(Selection(("cached_tokens",), {}, None, None)))
    else:
        assert read(frame, "cached_tokens") == wanted
    assert len(slowly) <= 32


def test_the_same_column_of_many_odd_rows() -> None:
    texts = [json.dumps({"cached_tokens": str(number) if number % 7 == 0 else number}) for number in range(3_000)]
    assert read(pl.DataFrame({"prompt_tokens_details": texts}), "cached_tokens") == list(range(3_000))
