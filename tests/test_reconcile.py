"""A bill that was made of the calls themselves agrees with them, whatever they are; each planted fault is one finding.

The bills are made by `tests.bills`, which shares nothing with the package.
"""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage.audit.bills import KINDS, Reconciliation, reconcile
from mofa_usage.errors import UsageError
from mofa_usage.usage import UsageFrame, load_usage
from mofa_usage.usage.held import HeldFrame
from tests import bills
from tests.plain_analysis import SCHEMA, Row, relation
from tests.proofs import trials

FIRST = date(2026, 5, 1)
DAYS = 8
START = datetime(2026, 5, 1, tzinfo=UTC)
COLUMNS = {**SCHEMA, "cache_write_1h_tokens": pl.Int64}
PARTS = {"uncached": "input", "cached": "cached", "output": "output"}


def usage(rows: Sequence[Row], **options: Any) -> UsageFrame:
    return UsageFrame(HeldFrame(pl.DataFrame(list(rows), schema=COLUMNS)), **options)


@st.composite
def worlds(draw: st.DrawFn) -> list[Row]:
    """Calls of both providers, priced as their bills are."""

    def one() -> Row:
        model = draw(st.sampled_from(sorted(bills.PRICES)))
        prompt, output = draw(st.integers(1, 5000)), draw(st.integers(0, 2000))
        cached = draw(st.integers(0, prompt))
        fields: dict[str, Any] = {"cached_tokens": draw(st.sampled_from([None, cached]))}
        if model.startswith("claude"):
            written = draw(st.integers(0, prompt - (fields["cached_tokens"] or 0)))
            fields |= {"cache_write_tokens": written, "cache_write_1h_tokens": draw(st.integers(0, written))}
        fields["service_tier"] = draw(st.sampled_from([None, "batch"]))
        if draw(st.booleans()):  # asked for by another name, which the answer tells
            fields |= {"served_model": model}
        when = START + timedelta(seconds=draw(st.integers(0, DAYS * 86_400 - 1)))
        return bills.made(when, model, prompt, output, **fields)

    return [one() for _ in range(draw(st.integers(0, 12)))]


@pytest.mark.proof
@settings(max_examples=trials(3, 90))
@given(worlds(), st.integers(1, DAYS), st.randoms(use_true_random=False))
def test_clean_data_gives_no_finding_and_both_sides_are_the_sums(rows: list[Row], size: int, chance: Any) -> None:
    pages = bills.bill(rows, FIRST, DAYS, size)
    found = usage(rows).reconcile(pages)
    assert found.is_clean, found.findings["sentence"].to_list()
    assert_sides(found, rows)
    chance.shuffle(pages)
    chance.shuffle(rows)
    again = usage(rows).reconcile(pages)
    assert again.is_clean
    assert again.comparison.equals(found.comparison)


def assert_sides(found: Reconciliation, rows: Sequence[Row]) -> None:
    """Tokens, requests and money of each day and model are those of the calls, on both sides."""
    groups: dict[tuple[date, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["create_time"].date(), bills.model_of(row)), []).append(row)
    sides = {(row["day"], row["model_name"]): row for row in found.comparison.to_dicts()}
    assert set(sides) == set(groups)
    for key, same in groups.items():
        for side in ("billed", "recorded"):
            shown = sides[key]
            for name, part in PARTS.items():
                assert shown[f"{name}_{side}"] == bills.total(same, part)
            assert shown[f"written_{side}"] == bills.total(same, "written") + bills.total(same, "hour")
            cost = sum(Fraction(bills.price(row)) for row in same)
            assert shown[f"cost_{side}"] is None or abs(Fraction(shown[f"cost_{side}"]) - cost) <= Fraction(1, 10**9)
            if bills.is_openai(same[0]):
                assert shown[f"requests_{side}"] == len(same)
        assert shown["tokens_difference"] == 0


