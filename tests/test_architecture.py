"""The house stays as it was designed: who may import whom, what an import loads, and what fits on a screen."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from mofa_usage.errors import MissingExtraError
from tests.recording.sdks import more

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mofa_usage"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Modules and folders of the package, lowest first: imports go to a lower line only. Lazy imports and those for type
# checkers count. `mofa_usage` itself only names what is where.
LAYERS: tuple[set[str], ...] = (
    {"errors", "forks", "progress", "values"},
    {"details", "labels", "outcomes", "queries"},
    {"fields"},
    {"measures", "records", "tokens", "urls", "zones"},
    {"names", "pricing", "schema", "wording"},
    {"grammar"},
    {"stores", "theme"},
    {"demo", "importing", "plots", "reading", "recording"},
    {"analysis", "monitoring"},
    {"repricing"},
    {"audit", "changes", "efficiency", "service"},
    {"exporting"},
    {"usage"},
    {"warehouse"},
    {"report"},
    {"cli"},
)
# An agent that records its calls never loads Polars; neither side of the house knows the other.
WRITE_PATH = {
    "demo",
    "details",
    "fields",
    "forks",
    "grammar",
    "importing",
    "labels",
    "monitoring",
    "outcomes",
    "pricing",
    "queries",
    "recording",
    "records",
    "schema",
    "stores",
    "tokens",
}
READ_PATH = {
    "analysis",
    "audit",
    "changes",
    "efficiency",
    "exporting",
    "measures",
    "plots",
    "reading",
    "report",
    "repricing",
    "service",
    "theme",
    "usage",
    "warehouse",
    "wording",
}
# Pictures are drawn from small frames that a test can write by hand, whoever computed them.
KNOWN_TO_PLOTS = {"errors", "measures", "theme", "wording"}
HEAVY = ("adbc_driver_manager", "connectorx", "duckdb", "narwhals", "numpy", "pandas", "plotly", "polars", "pyarrow")
NAMES_THAT_SAY_NOTHING = {"common", "helper", "helpers", "misc", "shared", "tools", "util", "utils"}
MODULE_LINES = 450
SCREEN_LINES = 35
LONGEST_FUNCTION = 70


def unit_of(path: Path) -> str:
    """The module or folder of the package that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@pytest.fixture(scope="module", autouse=True)
def _forgotten_trees() -> Iterator[None]:
    """The trees of all modules are read by many rules, and weigh a hundred megabytes."""
    yield
    tree_of.cache_clear()


def nodes_of(path: Path) -> Iterator[ast.AST]:
    """What a module consists of, also what is inside of functions."""
    return ast.walk(tree_of(path))


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Full names of what a module imports, wherever in it: `from a import b` gives `a.b`."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    found: list[str] = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found += (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "require", "__import__"}:
                found.append(str(node.args[0].value))
    return tuple(found)


def used_units(path: Path) -> set[str]:
    """The units of the package that a module imports, its own not counted."""
    names = (name.split(".") for name in imports_of(path))
    used = {parts[1] for parts in names if parts[0] == "mofa_usage" and len(parts) > 1}
    return used - {unit_of(path), "__version__"}


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of each function. The docstring does not count: prose is welcome there."""
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.end_lineno:
                lines -= first.end_lineno - first.lineno + 1
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


def python(code: str) -> str:
    """What `code` prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_has_one_place_in_the_layers() -> None:
    listed = [unit for layer in LAYERS for unit in layer]
    assert sorted(listed) == sorted({unit_of(path) for path in MODULES} - {"__init__"})


def below(unit: str) -> set[str]:
    """The units of the layers below that of a unit."""
    return set().union(*takewhile(lambda layer: unit not in layer, LAYERS))


def test_imports_go_downwards() -> None:
    for path in set(MODULES) - {PACKAGE / "__init__.py"}:  # which is on top of everything
        upwards = used_units(path) - below(unit_of(path))
        assert not upwards, f"{module_name(path)}: {sorted(upwards)} does not lie below {unit_of(path)}"
        assert "mofa_usage" not in imports_of(path), f"{module_name(path)}: import from where a name is defined"


def test_writing_reading_and_drawing_do_not_know_each_other() -> None:
    used = {path: used_units(path) for path in MODULES}
    assert [path for path in MODULES if unit_of(path) in WRITE_PATH and used[path] & READ_PATH] == []
    assert [path for path in MODULES if unit_of(path) == "plots" and not used[path] <= KNOWN_TO_PLOTS] == []


def test_the_layering_test_sees_lazy_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "mofa_usage")
    module = tmp_path / "mofa_usage" / "stores" / "sql.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from mofa_usage.a import x\nfrom .. import b\nfrom . import base\nfrom ..c import y\n"
        "def f():\n    import mofa_usage.d\n    from mofa_usage import e\n"
        "    import_module('mofa_usage.g')\n    require('polars', extra='analysis')\n"
    )
    assert used_units(module) == {"a", "b", "c", "d", "e", "g"}
    assert "polars" in imports_of(module)


def test_the_write_path_does_not_know_the_engines() -> None:
    """An agent must be able to record its calls without any extra; only importing Parquet, frames and SQL needs any."""
    for path in MODULES:
        engines = {name.partition(".")[0] for name in imports_of(path)} & set(HEAVY)
        if unit_of(path) == "importing":
            engines -= {"pyarrow", "duckdb"}
        assert not engines or unit_of(path) in READ_PATH, path


def test_names_say_what_a_module_is_about() -> None:
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in MODULES}
    assert [path for path in MODULES if NAMES_THAT_SAY_NOTHING & set(parts[path])] == []


