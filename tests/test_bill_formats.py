"""Every format of a bill is read as its provider means it: tokens of disjoint kinds, amounts in dollars, UTC days."""

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mofa_usage.audit.bills.pages import Bucket, Counts, Line, Page
from mofa_usage.audit.bills.reading import pages_of
from mofa_usage.errors import UsageError

SAMPLES = Path(__file__).parent / "bill_samples"
MAY = 1_777_593_600 * 1_000_000
DAY = 86_400 * 1_000_000


def only(name: str) -> Page:
    (page,) = pages_of(SAMPLES / name)
    return page


def lines(name: str) -> list[tuple[Any, ...]]:
    """What can be compared of the lines of the first bucket."""
    return [
        (line.model, line.tier, line.counts or line.amount, line.requests or line.piece)
        for line in only(name).buckets[0].lines
    ]


def test_openai_input_includes_what_was_cached_and_audio_is_beside_it_in_older_reports() -> None:
    assert lines("openai_usage.json") == [
        ("gpt-audio-mini-2025-12-15", "standard", Counts(18_496, 8448, 500, 1020), 9),
        ("gpt-4o-2024-08-06", "batch", Counts(240, 800, 0, 507), 5),
    ]
    page = only("openai_usage.json")
    assert [(bucket.start, bucket.end) for bucket in page.buckets] == [(MAY, MAY + DAY), (MAY + DAY, MAY + 2 * DAY)]
    assert page.buckets[1].lines == ()
    assert (page.report.provider, page.report.kind) == ("openai", "completions")


def test_openai_costs_are_numbers_or_texts_and_name_models_in_their_line_items() -> None:
    assert lines("openai_costs.json") == [
        ("gpt-4o-mini-2024-07-18", None, Decimal(0), "cached"),
        ("gpt-4o-mini-2024-07-18", None, Decimal("0.0000045"), "uncached"),
        ("gpt-5.6-sol", "priority", Decimal("0.015"), "output"),
        ("gpt-audio-mini-2025-12-15", None, Decimal("0.25"), None),
        (None, None, Decimal("0.06"), None),
        (None, None, Decimal("0.000271"), None),
    ]
    assert {line.currency for line in only("openai_costs.json").buckets[0].lines} == {"USD"}
    zero = only("openai_costs.json").buckets[0].lines[0].amount
    assert str(zero) == "0"  # not one of six thousand places


def test_anthropic_uncached_input_is_apart_and_what_was_written_is_told_by_its_lifetime() -> None:
    assert lines("anthropic_usage.json") == [
        ("claude-sonnet-4-20250514", "standard", Counts(1500, 200, 1500, 500, written_1h=1000), None)
    ]


def test_anthropic_amounts_are_cents() -> None:
    assert lines("anthropic_costs.json") == [
        ("claude-sonnet-4-20250514", "batch", Decimal("412.8"), "written_1h"),
        (None, None, Decimal("1.2378912"), None),
    ]


def test_openai_exports_have_a_row_for_a_day_on_which_nothing_happened() -> None:
    assert lines("openai_usage.csv") == [("gpt-4o-2024-08-06", "standard", Counts(53_440, 5760, 0, 10_646), 10)]
    assert lines("openai_costs.csv") == [("gpt-5-nano", None, Decimal("0.895874"), "uncached")]
    for name in ("openai_usage.csv", "openai_costs.csv"):
        page = only(name)
        assert [len(bucket.lines) for bucket in page.buckets] == [1, 0]
        assert page.lists_all


def test_anthropic_exports_are_in_dollars_that_were_rounded() -> None:
    usage, costs = only("anthropic_usage.csv"), only("anthropic_costs.csv")
    assert lines("anthropic_usage.csv") == [
        ("claude-sonnet-4-20250514", "standard", Counts(109_911, 39_204, 2628, 34_988, written_1h=100), None)
    ]
    assert [(bucket.start - MAY) // DAY for bucket in usage.buckets] == [0, 2]
    assert not usage.lists_all
    assert lines("anthropic_costs.csv") == [
        ("Claude Sonnet 4", None, Decimal("0.33"), "uncached"),
        ("Claude Sonnet 4", None, Decimal("0.19"), "written_1h"),
        (None, "web_search", Decimal("0.1"), None),
    ]
    assert costs.buckets[0].lines[0].slack == Decimal("0.005")


def test_a_folder_has_reports_of_all_kinds_and_nothing_hidden(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"\x00")
    (tmp_path / "may").mkdir()
    page = json.loads((SAMPLES / "openai_usage.json").read_text())
    (tmp_path / "may" / "list.json").write_text(json.dumps([page, page]))
    (tmp_path / "may" / "lines.jsonl").write_text(f"{json.dumps(page)}\n\n{json.dumps(page)}\n")
    assert len(pages_of(tmp_path)) == 4
    assert len(pages_of([tmp_path / "may" / "list.json", page])) == 3
    assert pages_of(page)[0].where == "page 1"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", "hello", "is no part of a bill"),
        ("broken.json", "{", "is no JSON"),
        ("deep.json", "[" * 100_000, "is no JSON: it is nested too deep"),
        ("list.json", "[1]", "is a int where a page"),
        ("other.json", '{"object": "list", "data": []}', "no buckets of time"),
        ("calls.json", '{"id": 1, "model": "gpt-4o"}', "its keys are id, model"),
        ("error.json", '{"error": {"message": "Incorrect API key"}}', "a request that failed"),
        ("table.csv", "a,b\n1,2\n", "its columns are a, b"),
        ("day.csv", "usage_date_utc,usage_output_tokens\nyesterday,1\n", "line 2: usage_date_utc is 'yesterday'"),
    ],
)
def test_what_is_no_report_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=name) as raised:
        pages_of(tmp_path)
    assert says in str(raised.value)


