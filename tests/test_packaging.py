"""What people install: the wheel and the sdist hold the package and nothing else, and the base install is enough
for an agent, with a clear word about the extra where one is missing."""

import ast
import email
import email.message
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sources(folder: str) -> set[str]:
    """Files of the project below `folder`, but for what tools leave there."""
    files = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path) for path in files if not any(part.startswith((".", "__pycache__")) for part in path.parts)}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist as an installer would that finds no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist", cwd=source)
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_package_and_the_notebooks(wheel_files: set[str]) -> None:
    notebooks = {f"mofa_usage/{name}" for name in sources("notebooks")}
    assert notebooks
    pictures = {name for name in sources("mofa_usage") if name.startswith("mofa_usage/docs/") and name.endswith(".png")}
    missing = ((sources("mofa_usage") - pictures) | notebooks) - wheel_files
    assert not missing


def test_the_wheel_holds_nothing_else(wheel_files: set[str]) -> None:
    strange = {name for name in wheel_files if not name.startswith(("mofa_usage/", "mofa_usage-"))}
    assert not strange
    rubbish = {name for name in wheel_files if "__pycache__" in name or name.endswith((".db", ".pyc"))}
    assert not rubbish


@pytest.mark.parametrize(
    "pattern",
    [
        "mofa_usage/py.typed",
        "mofa_usage/stores/migrations/versions/*.py",
        "mofa_usage/notebooks/*.ipynb",
        "mofa_usage/demo/sample/*.csv.*",
        "mofa_usage/demo/sample/ATTRIBUTION.md",
        "mofa_usage/docs/*.md",
        "mofa_usage-*/licenses/LICENSE",
        "mofa_usage-*/entry_points.txt",
    ],
)
def test_what_is_not_code_is_in_the_wheel(pattern: str, wheel_files: set[str]) -> None:
    assert [name for name in wheel_files if Path(name).match(pattern)]


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 2_000_000


def test_the_sdist_is_the_project(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = (
        sources("mofa_usage") | sources("notebooks") | sources("tests") | {"LICENSE", "README.md", "pyproject.toml"}
    )
    missing = wanted - names
    assert not missing


def test_the_metadata_tells_what_it_is(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "mofa-usage"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS
    assert str(metadata.get_payload()).strip(), "the README is the project's page"


def test_extras_that_are_asked_for_exist() -> None:
    """`require("polars", extra="analysis")` sends the user to an extra; it must be one of ours."""
    asked: set[str] = set()
    for path in (ROOT / "mofa_usage").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                asked |= {str(word.value.value) for word in node.keywords if isinstance(word.value, ast.Constant)}
    assert asked
    assert asked <= EXTRAS


@pytest.fixture(scope="module")
def base_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that holds the wheel and what it requires, no extra."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "-c", ROOT / ".ci" / "constraints.txt", wheel, cwd=folder)
    return python


@pytest.mark.slow
def test_the_base_install_keeps_calls(base_python: Path, tmp_path: Path) -> None:
    script = """
        import asyncio, mofa_usage

        async def main(url):
            async with mofa_usage.connect(url) as store:
                session = mofa_usage.ChatSession.new(mofa_usage.NIL_UUID, mofa_usage.NIL_UUID)
                await store.create_session(session)
                assert await store.get_session(session.id) == session
                statistics = await store.get_statistics(mofa_usage.QueryFilter())
                assert statistics.total_calls == 0

        for url in ("sqlite:usage.db", "sqlite::memory:", "memory:"):
            asyncio.run(main(url))
    """
    run(base_python, "-I", "-c", textwrap.dedent(script), cwd=tmp_path)
    assert (tmp_path / "usage.db").exists()


@pytest.mark.slow
def test_the_base_install_knows_time_zones_where_the_system_does_not(base_python: Path, tmp_path: Path) -> None:
    """As in a small container image: nothing in zoneinfo's search path."""
    script = """
        import asyncio, mofa_usage

        async def main():
            async with mofa_usage.connect("memory:") as store:
                await mofa_usage.import_calls(store, "calls.csv", tz="Europe/Berlin", progress=False)
                print(*[call.create_time for call in await store.query_api_calls()])

        asyncio.run(main())
    """
    (tmp_path / "calls.csv").write_text(
        "create_time,model_name,prompt_tokens,completion_tokens\n2026-05-01 10:00:00,gpt-4,10,5\n"
    )
    printed = run("env", "PYTHONTZPATH=", base_python, "-c", textwrap.dedent(script), cwd=tmp_path)
    assert printed == "2026-05-01 08:00:00+00:00\n"


@pytest.mark.slow
def test_an_extra_is_added_by_the_name_of_the_project(base_python: Path, tmp_path: Path) -> None:
    """As `MissingExtraError` says, though no index has the project: what is installed is taken."""
    pip = (sys.executable, "-m", "pip", "--python", base_python, "install", "--dry-run", "--no-deps", "--no-index")
    assert "already satisfied: mofa-usage[analysis]" in run(*pip, "mofa-usage[analysis]", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "extra"),
    [
        ("mofa_usage.load_usage('calls.parquet')", "analysis"),
        ("mofa_usage.load_usage('sqlite:usage.db')", "analysis"),
        ("mofa_usage.export_parquet('sqlite:usage.db', 'calls.parquet')", "analysis"),
        ("mofa_usage.PriceBook.default()", "pricing"),
        ("asyncio.run(connect('postgresql://user:hidden@127.0.0.1:1/x'))", "postgres"),
        ("asyncio.run(connect('mysql://user:hidden@127.0.0.1:1/x'))", "mysql"),
    ],
)
def test_the_base_install_names_the_missing_extra(
    base_python: Path, tmp_path: Path, statement: str, extra: str
) -> None:
    script = f"""
        import asyncio, mofa_usage

        async def connect(url):
            await mofa_usage.connect(url)

        try:
            {statement}
        except mofa_usage.MissingExtraError as error:
            print(error)
    """
    (tmp_path / "calls.parquet").touch()
    (tmp_path / "usage.db").touch()
    printed = run(base_python, "-I", "-c", textwrap.dedent(script), cwd=tmp_path)
    assert f"mofa-usage[{extra}]" in printed
    assert "hidden" not in printed


@pytest.mark.slow
def test_the_base_install_has_the_command_line(base_python: Path, tmp_path: Path) -> None:
    command = base_python.with_name("mofa-usage")
    assert "import" in run(command, "--help", cwd=tmp_path)
    (tmp_path / "usage.db").touch()
    refused = subprocess.run(
        [command, "summary", "--url", "sqlite:usage.db"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    assert "mofa-usage[analysis]" in " ".join((refused.stderr + refused.stdout).split())