def test_a_module_is_read_in_one_sitting() -> None:
    assert [path for path in MODULES if len(path.read_text().splitlines()) >= MODULE_LINES] == []


def test_a_module_says_what_it_is_about() -> None:
    assert [path for path in MODULES if not ast.get_docstring(tree_of(path))] == []


def test_functions_fit_on_a_screen() -> None:
    lengths = sorted((lines, name) for path in MODULES for name, lines in functions_of(path))
    longest, name = lengths[-1]
    assert longest <= LONGEST_FUNCTION, name
    long = [name for lines, name in lengths if lines >= SCREEN_LINES]
    assert len(long) <= 0.1 * len(lengths), f"{len(long)} of {len(lengths)} functions do not fit on a screen: {long}"


def test_public_modules_list_their_names() -> None:
    assert [path for path in MODULES if path.parent == PACKAGE and "__all__" not in path.read_text()] == []


def test_exported_names_are_sorted_and_exist() -> None:
    for path in (path for path in MODULES if "__all__" in path.read_text()):
        try:
            module = importlib.import_module(module_name(path))
        except MissingExtraError:
            assert more.missing(), path  # of a class of an SDK that weighs much; the end of the run says so
            continue
        exported = module.__all__
        assert [name for name in exported if not hasattr(module, name)] == [], path
        # Constants first, then classes, then functions: the order that ruff (RUF022) sorts into.
        kinds = [(0 if name.isupper() else 1 if name[0].isupper() else 2, name) for name in exported]
        assert list(exported) == [name for _, name in sorted(kinds)], path


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python("import sys, mofa_usage; print(*sys.modules)").split()
    assert "mofa_usage" in loaded
    assert not {"sqlalchemy", "pydantic", *HEAVY} & set(loaded)


def test_recording_loads_no_database_until_something_is_delivered(tmp_path: Path) -> None:
    loaded = python(
        "import sys\nfrom mofa_usage import LLMApiCall, Recorder\n"
        f"recorder = Recorder('postgres://me@127.0.0.1:1/none', outbox='{tmp_path}/outbox')\n"
        "with recorder.scope(user='alice'):\n"
        "    print(*sys.modules)\n"
        "recorder.close(0)\n"
    ).split()
    assert "mofa_usage.recording" in loaded
    assert not {"asyncio", "sqlalchemy", "genai_prices", *HEAVY} & set(loaded)


def test_importing_the_recorder_loads_no_database_and_no_prices() -> None:
    loaded = python("import sys, mofa_usage; mofa_usage.Recorder; print(*sys.modules)").split()
    assert "mofa_usage.recording.recorder" in loaded
    assert not {"sqlalchemy", "alembic", "aiosqlite", "sqlite3", "genai_prices", *HEAVY} & set(loaded)


def test_importing_the_package_takes_less_than_150_ms() -> None:
    """Processor time beyond the interpreter's own, the least of five: other work on the machine does not count."""

    def cost(code: str) -> float:
        process = os.posix_spawn(sys.executable, [sys.executable, "-c", code], {**os.environ})
        _, status, usage = os.wait4(process, 0)
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    beyond = min(cost("import mofa_usage") for _ in range(5)) - min(cost("pass") for _ in range(5))
    assert beyond < 0.150


def test_writing_to_sqlite_loads_nothing_of_the_read_path(tmp_path: Path) -> None:
    loaded = python(
        "import asyncio, sys, uuid, mofa_usage\n"
        "async def main():\n"
        f"    async with mofa_usage.connect('sqlite:{tmp_path}/calls.db') as store:\n"
        "        session = mofa_usage.ChatSession.new(uuid.uuid4(), uuid.uuid4())\n"
        "        await store.create_session(session)\n"
        "        assert await store.get_session(session.id) == session\n"
        "asyncio.run(main())\n"
        "print(*sys.modules)"
    ).split()
    assert "sqlalchemy" in loaded
    assert not set(HEAVY) & set(loaded)


def test_the_top_level_holds_only_what_it_may() -> None:
    if (ROOT / ".git").exists():  # what lies around untracked is the developer's own
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        top = {name.partition("/")[0] for name in listed.splitlines()}
    else:
        ignored = {".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".coverage"}
        top = {path.name for path in ROOT.iterdir()} - ignored
    allowed = {"mofa_usage", "notebooks", "tests", "pyproject.toml", "README.md", ".ci", ".gitignore", "LICENSE"}
    assert top <= {*allowed, "CHANGELOG.md"}


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = importlib.import_module("mofa_usage")
    assert module.__version__ == project["version"]


def changes_the_process(node: ast.AST) -> bool:
    match node:
        case ast.Subscript(value=ast.Attribute(attr="environ"), ctx=ast.Store() | ast.Del()):
            return True
        case ast.Call(func=ast.Attribute(attr=name, value=ast.Attribute(attr="environ"))):
            return name not in ("get", "copy", "items")
        case ast.Call(func=ast.Attribute(attr="putenv" | "unsetenv" | "chdir" | "umask")):
            return True
    return False


def test_what_belongs_to_the_whole_process_is_left_alone() -> None:
    """The environment and the working directory are read by all threads, C code among them: nobody changes them."""
    changing = [(path, ast.unparse(node)) for path in MODULES for node in nodes_of(path) if changes_the_process(node)]
    assert changing == []


def test_what_is_joined_to_rows_leaves_them_in_their_order() -> None:
    """Polars promises an order only where it is asked for one."""
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("how") != "'left'" or "maintain_order" in given, (path, ast.unparse(node))
