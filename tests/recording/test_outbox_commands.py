"""`mofa-usage outbox`: what waits, delivered by hand; what is dead, shown, exported and tried again."""

import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mofa_usage import Recorder
from mofa_usage.cli import run
from tests.recording.reading import calls_in
from tests.samples import SECRET, call

NOBODY = f"postgres://nobody:{SECRET}@127.0.0.1:1/none"


def left(url: str, folder: Path | None = None) -> None:
    """Leave two good calls and a bad one in an outbox."""
    recorder = Recorder(url, outbox=folder)
    recorder._target._url = NOBODY
    recorder.record(call(0))
    recorder.hand_over({"calls": [{"id": str(uuid4()), "model_name": "m", "status": "\x1b[31mgood"}]})
    recorder.record(call(1))
    recorder.close(0)


def status(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["outbox", "status", "--json", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_users_outboxes_from_accepted_to_delivered(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["outbox", "status"]) == 0
    assert "no outbox" in capsys.readouterr().out
    left(url)
    (one,) = status(capsys)
    assert (one["accepted"], one["delivered"], one["waiting"], one["ended"]) == (3, 0, 3, 1)
    assert one["oldest_waiting"]
    assert run(["outbox", "drain", "--url", url]) == 0
    out = capsys.readouterr().out
    assert "2 records delivered, 1 are dead letters" in out
    assert len(calls_in(url)) == 2
    assert run(["outbox", "status"]) == 0
    assert "sqlite-usage-" in capsys.readouterr().out
    assert run(["outbox", "dead", "list"]) == 0
    out = capsys.readouterr().out
    assert "status" in out
    assert "\x1b[31mgood" not in out
    file = tmp_path / "dead.jsonl"
    assert run(["outbox", "dead", "export", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (record,) = map(json.loads, file.read_text().splitlines())
    assert record["record"]["model_name"] == "m"
    capsys.readouterr()
    assert run(["outbox", "dead", "export", str(file)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(["outbox", "dead", "retry"]) == 0
    assert "1 records wait again" in capsys.readouterr().out
    (one,) = status(capsys)
    assert (one["accepted"], one["delivered"], one["waiting"], one["dead"]) == (3, 2, 1, 0)


def test_a_folder_is_drained_into_any_database(url: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left(NOBODY, folder)
    assert run(["outbox", "drain", "--outbox", str(folder), "--url", NOBODY]) == 1
    said = capsys.readouterr()
    assert SECRET not in said.err + said.out
    assert run(["outbox", "drain", "--outbox", str(folder), "--url", url]) == 0
    (one,) = status(capsys, "--outbox", str(folder))
    assert (one["delivered"], one["dead"]) == (2, 1)
    for command in (["status"], ["dead", "list"], ["drain", "--url", url]):
        assert run(["outbox", *command, "--outbox", str(folder / "none")]) == 2
    assert "there is no outbox" in capsys.readouterr().err
    assert run(["outbox", "drain"]) == 2
    on_disk = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert SECRET.encode() not in on_disk
