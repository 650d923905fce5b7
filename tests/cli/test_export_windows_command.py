"""`mofa-usage export --incremental` and `verify-export`."""

import json
import sqlite3

from mofa_usage import load_usage
from tests.cli.shell import Shell
from tests.object_store import ObjectStore


def test_each_run_exports_what_is_new_and_verifying_says_what_is_wrong(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    export = ("export", "lake", "--incremental", "-u", url)
    said = shell.output(*export, "--end", "2026-05-05", "--tz", "Europe/Berlin")
    assert said.startswith("since=beginning: 13 calls in 1 file, 0.0")
    assert said.endswith(" MB, from the beginning to 2026-05-04T22:00:00+00:00\n")
    said = shell.output(*export)
    assert said.startswith("since=2026-05-04T22-00-00Z: 18 calls in 1 file")
    assert shell.output(*export, "--hold-back", "2d").startswith("nothing to export yet")
    assert shell.output("verify-export", "lake", "-u", url) == "2 windows, 31 calls: all as exported\n"
    assert load_usage(shell.folder / "lake").frame.height == 31

    with sqlite3.connect(shell.folder / "usage.db") as database:
        database.execute("delete from entity_llm_api_call where model_name = 'gpt-4'")
    database.close()
    (shell.folder / "lake" / "since=2026-05-04T22-00-00Z" / "calls.parquet").unlink()
    done = shell.call("verify-export", "lake", "-u", url)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("source: the source has 1 calls fewer in the window from the beginning")
    assert lines[1:] == [
        "missing: since=2026-05-04T22-00-00Z/calls.parquet is not there; it had 18 calls",
        "2 windows, 31 calls: 2 flaws",
    ]
    done = shell.call("verify-export", "lake", "--json")
    assert [flaw["kind"] for flaw in json.loads(done.stdout)["flaws"]] == ["missing"]
    again = shell.output(*export, "--end", "2026-05-05", "--tz", "Europe/Berlin", "--overwrite")
    assert again.startswith("since=beginning: 12 calls in 1 file")


def test_windows_go_to_an_object_store(labelled: tuple[Shell, str], object_store: ObjectStore) -> None:
    shell, url = labelled
    path = f"{object_store.bucket()}/lake"
    option = (
        "--storage-option",
        f"aws_endpoint_url={object_store.endpoint}",
        "--storage-option",
        "aws_allow_http=true",
    )
    keys = {name: object_store.options[name] for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    said = shell.output("export", path, "--incremental", "-u", url, *option, **keys)
    assert said.startswith("since=beginning: 31 calls")
    assert shell.output("verify-export", path, *option, **keys) == "1 window, 31 calls: all as exported\n"


def test_what_does_not_go_together_is_said(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    for wrong, said in (
        (("s3://bucket/calls.parquet",), "object stores, --storage-option and --hold-back are for --incremental"),
        (("calls.parquet", "--hold-back", "1h"), "are for --incremental"),
        (("lake", "--incremental", "--filter", "latency_ms > 1"), "--incremental takes no condition"),
        (("lake", "--incremental", "--hold-back", "soon"), "--hold-back = 'soon' is no age"),
        (("lake", "--incremental", "--storage-option", "x"), "--storage-option takes NAME=VALUE, not 'x'"),
    ):
        done = shell.call("export", *wrong, "-u", url)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert [path.name for path in shell.folder.iterdir()] == ["usage.db"]
