"""`tests/benchmarks/live.py`, which is run by hand, still does what its page says: here with few calls."""

import re
import sys

import pytest

from tests.benchmarks import live


def test_a_server_is_filled_synced_written_to_and_verified(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(live.SETTINGS, "postgres", {**live.SETTINGS["postgres"], "shared_buffers": "32MB"})
    arguments = ["postgres", "--rows", "1000", "--rate", "60", "--seconds", "0.5", "--pause", "0.5"]
    monkeypatch.setattr(sys, "argv", ["live", *arguments])
    live.main()
    said = capsys.readouterr().out
    assert "filled with 1,000 calls" in said
    assert "and again: Nothing had changed" in said
    found = re.findall(r"server +([\d.]+) ms, (\d+) read, 0 compared, (\d+) changed, ([\d. ]+) s behind", said)
    assert len(found) > 1
    assert all(float(server) > 0 for server, *_ in found)  # its log was understood
    # Each of the 30 came once, and once more for a change that came after the sync that had found it.
    assert 30 <= sum(int(changed) for _, _, changed, _ in found) <= 33
    assert re.search(r"lag: median [\d.]+, most [\d.]+\nThe warehouse has all 1,03\d rows of the source", said)
