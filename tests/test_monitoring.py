"""Metrics are what Prometheus's own parser reads, add up to all calls, and never fall."""

import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mofa_usage import UsageError
from mofa_usage.monitoring import (
    LATENCY_SECONDS,
    Family,
    Usage,
    counted_usage,
    exposition,
    write_textfile,
)
from mofa_usage.records import ApiCallStatus, LLMApiCall
from mofa_usage.stores import InMemoryStore, Store, Tally
from tests.samples import call

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Series:
    """The series as Prometheus's parser reads them; none is there twice."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def some_calls(count: int, models: int = 6) -> list[LLMApiCall]:
    generator = random.Random(3)
    return [
        call(
            n,
            model_name=f"m{generator.randrange(models)}",
            status=generator.choice(["success", "failed"]),
            prompt_tokens=generator.randrange(1000),
            latency_ms=generator.choice([None, 100, 101, 2_500, 10**7]),
            total_price=generator.choice([None, Decimal(generator.randrange(10**12)).scaleb(-10)]),
            price_details={"currency": generator.choice(["USD", "EUR"])},
        )
        for n in range(count)
    ]


def expected(calls: list[LLMApiCall], named: set[str]) -> dict[tuple[str, frozenset[tuple[str, str]]], Decimal]:
    """Every series, added up call by call."""
    sums: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def add(name: str, call: LLMApiCall, value: Decimal | int, **labels: str) -> None:
        model = call.model_name if call.model_name in named else "other"
        key = f"mofa_usage_{name}", frozenset({"model": model, "status": str(call.status), **labels}.items())
        sums[key] += value  # type: ignore[assignment]

    for one in calls:
        add("calls_total", one, 1)
        add("calls_without_price_total", one, one.total_price is None)
        add("tokens_total", one, one.prompt_tokens, direction="prompt")
        add("tokens_total", one, one.completion_tokens, direction="completion")
        if one.total_price is not None:
            add("cost_total", one, one.total_price, currency=str(one.currency))
        known = one.latency_ms is not None
        add("latency_seconds_count", one, known)
        add("latency_seconds_sum", one, Decimal(one.latency_ms or 0) / 1000)
        for end in (*LATENCY_SECONDS, "+Inf"):
            add("latency_seconds_bucket", one, known and (one.latency_ms or 0) <= float(end) * 1000, le=end)
    return dict(sums)  # type: ignore[arg-type]


async def test_the_parser_of_prometheus_reads_what_the_calls_add_up_to(store: Store) -> None:
    calls = some_calls(300)
    await store.save_api_calls(calls)
    tokens = Counter[str]()
    for one in calls:
        tokens[one.model_name] += one.prompt_tokens + one.completion_tokens
    for top in (3, 20):
        text = exposition((await counted_usage(store, top=top)).families())
        named = {name for name, _ in tokens.most_common(top)}
        wanted = expected(calls, named)
        assert {key: pytest.approx(float(value), abs=1e-12) for key, value in wanted.items()} == read(text)
        exact = [line.split()[-1] for line in text.splitlines() if line.startswith("mofa_usage_cost_total")]
        costs = [value for (name, _), value in wanted.items() if name == "mofa_usage_cost_total"]
        assert sorted(map(Decimal, exact)) == sorted(costs)  # to the last digit


names = st.text(max_size=30)


@given(st.lists(names, unique=True, max_size=5), names)
def test_any_name_comes_back(models: list[str], currency: str) -> None:
    tallies = [
        Tally(name, ApiCallStatus.SUCCESS, 2, 0, 3, 4, {currency: Decimal("0.0000000001")}, 5, (1,) * 12)
        for name in models
    ]
    found = read(exposition(Usage(tallies, 20).families()))
    calls = {dict(labels)["model"] for name, labels in found if name == "mofa_usage_calls_total"}
    currencies = {dict(labels)["currency"] for name, labels in found if name == "mofa_usage_cost_total"}
    assert (calls, currencies) == (set(models), {currency} if models else set())


@given(names, names)
def test_any_meaning_and_label_can_be_said(meaning: str, label: str) -> None:
    text = exposition([Family("a", "gauge", meaning, (("", (("of", label),), 1),)), Family("b", "gauge", "None.", ())])
    assert read(text) == {("a", frozenset({("of", label)})): 1.0}


async def test_of_equally_heavy_models_the_first_names_have_series(tmp_path: Path) -> None:
    async with InMemoryStore() as store:
        await store.save_api_calls([call(n, model_name=name) for n, name in enumerate(["c", "b", "a", "other"])])
        usage = await counted_usage(store, top=2)
    assert usage.heaviest() == ("a", "b")
    assert {dict(labels)["model"] for _, labels in read(exposition(usage.families()))} == {"a", "b", "other"}


# --- the file -------------------------------------------------------------------------------------------------------


def tally(model: str, calls: int, tokens: int) -> Tally:
    latencies = (calls // 2, calls - calls // 2, *(0,) * 10)
    return Tally(model, ApiCallStatus.SUCCESS, calls, calls, tokens, 0, {}, calls * 10, latencies)


def counted(path: Path) -> dict[str, int]:
    """The calls by model that a file says."""
    found = read(path.read_bytes().decode())
    return {
        dict(labels)["model"]: int(value) for (name, labels), value in found.items() if name.endswith("calls_total")
    }


def test_counters_grow_by_what_came_whoever_is_named_and_whatever_is_deleted(tmp_path: Path) -> None:
    generator, path = random.Random(17), tmp_path / "usage.prom"
    there, tokens = Counter({f"m{n}": 100 for n in range(8)}), Counter({f"m{n}": 0 for n in range(8)})
    changes = 0
    for step in range(60):
        came = {name: generator.randrange(20) for name in there}
        before = counted(path) if step else {}
        for name, calls in came.items():
            there[name] += calls
            tokens[name] += calls * generator.randrange(1, 400)
        deleted = step % 7 == 6
        if deleted:
            for name in there:
                there[name] //= 3
        usage = Usage([tally(name, there[name], tokens[name]) for name in sorted(there)], 3)
        write_textfile(path, usage)
        after = counted(path)
        changes += before.keys() != after.keys()
        growth = {name: after[name] - before[name] for name in before.keys() & after.keys()}
        assert all(calls >= 0 for calls in growth.values())
        if not deleted and step:
            unnamed = sum(calls for name, calls in came.items() if name not in before)
            assert growth == {name: unnamed if name == "other" else came[name] for name in growth}
    assert changes > 3


def test_a_histogram_stays_one_when_slow_calls_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "usage.prom"
    quick, slow = tally("a", 10, 1), tally("a", 100, 1)
    for latencies in ((90, 10), (91, 0), (10, 5), (50, 0), (0, 0), (7, 1)):
        sums = replace(slow, calls=sum(latencies), latencies=(*latencies, *(0,) * 10))
        write_textfile(path, Usage([sums, replace(quick, model_name="b")], 5))
        found = read(path.read_text())
        ends = [
            found["mofa_usage_latency_seconds_bucket", frozenset({("model", "a"), ("status", "success"), ("le", end)})]
            for end in (*LATENCY_SECONDS, "+Inf")
        ]
        assert ends == sorted(ends)
        assert ends[-1] == found["mofa_usage_latency_seconds_count", frozenset({("model", "a"), ("status", "success")})]
    assert ends[:2] == [90 + 1 + 40 + 7, 10 + 5 + 1 + 138]


def test_a_file_is_whole_for_everybody_and_only_ours_is_replaced(tmp_path: Path) -> None:
    path, usage = tmp_path / "usage.prom", Usage([tally("\ud800\r\n\x1b", 1, 1)], 5)
    write_textfile(path, usage, [Family("up", "gauge", "Here.", (("", (), 1),))])
    assert [file.name for file in tmp_path.iterdir()] == ["usage.prom"]
    assert path.stat().st_mode & 0o044 == 0o044
    assert read(path.read_bytes().decode())["up", frozenset()] == 1
    for wrong, said in (
        (tmp_path / "usage.txt", "only files whose names end with .prom"),
        (tmp_path / "none" / "usage.prom", "No such file or directory"),
    ):
        with pytest.raises(UsageError, match=said):
            write_textfile(wrong, usage)
    path.write_text("# HELP theirs\n")
    with pytest.raises(UsageError, match="mofa-usage did not write it"):
        write_textfile(path, usage)
    path.write_text("# mofa-usage remembers: {\n")
    with pytest.raises(UsageError, match=r"no JSON; remove it"):
        write_textfile(path, usage)
    assert path.read_text() == "# mofa-usage remembers: {\n"


async def test_at_least_one_model_is_named() -> None:
    async with InMemoryStore() as store:
        with pytest.raises(UsageError, match="at least one model"):
            await counted_usage(store, top=0)
