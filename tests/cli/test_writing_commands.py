"""`mofa-usage export`, `report`, `notebook` and `migrate`: what they write."""

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cli.shell import Shell, query


def test_export_filters_and_partitions(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, _ = demo
    path = tmp_path / "some.parquet"
    printed = shell.output(
        "export", str(path), "-u", "sqlite:try/usage.db", "--model", "gpt-4.1", "--start", "2026-05-25"
    )
    frame = pl.read_parquet(path)
    assert set(frame["model_name"]) == {"gpt-4.1"}
    assert printed.startswith(f"{path}: {frame.height:,} calls in 1 file, ")
    assert "--overwrite" in shell.complaint(2, "export", str(path), "-u", "sqlite:try/usage.db")
    shell.output("export", str(path), "-u", "sqlite:try/usage.db", "--overwrite")
    assert pl.read_parquet(path).height == 3000
    shell.output("export", str(tmp_path / "days"), "-u", "sqlite:try/usage.db", "--partition-by", "day")
    assert len(list((tmp_path / "days").glob("day=*"))) == 14


def test_a_report_is_replaced_only_when_told_to(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, _ = demo
    path = tmp_path / "usage.html"
    path.write_text("mine")
    report = ("report", str(path), "-u", "sqlite:try/usage.db", "--start", "3d", "--end", "2026-06-01")
    assert "--overwrite replaces it" in shell.complaint(2, *report)
    assert path.read_text() == "mine"
    shell.output(*report, "--overwrite", "--title", "Usage of <May>", "--days", "2")
    assert "Usage of &lt;May&gt;" in path.read_text()
    assert shell.call(*report, "--overwrite", "--days", "0").returncode == 2


def test_a_report_without_calls_says_so_and_so_does_its_exit_code(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, _ = demo
    path = tmp_path / "none.html"
    ended = shell.call("report", str(path), "-u", "sqlite:try/usage.db", "--start", "2031-01")
    assert ended.returncode == 1
    assert "there are calls from" in ended.stderr
    assert "There are no calls in the period that was asked for" in path.read_text()


def test_report_of_a_period(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, _ = demo
    path = tmp_path / "may.html"
    assert str(path) in shell.output("report", str(path), "-u", "sqlite:try/usage.db", "--end", "2026-05-25")
    assert "2026-05-24" in path.read_text() or "24 May 2026" in path.read_text() or "May 24" in path.read_text()


def test_a_csv_file_is_exact_and_can_be_imported_again(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    printed = shell.output("export", "some.csv", "-u", url, "--user", "alice", "--filter", "latency_ms >= 1000")
    assert printed.startswith("some.csv: 10 calls in 1 file, ")
    frame = pl.read_csv(shell.folder / "some.csv", infer_schema=False)
    assert frame["labels.user"].unique().to_list() == ["alice"]
    assert frame["create_time"].is_sorted()
    assert frame["create_time"][0] == "2026-05-01T00:00:00.000000+00:00"
    assert sum(map(Decimal, frame["total_price"].drop_nulls())) == Decimal("0.0000000025")
    assert "10 stored" in shell.output("import", "some.csv", "-u", "sqlite:again.db")
    rows = (
        "select id, total_price, user_id, create_time from entity_llm_api_call where labels like '%alice%' order by 1"
    )
    assert query(shell.folder / "again.db", rows) == query(shell.folder / "usage.db", rows)
    path = shell.folder / "some.csv"
    before = path.read_bytes()
    said = shell.complaint(1, "export", "some.csv", "-u", url, "--user", "alise", "--overwrite")
    assert "near it: alice" in said
    assert said.endswith("nothing was written")
    assert path.read_bytes() == before


def test_days_of_a_folder_are_those_of_the_zone(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    for tz, first in (("UTC", "day=2026-05-01"), ("America/Los_Angeles", "day=2026-04-30")):
        folder = shell.folder / tz.replace("/", "-")
        shell.output("export", str(folder), "-u", url, "--partition-by", "day", "--tz", tz, "--label", "team=search")
        assert min(path.name for path in folder.iterdir()) == first
        assert not list(shell.folder.glob(".*"))


def parameters(path: Path) -> str:
    notebook = json.loads(path.read_text())
    [cell] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    return "".join(cell["source"])


def test_notebooks_are_listed_with_their_titles(shell: Shell) -> None:
    lines = shell.output("notebook").splitlines()
    assert [line.split()[0] for line in lines] == [
        "01_overview",
        "02_cost",
        "03_record_an_agent",
        "04_speed_and_reliability",
        "05_who_used_what",
        "06_what_changed",
        "07_prices_and_waste",
        "08_export_and_warehouse",
    ]
    assert all(line.partition("  ")[2] for line in lines)
    assert [f"{one['name']}  {one['title']}" for one in json.loads(shell.output("notebook", "--json"))] == lines


def test_notebook_copies_a_template_for_a_database(shell: Shell) -> None:
    shell.output("notebook", "02_cost", "-u", "sqlite:./my usage.db", "--start", "2026-05-01", "--tz", "Europe/Berlin")
    values: dict[str, Any] = {}
    exec(parameters(shell.folder / "02_cost.ipynb"), values)
    assert values["url"] == f"sqlite:{shell.folder / 'my usage.db'}"
    assert (values["start"], values["end"], values["tz"]) == ("2026-05-01", None, "Europe/Berlin")
    assert "--overwrite" in shell.complaint(2, "notebook", "02_cost")
    shell.output("notebook", "02_cost", "--to", "a/b/c.ipynb", "--start", "2026-05", "--tz", "Europe/Berlin")
    exec(parameters(shell.folder / "a/b/c.ipynb"), values)
    assert (values["start"], values["end"]) == ("2026-05-01T00:00:00+02:00", "2026-06-01T00:00:00+02:00")
    assert "Europe/Berlin" in shell.complaint(2, "notebook", "01_overview", "--tz", "Berlin")
    assert not (shell.folder / "01_overview.ipynb").exists()
    shell.output("notebook", "02_cost", "--to", "plain.ipynb")
    template = Path(__file__).parents[2] / "notebooks" / "02_cost.ipynb"
    assert json.loads((shell.folder / "plain.ipynb").read_text()) == json.loads(template.read_text())


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("memory:", "memory:"),
        ("sqlite::memory:", "sqlite::memory:"),
        ("sqlite:///sub/a.db", "sqlite:{folder}/sub/a.db"),
        ("sqlite:////var/a.db", "sqlite:/var/a.db"),
        ("calls/*.parquet", "{folder}/calls/*.parquet"),
        ("postgres://ann@db.example/usage", "postgres://ann@db.example/usage"),
    ],
)
def test_urls_in_notebooks_can_be_moved(shell: Shell, given: str, written: str) -> None:
    shell.output("notebook", "01_overview", "-u", given)
    values: dict[str, Any] = {}
    exec(parameters(shell.folder / "01_overview.ipynb"), values)
    assert values["url"] == written.format(folder=shell.folder)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://ann:hunter2@db/x",
        "postgres://ann:hun/ter2:hunter2@db/x",
        "mysql://:hunter2@db/x",
        "postgres://db/x?user=ann&password=hunter2",
    ],
)
def test_no_password_is_written_into_a_notebook(shell: Shell, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.output("notebook", "01_overview", DATABASE_URL=url)
    text = (shell.folder / "01_overview.ipynb").read_text()
    assert "hunter2" not in text
    monkeypatch.setenv("DATABASE_URL", url)
    values: dict[str, Any] = {}
    exec(parameters(shell.folder / "01_overview.ipynb"), values)
    assert values["url"] == url


def test_migrate_creates_the_tables_or_prints_them(shell: Shell) -> None:
    assert "version" in shell.output("migrate", "--url", "sqlite:a.db")
    tables = "select name, sql from sqlite_master where type = 'table' and name like 'entity%' order by 1"
    printed = shell.output("migrate", "--url", "sqlite:b.db", "--sql")
    assert not (shell.folder / "b.db").exists()
    connection = sqlite3.connect(shell.folder / "b.db")
    connection.executescript(printed)
    connection.close()
    names = [name for name, _ in query(shell.folder / "b.db", tables)]
    assert names == [name for name, _ in query(shell.folder / "a.db", tables)]
    assert len(names) == 5
    assert shell.output("migrate", "--url", "sqlite:b.db") == shell.output("migrate", "--url", "sqlite:a.db")
    assert "TIMESTAMP WITH TIME ZONE" in shell.output("migrate", "--url", "postgres://nowhere/x", "--sql")
