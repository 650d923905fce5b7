"""Every notebook runs from top to bottom: as it is; on a database, and on one without calls.

All but the first and those that record in a kernel that has forgotten the names of the others: a new one takes longer
to start than most notebooks to run.
"""

import ast
import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError

from mofa_usage.cli.templates import names, template_path, write_notebook
from mofa_usage.demo.sample import sample_path
from mofa_usage.importing import import_calls
from mofa_usage.records import UsageStatistics
from mofa_usage.stores import connect
from tests.proofs import trials

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
RECORDING = "03_record_an_agent"
ANALYSES = [name for name in NOTEBOOKS if name != RECORDING]
# This one always runs in a new kernel, as a proof with all its calls; else there are fewer: making them takes long. The
# others share one, as a proof each has its own.
WHOLE = "01_overview"
MADE_UP = "generate_usage(end="
PLACE = r'\)\("mofa-usage-\w+", '
PARAMETERS = {
    **{name: {"url", "start", "end", "tz"} for name in ANALYSES},
    "04_speed_and_reliability": {"url", "start", "end", "tz", "limit", "first_limit"},
    "05_who_used_what": {"url", "start", "end", "tz", "payer"},
    "06_what_changed": {"url", "start", "end", "tz", "before", "after", "by"},
    "07_prices_and_waste": {"url", "start", "end", "tz", "own_prices", "instead"},
    "08_export_and_warehouse": {"url", "folder", "tz"},
    RECORDING: {"url", "base_url", "model", "tz"},
}

# The kernel's own libraries say that they will change; ours must not make a warning, the test below sees to that.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def read(path: Path) -> Any:
    reader: Any = nbformat.read  # which has no types
    return reader(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cell: Any, kind: str) -> list[Any]:
    """What a cell showed of a MIME type."""
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


def figures(cell: Any) -> list[Any]:
    """The figures that a cell showed: the second argument of the script that draws one."""
    starts = [(page, found.end()) for page in outputs(cell, "text/html") for found in re.finditer(PLACE, page)]
    return [json.JSONDecoder().raw_decode(page, start)[0] for page, start in starts]


def card(cell: Any) -> str:
    """What a cell says of the calls; on a slow machine a progress bar was there before."""
    return "".join(outputs(cell, "text/html"))


def executed(path: Path, folder: Path) -> Any:
    """The notebook after it ran in a new kernel; a cell that fails raises with its traceback.

    Once, on a busy machine, a kernel never said that a cell was done; whoever loses the answer asks a new kernel.
    """
    try:
        client(notebook := read(path), folder).execute()
    except CellTimeoutError:
        client(notebook := read(path), folder).execute()
    return notebook


def client(notebook: Any, folder: Path, **options: Any) -> NotebookClient:
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=110, kernel_name="python3", resources=resources, **options)