def test_a_bill_that_is_not_there_or_is_empty_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json"):
        pages_of(tmp_path / "none.json")
    with pytest.raises(UsageError, match=r"there is no file or folder .*bills, which should be a bill"):
        pages_of(tmp_path / "bills")
    nothing: Any = None
    with pytest.raises(UsageError, match="a bill is a folder, files or pages of JSON, not NoneType"):
        pages_of(nothing)
    with pytest.raises(UsageError, match="has no files"):
        pages_of(tmp_path)
    with pytest.raises(UsageError, match="no pages"):
        pages_of([])


def _bucket(**changes: Any) -> dict[str, Any]:
    page: dict[str, Any] = json.loads((SAMPLES / "openai_usage.json").read_text())
    page["data"][0] |= changes
    return page


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (_bucket(end_time=1_777_593_600), "does not end after it starts"),
        (_bucket(end_time=1_780_272_000), "a bucket of more than a day"),
        (_bucket(results=[{"object": "organization.usage.completions.result", "input_tokens": -1}]), "no count"),
        (_bucket(results=[{"object": "organization.usage.completions.result", "input_tokens": "many"}]), "no number"),
        (_bucket(start_time=1_777_593_600_000), "start_time is 1777593600000, which is no time in seconds since 1970"),
        (_bucket(start_time=None), "does not end after it starts|more than a day"),
        (_bucket(results={"object": "?"}), "looks like an OpenAI page, but results is .* where a list should be"),
        (
            {"data": [{"starting_at": "2026-05-01", "ending_at": "2026-05-02", "results": "x"}]},
            "but results is 'x', where a",
        ),
        (_bucket(results=[{"object": "organization.usage.completions.result", "model": 5}]), "model is 5, which is no"),
        (
            {
                "data": [
                    {
                        "starting_at": "2026-05-01",
                        "ending_at": "2026-05-02",
                        "results": [{"uncached_input_tokens": 1, "cache_creation": 5}],
                    }
                ]
            },
            "cache_creation is 5, where tokens by lifetime",
        ),
    ],
)
def test_what_breaks_a_rule_of_its_report_is_named(page: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pages_of(page)


def test_the_name_of_the_next_page_says_that_there_is_more() -> None:
    page = {name: value for name, value in _bucket().items() if name != "has_more"}
    assert [pages_of(page | {"next_page": name})[0].has_more for name in ("page_2", None)] == [True, False]


def test_rows_that_are_there_twice_are_counted_once(tmp_path: Path) -> None:
    head, *rows = (SAMPLES / "anthropic_usage.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([head, *rows, *rows]))
    (page,) = pages_of(tmp_path)
    assert page.doubled == len(rows)
    assert page.buckets == only("anthropic_usage.csv").buckets


def test_lines_tell_each_other_apart_by_all_that_they_are_grouped_by() -> None:
    one, other = Line(model="a", key=(("project_id", "x"),)), Line(model="a", key=(("project_id", "y"),))
    assert one.identity != other.identity
    assert Bucket(0, 1, (one,)).weight == (Decimal(0), 0)


@pytest.mark.parametrize("indent", [None, 1])
def test_pages_may_stand_one_behind_the_other_and_be_compressed(tmp_path: Path, indent: int | None) -> None:
    names = ("openai_usage.json", "anthropic_usage.json")
    pages = [json.dumps(json.loads((SAMPLES / name).read_text()), indent=indent) for name in names]
    wanted = {repr(only(name).buckets) for name in names}
    written = ("\n".join(pages) + "\n").encode()
    for name, content in {
        "a.json": written,
        "b.json.gz": gzip.compress(written),
        "c.json": gzip.compress(written),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert {repr(page.buckets) for page in pages_of(tmp_path / name)} == wanted
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(written)[:-20])
    with pytest.raises(UsageError, match=r"cannot be read: .*b\.json\.gz: Compressed file ended"):
        pages_of(tmp_path)


@pytest.mark.parametrize("name", ["openai_costs.csv", "anthropic_usage.csv"])
def test_a_spreadsheet_may_have_written_an_export_again(tmp_path: Path, name: str) -> None:
    rows = csv.reader((SAMPLES / name).read_text(encoding="utf-8-sig").splitlines())
    with (tmp_path / name).open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    assert [page.buckets for page in pages_of(tmp_path)] == [only(name).buckets]
