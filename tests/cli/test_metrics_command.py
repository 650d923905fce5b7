"""`mofa-usage metrics`: what Prometheus reads, on standard output or in a file."""

import sqlite3
import time

from prometheus_client.parser import text_string_to_metric_families

from mofa_usage import Recorder
from tests.cli.shell import Shell
from tests.samples import call


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == f"mofa_usage_{name}"}


def test_metrics_are_printed_and_written(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    text = shell.output("metrics", "-u", url)
    claude = "claude\x1b[2J-sonnet-4-20250514-of-a-very-long-name:0"
    by_model = {("gpt-4o", "success"): 10, ("gpt-4o-mini", "success"): 10, (claude, "success"): 10}
    assert values(text, "calls_total") == by_model | {("gpt-4", "success"): 1}
    assert "outbox" not in text

    assert shell.output("metrics", "-u", url, "--top", "1", "--output", "usage.prom") == ""
    written = shell.folder / "usage.prom"
    assert values(written.read_text(), "calls_total") == {(claude, "success"): 10, ("other", "success"): 21}

    with sqlite3.connect(shell.folder / "usage.db") as database:
        database.execute("delete from entity_llm_api_call where model_name = 'gpt-4'")
    database.close()
    shell.output("metrics", "-u", url, "--top", "1", "--output", "usage.prom")
    assert values(written.read_text(), "calls_total") == {(claude, "success"): 10, ("other", "success"): 21}


def test_only_calls_from_a_time_on(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    text = shell.output("metrics", "-u", url, "--start", "2026-05-10T12:00", "--tz", "Europe/Berlin")
    assert sum(values(text, "calls_total").values()) == 1
    done = shell.call("metrics", "-u", url, "--start", "7d")
    assert (done.returncode, "--start" in done.stderr) == (2, True)


def test_the_outbox_of_the_database_is_there(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    state = str(shell.folder / "state")
    with Recorder(f"sqlite:{shell.folder}/usage.db", outbox=shell.folder / "box") as recorder:
        recorder.record(call())
    text = shell.output("metrics", "-u", url, "--outbox", "box", XDG_STATE_HOME=state)
    names = ("accepted", "delivered", "waiting", "dead")
    assert [values(text, f"outbox_{name}_records") for name in names] == [{("box",): number} for number in (1, 1, 0, 0)]
    assert sum(values(text, "calls_total").values()) == 32


def test_a_warehouse_is_there_beside_the_calls_or_alone(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    shell.output("warehouse", "sync", "copy", "-u", url)
    place, begun = str(shell.folder / "copy"), time.time()
    beside = shell.output("metrics", "-u", url, "--warehouse", "copy")
    alone = shell.output("metrics", "--warehouse", "copy")
    assert sum(values(beside, "calls_total").values()) == 31
    assert not values(alone, "calls_total")
    for text in (beside, alone):
        synced = values(text, "warehouse_synced_timestamp_seconds")
        assert {(labels[0], labels[2]) for labels in synced} >= {(place, "calls"), (place, "messages")}
        assert all(begun - 60 < at <= begun for at in synced.values())
        assert values(text, "warehouse_rows")[(place, "calls")] == 31
        assert values(text, "warehouse_files").keys() == values(text, "warehouse_size_bytes").keys()
    shell.output("metrics", "-u", url, "-o", "usage.prom")
    counted = values((shell.folder / "usage.prom").read_text(), "calls_total")
    shell.output("metrics", "--warehouse", "copy", "-o", "usage.prom")  # what the file remembers of the calls stays
    assert not values((shell.folder / "usage.prom").read_text(), "calls_total")
    shell.output("metrics", "-u", url, "-o", "usage.prom")
    assert values((shell.folder / "usage.prom").read_text(), "calls_total") == counted
    assert "there is no warehouse in" in shell.complaint(2, "metrics", "--warehouse", "nowhere")
    assert "give --warehouse" in shell.complaint(2, "metrics", "-u", url, "--storage-option", "aws_region=x")


def test_what_is_not_there_is_said(shell: Shell) -> None:
    done = shell.call("metrics", "-u", "sqlite:usage.db")
    assert (done.returncode, "there is no SQLite database" in done.stderr) == (1, True)
    (shell.folder / "usage.db").touch()
    done = shell.call("metrics", "-u", "sqlite:usage.db", "--outbox", "nowhere")
    assert (done.returncode, done.stderr) == (2, "mofa-usage: there is no outbox nowhere\n")
    assert [path.name for path in shell.folder.iterdir()] == ["usage.db"]