def world(days: int = DAYS, calls: int = 12) -> list[Row]:
    """Calls on every day, of every model, some of them batches."""
    chance = random.Random(4)
    rows = []
    for number in range(days * calls):
        model = sorted(bills.PRICES)[number % 4]
        prompt = chance.randrange(1000, 9000)
        cached = chance.randrange(prompt // 2)
        fields: dict[str, Any] = {"cached_tokens": cached}
        if model.startswith("claude"):
            written = chance.randrange(2, prompt - cached)
            fields |= {"cache_write_tokens": written, "cache_write_1h_tokens": chance.randrange(1, written)}
        if number % 5 == 0:
            fields["service_tier"] = "batch"
        # Calls at all hours, so that no day begins or ends without any.
        when = START + timedelta(days=number // calls, seconds=86_400 * (number % calls) // calls + 600)
        rows.append(bills.made(when, model, prompt, chance.randrange(1, 2000), **fields))
    return rows


WORLD = world()


def pages(rows: Sequence[Row] = WORLD, size: int = 5) -> list[dict[str, Any]]:
    return bills.bill(rows, FIRST, DAYS, size)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def kinds(found: Reconciliation) -> list[tuple[Any, ...]]:
    return found.findings.select("kind", "day", "provider_name", "model_name").rows()


def buckets(several: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for page in several:
        for bucket in page["data"]:
            yield page, bucket


def is_on(bucket: dict[str, Any], when: date) -> bool:
    return bucket.get("start_time") == bills.seconds(when) or str(bucket.get("starting_at", "")).startswith(str(when))


def standard(row: Row) -> Row:
    """The call as if it had been at the standard tier, priced so."""
    plain = row | {"service_tier": None}
    return plain | {"total_price": bills.price(plain)}


def as_five_minutes(row: Row) -> Row:
    return row | {"total_price": bills.price(row | {"cache_write_1h_tokens": 0})}


def test_a_day_that_was_not_recorded() -> None:
    kept = [row for row in WORLD if row["create_time"].date() != day(3)]
    found = usage(kept).reconcile(pages())
    assert kinds(found) == [("missing_in_records", day(3), None, None)]
    gone = sum(row["prompt_tokens"] + row["completion_tokens"] for row in WORLD if row not in kept)
    assert found.findings.select("billed", "recorded", "difference", "unit").row(0) == (gone, 0, gone, "tokens")
    of_one = [row for row in WORLD if row in kept or not bills.is_openai(row)]
    assert kinds(usage(of_one).reconcile(pages())) == [("missing_in_records", day(3), "OpenAI", None)]


def test_a_day_that_the_bill_has_not() -> None:
    without = pages()
    for page in without:
        page["data"] = [bucket for bucket in page["data"] if not is_on(bucket, day(2))]
    assert kinds(usage(WORLD).reconcile(without)) == [("missing_in_bill", day(2), None, None)]
    empty = pages()
    for _, bucket in buckets(empty):
        if is_on(bucket, day(2)):
            bucket["results"] = []
    assert kinds(usage(WORLD).reconcile(empty)) == [("missing_in_bill", day(2), None, None)]


def test_a_hole_between_two_downloads_matters_only_if_there_are_calls_in_it() -> None:
    early = bills.bill(WORLD, FIRST, 2)
    late = bills.bill(WORLD, day(4), 4)
    assert {kind for kind, *_ in kinds(usage(WORLD).reconcile([*early, *late]))} == {"missing_in_bill"}
    outside = [row for row in WORLD if not day(2) <= row["create_time"].date() < day(4)]
    assert usage(outside).reconcile([*early, *late]).is_clean


def test_a_doubled_page_is_counted_once() -> None:
    twice = pages()
    found = usage(WORLD).reconcile([*twice, copy.deepcopy(twice[1])])
    assert kinds(found) == [("doubled_page", day(5), "OpenAI", None)]
    assert found.by_day.equals(usage(WORLD).reconcile(twice).by_day)


def test_pages_of_other_downloads_that_differ_overlap() -> None:
    earlier = bills.openai_usage(WORLD[:40], FIRST, 4)
    found = usage(WORLD).reconcile([*pages(), *earlier])
    assert [kind for kind, *_ in kinds(found)] in (["doubled_page", "overlapping_pages"], ["overlapping_pages"])


def test_pages_of_two_projects_are_parts_of_one_whole() -> None:
    halves = [[row for number, row in enumerate(WORLD) if number // 4 % 2 == half] for half in (0, 1)]
    several = []
    for project, half in zip(("proj_a", "proj_b"), halves, strict=True):
        for page in bills.openai_usage(half, FIRST, DAYS):
            for result in (result for bucket in page["data"] for result in bucket["results"]):
                result["project_id"] = project
            several.append(page)
    assert usage(WORLD).reconcile(several).is_clean


@pytest.mark.parametrize("gone", [0, 1, 2, 3, 5, 6, 8, 9, 11])
def test_pages_that_are_cut(gone: int) -> None:
    cut = pages(size=3)
    left = [page for number, page in enumerate(cut) if number != gone]
    (kind, _, _, model), *others = kinds(usage(WORLD).reconcile(left))
    assert (kind, model, others) == ("cut_pages", None, [])


def test_a_report_that_ends_before_the_other_one_says_so() -> None:
    found = usage(WORLD).reconcile(bills.openai_usage(WORLD, FIRST, 3) + bills.openai_costs(WORLD, FIRST, DAYS))
    assert found.is_clean
    assert f"completions ends before {DAYS - 3} days from {day(3)}" in found.notes[0]


def test_costs_may_begin_after_days_that_were_prepaid() -> None:
    rows = [row for row in WORLD if not bills.is_openai(row)]
    rows = [row | {"service_tier": "priority"} if row["create_time"].date() == FIRST else row for row in rows]
    asked = bills.anthropic_usage(rows, FIRST, DAYS) + bills.anthropic_costs(rows, day(1), DAYS - 1)
    assert "cut_pages" not in usage(rows).reconcile(asked).findings["kind"]
    rows[0] |= {"service_tier": None}
    asked = bills.anthropic_usage(rows, FIRST, DAYS) + bills.anthropic_costs(rows, day(1), DAYS - 1)
    assert "cut_pages" in usage(rows).reconcile(asked).findings["kind"]


def test_cents_that_were_taken_for_dollars() -> None:
    small = pages()
    for _, bucket in buckets(small):
        for result in bucket["results"]:
            if isinstance(result.get("amount"), str):
                result["amount"] = str(Decimal(result["amount"]) / 100)
    assert kinds(usage(WORLD).reconcile(small)) == [("cents", day(0), "Anthropic", None)]
    large = [row | {"total_price": row["total_price"] * 100} for row in WORLD]
    assert kinds(usage(large).reconcile(pages())) == [("cents", day(0), None, None)]
    once = [
        row | {"total_price": row["total_price"] * 100} if row["create_time"].date() == day(1) else row for row in WORLD
    ]
    assert kinds(usage(once).reconcile(pages())) == [("cents", day(1), None, None)]


def test_a_batch_that_was_recorded_as_standard() -> None:
    model = "gpt-4o-2024-08-06"
    wrong = [standard(row) if row["model_name"] == model else row for row in WORLD]
    ((kind, _, provider, name),) = kinds(usage(wrong).reconcile(pages()))
    assert (kind, provider, name) == ("wrong_tier", "OpenAI", model)


def test_a_batch_without_tiers_in_the_bill_is_told_by_its_price() -> None:
    model = "claude-sonnet-4-20250514"
    batch = [row | {"service_tier": "batch" if row["model_name"] == model else None} for row in WORLD]
    billed = [row | {"total_price": bills.price(row)} for row in batch]
    without = pages(billed)
    for _, bucket in buckets(without):
        for result in bucket["results"]:
            result.pop("service_tier", None)
            result.pop("batch", None)
    recorded = [standard(row) for row in billed]
    found = usage(recorded).reconcile(without)
    assert kinds(found) == [("wrong_tier", day(0), "Anthropic", model)]
    assert "half" in found.findings["sentence"][0]


def test_the_priority_tier_is_not_in_the_costs_of_anthropic() -> None:
    model = "claude-sonnet-4-20250514"
    billed = [row | {"service_tier": "priority"} if row["model_name"] == model else row for row in WORLD]
    found = usage(billed).reconcile(pages(billed))
    assert found.is_clean
    assert any("priority" in note for note in found.notes)
    recorded = [standard(row) if row["model_name"] == model else row for row in billed]
    assert kinds(usage(recorded).reconcile(pages(billed))) == [("wrong_tier", day(0), "Anthropic", model)]


@pytest.mark.parametrize("tells_kinds", [True, False])
def test_an_hour_in_the_cache_that_was_priced_as_five_minutes(tells_kinds: bool) -> None:
    model = "claude-sonnet-4-20250514"
    rows = [standard(row) for row in WORLD]
    billed = pages(rows)
    if not tells_kinds:  # then the price book says what an hour costs more
        for _, bucket in buckets(billed):
            for result in bucket["results"]:
                result.pop("token_type", None)
    wrong = [as_five_minutes(row) if row["model_name"] == model else row for row in rows]
    assert kinds(usage(wrong).reconcile(billed)) == [("cache_lifetime", day(0), "Anthropic", model)]
    unsaid = [row | {"cache_write_1h_tokens": None} for row in wrong]
    assert kinds(usage(unsaid).reconcile(billed)) == [("cache_lifetime", day(0), "Anthropic", model)]


def test_lifetimes_that_were_recorded_wrong() -> None:
    model = "claude-3-5-haiku-20241022"
    wrong = [row | {"cache_write_1h_tokens": 0} if row["model_name"] == model else row for row in WORLD]
    assert kinds(usage(wrong).reconcile(pages())) == [("cache_lifetime", day(0), "Anthropic", model)]


@pytest.mark.parametrize("model", sorted(bills.PRICES))
def test_retries_that_were_billed_and_not_recorded(model: str) -> None:
    retried = next(row for row in WORLD if row["model_name"] == model and row["create_time"].date() == day(2))
    found = usage(WORLD).reconcile(pages([*WORLD, retried]))
    provider = "OpenAI" if bills.is_openai(retried) else "Anthropic"
    assert kinds(found) == [("unrecorded_requests", day(2), provider, model)]
    assert found.findings["difference"][0] == retried["prompt_tokens"] + retried["completion_tokens"]
    assert kinds(usage([*WORLD, retried]).reconcile(pages())) == [("unbilled_requests", day(2), provider, model)]


def test_everything_twice() -> None:
    assert {kind for kind, *_ in kinds(usage([*WORLD, *WORLD]).reconcile(pages()))} == {"recorded_twice"}
    assert {kind for kind, *_ in kinds(usage(WORLD).reconcile(pages([*WORLD, *WORLD])))} == {"billed_twice"}


def test_models_that_one_side_does_not_know() -> None:
    model = "o3-2025-04-16"
    others = [row for row in WORLD if row["model_name"] != model]
    first = min(row["create_time"].date() for row in WORLD if row["model_name"] == model)
    assert kinds(usage(others).reconcile(pages())) == [("unrecorded_model", first, "OpenAI", model)]
    assert kinds(usage(WORLD).reconcile(pages(others))) == [("unbilled_model", first, "OpenAI", model)]
    renamed = [row | {"model_name": "gpt-4.1"} if row["model_name"] == model else row for row in WORLD]
    assert kinds(usage(renamed).reconcile(pages())) == [("other_model", first, "OpenAI", model)]


def test_a_provider_of_which_nothing_is_recorded() -> None:
    rows = [row for row in WORLD if bills.is_openai(row)]
    assert kinds(usage(rows).reconcile(pages())) == [("provider_not_recorded", day(0), "Anthropic", None)]


def test_names_that_say_no_date_are_those_of_the_dated_models() -> None:
    names = {"gpt-4o-2024-08-06": "openai/gpt-4o", "claude-3-5-haiku-20241022": "claude-3-5-haiku-latest"}
    rows = [row | {"model_name": names.get(row["model_name"], row["model_name"])} for row in WORLD]
    assert usage(rows).reconcile(pages()).is_clean


def test_who_resells_sends_another_bill() -> None:
    resold = [row | {"provider_name": "azure" if bills.is_openai(row) else "aws.bedrock"} for row in WORLD]
    assert usage([*WORLD, *resold]).reconcile(pages()).is_clean
    named = [row | {"provider_name": "openai" if bills.is_openai(row) else "anthropic"} for row in WORLD]
    deployed = [row | {"model_name": "mine", "served_model": row["model_name"]} for row in named]
    assert usage(deployed).reconcile(pages()).is_clean


@pytest.mark.parametrize("hours", [-7, 2, 5.5])
def test_days_of_another_zone(hours: float) -> None:
    rows = world(calls=48)
    moved = [row | {"create_time": row["create_time"] + timedelta(hours=hours)} for row in rows]
    found = usage(moved).reconcile(pages(rows))
    assert [kind for kind, *_ in kinds(found)] == ["zone_shift"]
    assert f"{abs(int(hours))} h" in found.findings["sentence"][0]


def test_buckets_that_begin_at_another_hour_say_so() -> None:
    several = bills.openai_usage(
        [row | {"create_time": row["create_time"] + timedelta(hours=2)} for row in WORLD], FIRST, DAYS
    )
    for _, bucket in buckets(several):
        bucket["start_time"] -= 7200
        bucket["end_time"] -= 7200
    found = usage(WORLD).reconcile(several)
    assert [kind for kind, *_ in kinds(found)] == ["zone_shift"]
    assert "begin at 22:00 UTC" in found.findings["sentence"][0]


def test_calls_that_went_on_over_midnight_may_count_when_they_end() -> None:
    late = [
        bills.made(START + timedelta(days=number, seconds=86_399), "o3-2025-04-16", 100, 10, latency_ms=5000)
        for number in range(3)
    ]
    ended = [row | {"create_time": row["create_time"] + timedelta(seconds=5)} for row in late]
    assert usage([*WORLD, *late]).reconcile(pages([*WORLD, *ended])).is_clean
    assert usage([*WORLD, *late]).reconcile(pages([*WORLD, *late])).is_clean


def test_calls_of_unknown_tokens_are_no_calls_without_tokens() -> None:
    unknown = dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "total_price"))
    timed_out = WORLD[1] | unknown | {"status": "timeout", "token_source": "none"}
    rows = [timed_out if row is WORLD[1] else row for row in WORLD]
    ((kind, when, *_),) = kinds(usage(rows).reconcile(pages()))
    assert (kind, when) == ("unknown_tokens", day(0))
    refused = bills.made(START, "gpt-4o-2024-08-06", 0, 0, status="rate_limited", total_price=None)
    assert usage([*WORLD, refused]).reconcile(pages()).is_clean


def test_prompts_without_what_was_cached() -> None:
    rows = [
        row | {"prompt_tokens": row["prompt_tokens"] - row["cached_tokens"], "cached_tokens": None}
        if bills.is_openai(row)
        else row
        for row in WORLD
    ]
    assert {kind for kind, *_ in kinds(usage(rows).reconcile(pages()))} == {"token_kinds"}


def test_a_price_of_another_kind_on_one_day_is_one_finding() -> None:
    model = "o3-2025-04-16"
    dearer = [
        row | {"total_price": row["total_price"] + Decimal("0.01")}
        if row["model_name"] == model and row["create_time"].date() == day(4)
        else row
        for row in WORLD
    ]
    assert kinds(usage(dearer).reconcile(pages())) == [("cost_differs", day(4), "OpenAI", model)]


def test_another_price_is_one_finding_where_the_factor_is_the_same() -> None:
    cheaper = [
        row | {"total_price": row["total_price"] * Decimal("0.9")} if bills.is_openai(row) else row for row in WORLD
    ]
    assert kinds(usage(cheaper).reconcile(pages())) == [("cost_differs", day(0), "OpenAI", None)]


def test_a_call_without_a_price_is_unknown_and_was_not_free() -> None:
    unpriced = [row | {"total_price": None} if bills.is_openai(row) else row for row in WORLD]
    found = usage(unpriced).reconcile(pages())
    assert found.is_clean
    assert any("have no price" in note for note in found.notes)


def test_what_costs_beside_the_models_is_no_difference_of_theirs() -> None:
    several = pages()
    search = {"amount": "500", "currency": "USD", "description": "Web Search Usage", "model": None}
    for page, bucket in buckets(several):
        if is_on(bucket, day(1)) and "amount" in bucket["results"][0] and "object" not in page:
            bucket["results"].append({**search, "token_type": None, "service_tier": None})
    found = usage(WORLD).reconcile(several)
    assert found.is_clean
    assert any("Web Search Usage" in note for note in found.notes)
    searched = next(row for row in WORLD if not bills.is_openai(row) and row["create_time"].date() == day(1))
    paid = [row | {"total_price": row["total_price"] + 5} if row is searched else row for row in WORLD]
    assert usage(paid).reconcile(several).is_clean


def test_reports_that_are_not_grouped_by_model_are_compared_by_day() -> None:
    several = pages()
    for _, bucket in buckets(several):
        for result in bucket["results"]:
            result["model"] = None
            if "line_item" in result:
                result["line_item"] = None
    found = usage(WORLD).reconcile(several)
    assert found.is_clean
    assert set(found.comparison["model_name"]) == {None}
    assert [kind for kind, *_ in kinds(usage(WORLD[1:]).reconcile(several))] == ["unrecorded_requests"]


def test_only_whole_days_that_were_loaded_are_compared() -> None:
    start, end = START + timedelta(days=2, hours=1), START + timedelta(days=5)
    part = [row for row in WORLD if start <= row["create_time"] < end]
    found = usage(part, start=start, end=end).reconcile(pages())
    assert found.is_clean
    assert set(found.by_day["day"]) == {day(3), day(4)}
    assert any("not loaded" in note for note in found.notes)


def test_embeddings_are_compared_with_their_own_report() -> None:
    embedded = bills.made(START, "text-embedding-3-small", 700, 0, operation="embeddings", total_price=None)
    assert usage([*WORLD, embedded]).reconcile(bills.openai_usage(WORLD, FIRST, DAYS)).is_clean
    result = {"object": "organization.usage.embeddings.result", "input_tokens": 700, "num_model_requests": 1}
    report: dict[str, Any] = bills.openai_usage([], FIRST, DAYS, DAYS)[0]
    report["data"][0]["results"] = [{**result, "model": "text-embedding-3-small"}]
    assert usage([*WORLD, embedded]).reconcile([*pages(), report]).is_clean
    assert kinds(usage(WORLD).reconcile([*pages(), report])) == [
        ("unrecorded_model", day(0), "OpenAI", "text-embedding-3-small")
    ]


def _tables(folder: Path) -> None:
    """Both consoles' exports of the calls."""
    head = "usage_date_utc,model_version,usage_type,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
    lines = [head + "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens"]
    costs = ["usage_date_utc,model,usage_type,token_type,cost_usd"]
    titles = {"claude-sonnet-4-20250514": "Claude Sonnet 4", "claude-3-5-haiku-20241022": "Claude Haiku 3.5"}
    rows = [row for row in WORLD if not bills.is_openai(row)]
    for (when, model, tier), same in bills.grouped(
        rows, lambda row: (row["create_time"].date(), row["model_name"], row["service_tier"])
    ):
        tokens = ",".join(str(bills.total(same, name)) for name in ("input", "written", "hour", "cached", "output"))
        lines.append(f"{when},{model},{tier or 'standard'},{tokens}")
        amount = sum(map(bills.price, same), Decimal(0))
        costs.append(f"{when},{titles[model]},{tier or 'message'},all,{amount:.2f}")
    (folder / "usage.csv").write_text("\n".join(lines))
    (folder / "costs.csv").write_text("\n".join(costs))


def test_exports_of_a_console_are_bills_too(tmp_path: Path) -> None:
    _tables(tmp_path)
    found = usage(WORLD).reconcile(tmp_path)
    assert found.is_clean, found.findings["sentence"].to_list()
    assert found.comparison.height == len({(row["create_time"].date(), row["model_name"]) for row in WORLD}) / 2


def test_a_folder_of_saved_pages(tmp_path: Path) -> None:
    for number, page in enumerate(pages()):
        (tmp_path / f"{number}.json").write_text(json.dumps(page, default=str))
    assert usage(WORLD).reconcile(tmp_path).is_clean
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        usage(WORLD).reconcile(tmp_path)


def test_calls_of_a_relation_in_another_zone_are_compared_alike() -> None:
    calls = relation(pl.DataFrame(WORLD, schema=COLUMNS), "Asia/Kathmandu")
    found, same = load_usage(calls).reconcile(pages()), usage(WORLD, tz="Asia/Kathmandu").reconcile(pages())
    assert found.is_clean
    assert found.comparison.equals(same.comparison)


def test_calls_need_few_columns() -> None:
    frame = pl.DataFrame(WORLD, schema=COLUMNS).select(
        "create_time", "model_name", "prompt_tokens", "completion_tokens"
    )
    found = UsageFrame(HeldFrame(frame)).reconcile(bills.openai_usage(WORLD, FIRST, DAYS))
    assert {kind for kind, *_ in kinds(found)} == {"token_kinds"}
    with pytest.raises(UsageError, match="completion_tokens"):
        UsageFrame(HeldFrame(frame.drop("completion_tokens"))).reconcile(pages())


def test_every_kind_of_finding_is_explained() -> None:
    said = Path(reconcile.__code__.co_filename).parent.rglob("*.py")
    text = "".join(path.read_text() for path in said if path.name != "findings.py")
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []


def test_it_says_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = usage(WORLD).reconcile(pages())
    assert clean.sentence.startswith("The bill agrees with what was recorded. Billed and recorded: ")
    assert clean.findings.sentence == "The bill agrees with what was recorded."
    wrong = [row | {"model_name": "<b>o9</b>"} if row["model_name"].startswith("o3") else row for row in WORLD]
    named = [row | {"provider_name": "openai"} if row["model_name"].startswith("<") else row for row in wrong]
    found = usage(named).reconcile(pages())
    assert "<b>o9</b>" in found.sentence
    assert "<b>o9" not in found._repr_html_()
    assert found.sentence.startswith("1 finding in the bill. OpenAI's o3-2025-04-16 ")
    figure = found.draw()
    assert [trace.name for trace in figure.data] == ["billed", "recorded", "difference"]


@pytest.mark.parametrize("spell", [str.upper, "openai/{}".format])
def test_a_model_is_the_same_however_it_is_spelled(spell: Any) -> None:
    rows = world()
    alike = [
        row
        | {"model_name": spell(row["model_name"]), "provider_name": "openai" if bills.is_openai(row) else "anthropic"}
        for row in rows
    ]
    found = usage(alike).reconcile(bills.bill(rows, FIRST, DAYS))
    assert found.is_clean, found.findings["sentence"].to_list()
    assert set(found.comparison["model_name"]) == set(bills.PRICES)


def test_prices_in_another_currency_are_not_missing() -> None:
    rows = world()
    pages = bills.bill(rows, FIRST, DAYS)
    euros = usage([row | {"currency": "EUR"} for row in rows]).reconcile(pages)
    assert euros.is_clean, euros.findings["sentence"].to_list()
    assert any("priced in EUR are not compared" in note for note in euros.notes)
