"""Logs in tools' own formats: recognised by themselves, in folders too; what a file lacks costs its own rest only."""

import bz2
import gzip
import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofa_usage.errors import UsageError
from mofa_usage.importing import import_calls
from mofa_usage.importing.logs import known_formats
from mofa_usage.stores import InMemoryStore
from tests.imports import CALL, GOOD, HEADER, imported, write, write_jsonl
from tests.logs import FOLDER

CLAUDE = FOLDER / "claude_code" / "projects"
SHOP = CLAUDE / "-home-dana-shop"
ANSWER = {"id": "msg_01A", "model": "claude-opus-4-6", "usage": {"input_tokens": 3, "output_tokens": 5}}


def claude(name: str, second: int = 0, **message: Any) -> dict[str, Any]:
    return {
        **{"type": "assistant", "uuid": name, "sessionId": "s", "requestId": "req_1", "message": ANSWER | message},
        "timestamp": f"2026-05-01T12:00:{second:02}.000Z",
    }


def said(name: str, output: int, second: int = 0) -> dict[str, Any]:
    return claude(name, second, usage={"input_tokens": 3, "output_tokens": output})


@pytest.mark.parametrize("known", known_formats(), ids=lambda known: known.name)
def test_a_format_says_its_name(known: Any) -> None:
    assert known.name[0].isupper()


async def test_a_folder_stands_for_the_logs_below_it(tmp_path: Path) -> None:
    shutil.copytree(SHOP, tmp_path / "deep" / "shop")
    write(tmp_path / "deep" / "plain.csv", HEADER, GOOD)  # not a tool's log: it may be anything
    (tmp_path / "empty.jsonl").touch()
    result, calls = await imported(tmp_path)
    assert result.format == "Claude Code session logs"
    assert (len(calls), len(result.sources)) == (6, 3)
    assert [Path(name).name for name in result.unrecognised] == [
        *("plain.csv", "MEMORY.md", "sessions-index.json", "empty.jsonl")
    ]
    assert "4 files of no known format, not read: " in str(result)


async def test_logs_and_other_files_are_read_together(tmp_path: Path) -> None:
    result, calls = await imported([write(tmp_path / "plain.csv", HEADER, GOOD), SHOP])
    assert (result.format, len(calls)) == ("csv, Claude Code session logs", 7)
    assert result.unrecognised[0].endswith("MEMORY.md")


