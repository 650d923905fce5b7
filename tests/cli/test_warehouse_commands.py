"""`mofa-usage warehouse`: a database is copied, compared and kept up to date from the shell."""

import json
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from mofa_usage.stores import connect
from mofa_usage.warehouse import Warehouse
from tests.cli.shell import PROGRAM, Shell
from tests.conftest import run
from tests.object_store import ObjectStore
from tests.samples import call
from tests.servers import PostgresServer, postgres_server


def test_a_warehouse_is_made_compared_and_looked_after(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    said = shell.output("warehouse", "sync", "copy", "-u", url)
    assert "calls: 31 read, 31 added, 0 updated" in said
    assert "Nothing had changed" in shell.output("warehouse", "sync", "copy", "-u", url)
    assert "all 36 rows" in shell.output("warehouse", "verify", "copy", "-u", url)
    assert Warehouse(shell.folder / "copy").usage().frame.height == 31
    rows = json.loads(shell.output("warehouse", "history", "copy", "--json"))
    assert [row["added"] for row in rows if row["table"] == "calls" and row["what"] == "sync"] == [31]
    assert "calls" in shell.output("warehouse", "history", "copy")
    assert len(json.loads(shell.output("warehouse", "history", "copy", "--json", "--last", "1"))) == 5
    shell.output("warehouse", "compact", "copy")
    shell.output("warehouse", "vacuum", "copy", "--dry-run")


def test_a_difference_is_named_and_ends_with_1(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    shell.output("warehouse", "sync", "copy", "-u", url)
    with sqlite3.connect(shell.folder / "usage.db") as database:
        database.execute("update entity_llm_api_call set total_tokens = total_tokens + 1 where model_name = 'gpt-4'")
    database.close()
    done = shell.call("warehouse", "verify", "copy", "-u", url, "--json")
    assert done.returncode == 1, done.stderr
    (difference,) = json.loads(done.stdout)["differences"]
    assert (difference["table"], difference["kind"]) == ("calls", "different")


def test_following_goes_on_until_it_is_stopped(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    command = [str(PROGRAM), "warehouse", "sync", "copy", "-u", url, "--follow", "0.2"]
    following = subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert following.stdout is not None
    first, second = following.stdout.readline(), following.stdout.readline()
    following.send_signal(signal.SIGINT)
    following.stdout.close()
    following.wait(30)
    assert "36 added" in first
    assert re.fullmatch(r".*Z Nothing had changed: 0 rows read in .*; it is .* behind\.\n", second)


def test_following_goes_on_after_outages(
    shell: Shell, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{object_store.bucket()}/warehouse"
    options = {**object_store.options, "max_retries": "1"}
    told = [word for pair in options.items() for word in ("--storage-option", "=".join(pair))]
    pauses: list[float] = []
    with postgres_server() as server:
        run(_save(server.url, 0))
        meanwhile = _outages(server, object_store)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if next(meanwhile, "over") == "over":
                raise KeyboardInterrupt

        monkeypatch.setattr("mofa_usage.cli.warehouse.time", SimpleNamespace(sleep=pause))
        done = shell.call("warehouse", "sync", place, "-u", server.url, "--follow", "10", *told)
        assert [line.split(" added")[0][-1] for line in done.stdout.splitlines()] == ["1", "1", "1"]
        store_gone, server_gone = (line for line in done.stderr.splitlines() if "trying again" in line)
        assert "of the warehouse s3://" in store_gone
        assert "the postgres database" in server_gone
        assert [pause > 15 for pause in pauses] == [False, True, False, True, False]
        assert Warehouse(place, storage_options=options).verify(server.url, progress=False).equal


def _outages(server: PostgresServer, object_store: ObjectStore) -> Iterator[None]:
    """What happens in the pauses of somebody who follows."""
    run(_save(server.url, 1))
    with object_store.gone():
        yield
    yield
    server.kill()
    yield
    server.start()
    run(_save(server.url, 2))
    yield


async def _save(url: str, number: int) -> None:
    async with connect(url) as store:
        await store.save_api_call(call(number))


def test_files_and_another_warehouse_are_sources_too(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    shell.output("export", "calls.parquet", "-u", url)
    for source, path in (("calls.parquet", "first"), ("first", "second")):
        assert "calls: 31 read, 31 added" in shell.output("warehouse", "sync", path, "-u", source)
        assert "has all 31 rows" in shell.output("warehouse", "verify", path, "-u", source)
    assert "there is no SQLite database" in shell.complaint(1, "warehouse", "sync", "first", "-u", "sqlite:none.db")