@pytest.fixture(scope="module")
def kernel() -> Iterator[AsyncKernelManager]:
    """A kernel that the first who runs something in it starts."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)


def executed_in(kernel: AsyncKernelManager, path: Path, folder: Path) -> Any:
    """The notebook after it ran in a kernel that has forgotten the names and the folder of those before."""
    notebook = read(path)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {folder}"))  # type: ignore[no-untyped-call]
    running = client(notebook, folder, km=kernel)
    try:
        running.execute()
    except CellTimeoutError:
        run_sync(kernel.shutdown_kernel)(now=True)
        return executed(path, folder)
    finally:
        if running.kc is not None:
            running.kc.stop_channels()
    del notebook.cells[0]
    return notebook


def check_outputs(notebook: Any, *, told: bool) -> None:
    """Every cell that ends with a picture shows one, with something in it or a word about why not; nothing warns.

    Of what the calls do not tell there is no picture.
    """
    for cell in code_cells(notebook):
        lines = (line for one in cell.outputs if one.get("name") == "stderr" for line in one.text.splitlines())
        said = [line for line in lines if "have no price (said once per model)" not in line]
        assert not said, f"{cell.source}\n{said}"
        shown = figures(cell)
        drawn = re.search(r"\.draw\([^\n]*\)( if (?:priced|timed|streamed|known) else None)?$", cell.source)
        assert bool(shown) == (drawn is not None and (told or not drawn[1])), cell.source
        for figure in shown:
            assert figure["data"] or figure["layout"]["annotations"]
            assert figure["layout"]["title"]["text"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_as_a_template(name: str) -> None:
    notebook = read(FOLDER / f"{name}.ipynb")
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    cells = code_cells(notebook)
    assert all((cell.outputs, cell.execution_count) == ([], None) for cell in cells)
    assert "parameters" in cells[0].metadata.tags
    assigned = ast.parse(cells[0].source).body
    assert {statement.targets[0].id for statement in assigned if isinstance(statement, ast.Assign)} == PARAMETERS[name]  # type: ignore[attr-defined]
    for cell in cells:
        tree = compile(cell.source, name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) for node in ast.walk(tree))
        assert max(map(len, cell.source.splitlines())) <= 120
    assert notebook.cells[0].source.startswith("# ")


def test_the_readme_of_the_notebooks_knows_them_all() -> None:
    text = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"\((\w+\.ipynb)\)", text)) == {f"{name}.ipynb" for name in NOTEBOOKS}
    assert set(names()) == set(NOTEBOOKS)
    assert all(f"`{name}`" in text for parameters in PARAMETERS.values() for name in parameters)


@pytest.mark.proof
@pytest.mark.parametrize("name", ANALYSES)
def test_a_notebook_runs_as_it_is(name: str, tmp_path: Path, kernel: AsyncKernelManager) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert MADE_UP in text
    path = tmp_path / f"{name}.ipynb"
    calls = trials(5_000, 50_000) if name == WHOLE else 5_000
    path.write_text(text.replace(MADE_UP, f"generate_usage(calls={calls}, end="))
    is_apart = name == WHOLE or trials(False, True)
    notebook = executed(path, tmp_path) if is_apart else executed_in(kernel, path, tmp_path)
    path.unlink()
    check_outputs(notebook, told=True)
    cells = code_cells(notebook)
    assert "made-up" in cells[1].outputs[0].text
    assert f"{calls:,}" in card(cells[1])
    shown = [figure for cell in cells for figure in figures(cell)]
    assert len(shown) >= 5
    assert all(figure["data"] for figure in shown)
    assert list(tmp_path.iterdir()) == []  # nothing is left lying about


@pytest.mark.parametrize("lasts", [False, True], ids=["memory", "sqlite"])
def test_an_agent_is_recorded_in_the_loop_of_the_notebook(
    lasts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = f"sqlite:{tmp_path / 'usage.db'}" if lasts else None
    write_notebook(RECORDING, tmp_path / "mine.ipynb", url=url)
    notebook = executed(tmp_path / "mine.ipynb", tmp_path)
    check_outputs(notebook, told=True)
    cells = code_cells(notebook)
    assert "made up" in cells[1].outputs[0].text
    stats = re.search(r"accepted=(\d+), delivered=(\d+), waiting=0, dead=0", outputs(cells[-1], "text/plain")[0])
    assert stats is not None
    assert stats[1] == stats[2] != "0"
    if url is not None:
        assert asyncio.run(statistics(url)).total_calls > 40


async def statistics(url: str) -> UsageStatistics:
    async with connect(url) as store:
        return await store.get_statistics()


async def make_database(url: str, *, with_calls: bool) -> None:
    async with connect(url) as store:
        if with_calls:
            await import_calls(store, sample_path(), defaults={"model_name": "code-model"})


@pytest.mark.parametrize(
    ("name", "with_calls"),
    # Nothing at all breaks more than few columns: each runs without calls, and those that read most of them on a trace.
    [*((name, False) for name in ANALYSES), *((name, True) for name in ("01_overview", "06_what_changed"))],
)
def test_a_copy_runs_on_a_database(name: str, with_calls: bool, tmp_path: Path, kernel: AsyncKernelManager) -> None:
    """On real calls without prices and latencies, and without any calls, there is less to see but nothing breaks."""
    url = f"sqlite:{tmp_path / 'usage.db'}"
    asyncio.run(make_database(url, with_calls=with_calls))
    write_notebook(name, tmp_path / "mine.ipynb", url=url, tz="Europe/Berlin")
    notebook = executed_in(kernel, tmp_path / "mine.ipynb", tmp_path)
    check_outputs(notebook, told=False)
    said = card(code_cells(notebook)[1])
    assert ("8,819" in said, "code-model" in said) == (with_calls, with_calls)
    assert ("prices, latencies, times to the first token" in said) == with_calls  # said once, at the top
    assert not any(output.output_type == "stream" for output in code_cells(notebook)[1].outputs)  # nothing is made up


@pytest.mark.parametrize("name", ["02_cost", "07_prices_and_waste"])
def test_a_copy_runs_on_several_currencies(name: str, tmp_path: Path, kernel: AsyncKernelManager) -> None:
    lines = [
        f"2026-05-{day:02d}T10:00:00Z,model-{day % 3},100,{day},{cost},{currency}"
        for day in range(1, 29)
        for cost, currency in ((day, "EUR"), (day / 4, "USD"), ("", ""))
    ]
    (tmp_path / "calls.csv").write_text(
        "\n".join(["timestamp,model,prompt_tokens,completion_tokens,cost,currency", *lines])
    )
    url = f"sqlite:{tmp_path / 'usage.db'}"
    asyncio.run(import_into(url, tmp_path / "calls.csv"))
    write_notebook(name, tmp_path / "mine.ipynb", url=url)
    notebook = executed_in(kernel, tmp_path / "mine.ipynb", tmp_path)
    check_outputs(notebook, told=True)
    assert any("Cost (EUR)" in text for cell in code_cells(notebook) for text in outputs(cell, "text/html"))


async def import_into(url: str, path: Path) -> None:
    async with connect(url) as store:
        await import_calls(store, path)


def test_papermill_sets_the_parameters(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'usage.db'}"
    asyncio.run(make_database(url, with_calls=True))
    parameters = {"url": url, "start": "2023-11-16T20:00", "end": "2023-11-17", "tz": "Europe/Berlin"}
    done = papermill.execute_notebook(
        template_path("02_cost"), tmp_path / "out.ipynb", parameters, kernel_name="python3", progress_bar=False
    )
    check_outputs(done, told=False)
    with gzip.open(sample_path(), "rt") as trace:
        inside = sum(line >= "2023-11-16 19:00" for line in trace if line.startswith("2023"))
    assert 0 < inside < 8819
    assert any(f"{inside:,}" in text for cell in code_cells(done) for text in outputs(cell, "text/html"))