async def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(CLAUDE, tmp_path / ".claude" / "projects")
    _, calls = await imported("~/.claude/projects")
    assert len(calls) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "holds no file of a format that is recognised .*Claude Code session logs"),
        ({"mapping": {"model_name": "model"}}, "is a folder, whose files are read by their formats; map columns of a"),
        ({"sql": "FROM calls"}, "is a folder; import its files"),
    ],
)
async def test_a_folder_that_cannot_be_imported_says_why(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write(tmp_path / "plain.csv", HEADER, GOOD)
    with pytest.raises(UsageError, match=message):
        await import_calls(InMemoryStore(), tmp_path, **options)


async def test_importing_twice_changes_nothing_and_a_grown_log_completes_its_calls(tmp_path: Path) -> None:
    store = InMemoryStore()
    log = write_jsonl(tmp_path / "a.jsonl", said("1", 2))
    first = await import_calls(store, log)
    again = await import_calls(store, log)
    assert (first.stored, again.stored, again.replaced, again.unchanged) == (1, 0, 1, 1)
    write_jsonl(log, said("1", 2), said("2", 70, second=4))
    grown = await import_calls(store, log)
    assert (grown.stored, grown.replaced, grown.unchanged) == (0, 1, 0)
    [call] = await store.query_api_calls()
    assert (call.completion_tokens, call.create_time.second) == (70, 0)  # it began with its first line


@pytest.mark.parametrize("turn", [1, -1])
async def test_of_lines_that_say_a_call_again_the_fullest_counts_in_any_order_and_file(
    tmp_path: Path, turn: int
) -> None:
    lines = [said("1", 2, 1), said("2", 70, 3), said("3", 2, 2), claude("4", 5, id="msg_01B")]
    files = [write_jsonl(tmp_path / f"{number}.jsonl", line, line) for number, line in enumerate(lines[::turn])]
    result, calls = await imported(files[::turn])
    assert [(call.completion_tokens, call.create_time.second) for call in calls] == [(70, 1), (5, 5)]
    assert result.left_out == {"rows that say a call again": 6}


async def test_a_line_that_is_cut_or_no_json_refuses_itself(tmp_path: Path) -> None:
    lines = [json.dumps(said(str(number), 5, number) | {"requestId": f"req_{number}"}) for number in range(3)]
    write(tmp_path / "a.jsonl", lines[0], "oops", '{"type":"user"', lines[1], lines[2][:-30])
    write_jsonl(tmp_path / "b.jsonl", said("9", 1) | {"requestId": "req_9"}, claude("8") | {"message": "gone"})
    result, calls = await imported(tmp_path)
    assert (len(calls), result.rejected) == (3, 4)
    places = {place for reason in result.reasons for place in reason.places}
    assert places == {*(f"{tmp_path}/a.jsonl line {line}" for line in (2, 3, 5)), f"{tmp_path}/b.jsonl line 2"}


async def test_a_log_that_is_cut_off_costs_its_own_rest_only(tmp_path: Path) -> None:
    rows = "".join(json.dumps(said(str(n), 5) | {"requestId": f"req_{n}", "pad": "x" * 999}) + "\n" for n in range(99))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows.encode())[:-200])
    write_jsonl(tmp_path / "b.jsonl", said("9", 1) | {"requestId": "req_b"})
    result, calls = await imported(tmp_path)
    assert 1 < len(calls) < 100
    assert result.rejected >= 1
    assert any("cannot be read on: " in reason.reason for reason in result.reasons)
    with pytest.raises(UsageError, match="damaged or cut off"):
        await import_calls(InMemoryStore(), tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
async def test_packed_logs_give_the_same_calls(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    for log in CLAUDE.rglob("*.jsonl"):
        folder = tmp_path / log.relative_to(CLAUDE).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{log.name}.xz").write_bytes(packed(log.read_bytes()))  # what it is, its first bytes say
    assert (await imported(tmp_path))[1] == (await imported(CLAUDE))[1]


async def test_a_line_longer_than_any_call_refuses_itself(tmp_path: Path) -> None:
    picture = claude("3") | {"message": {"content": "x" * (17 * 2**20)}}
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", said("1", 2), picture, said("2", 70)))
    assert ([call.completion_tokens for call in calls], result.rejected) == ([70], 1)
    assert result.reasons[0].reason == "longer than 16 MiB, which no call is"


async def test_refused_lines_of_a_folder_name_their_files(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", json.dumps(said("1", 5)), "oops}")
    result, _ = await imported(tmp_path, rejects=tmp_path / "refused.jsonl")
    [refused] = map(json.loads, (tmp_path / "refused.jsonl").read_text().splitlines())
    assert (refused["source"], refused["line"], refused["row"]) == (str(tmp_path / "a.jsonl"), 2, "oops}")
    assert result.rejects_path is not None


async def test_a_mapping_says_what_the_columns_are(tmp_path: Path) -> None:
    log = write_jsonl(tmp_path / "a.jsonl", said("1", 2), said("2", 70))
    result, calls = await imported(log, mapping={"labels.who": "sessionId"})
    assert (result.format, len(calls), calls[0].labels["who"]) == ("jsonl", 2, "s")


async def test_rows_that_are_no_log_are_read_by_their_columns(tmp_path: Path) -> None:
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", CALL))
    assert (result.format, len(calls), result.left_out) == ("jsonl", 1, {})
    assert "read as" not in str(result)
