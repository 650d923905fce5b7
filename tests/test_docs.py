"""What the documentation shows is true: every block of README and docs runs, and so do the examples in docstrings."""

import ast
import asyncio
import doctest
import gc
import importlib
import os
import re
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

import mofa_usage
from mofa_usage import cli, demo
from tests import bills, logs, spark
from tests.documents import Block, DocumentError, Page, blocks, run_python
from tests.pictures import PICTURES
from tests.recording.sdks import more
from tests.recording.sdks.model_server import model_server
from tests.servers import Server, mariadb_server, postgres_server

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "mofa_usage" / "docs").glob("*.md"))
LEFT_OUT = {spark.PAGE, *(more.PAGES if more.missing() else ())}
PAGES = [ROOT / "README.md", *(path for path in DOCS if path.name not in LEFT_OUT)]
MODULES = sorted((ROOT / "mofa_usage").rglob("*.py"))
SERVERS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "postgres.md": postgres_server,
    "mysql.md": mariadb_server,
}
# Pages that find logs of tools where they are kept, and a bill.
READS_LOGS = {"import_logs.md", "README.md"}
BILLS = "completeness.md"
# Pages whose clients of SDKs find the tests' server of models.
TRACES = "opentelemetry.md"
ASKS_MODELS = {"README.md", "agents.md", TRACES, "sdks.md", *more.PAGES}
# The demos that pages begin with, by their commands; `tests/cli/test_demo_command.py` and README run such.
DEMOS: dict[str, dict[str, Any]] = {
    "mofa-usage demo --dir demo": {"calls": 5_000},
    "mofa-usage demo --dir demo --calls 3000 --days 14": {"calls": 3_000, "days": 14},
    "mofa-usage demo --dir demo --calls 3000 --days 14 --end 2026-06-01": {
        **{"calls": 3_000, "days": 14},
        "end": datetime(2026, 6, 1, tzinfo=UTC),
    },
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An empty current directory, the installed command line first on PATH, and no database chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Commands to run in place of others. Most bring the database of a demo: making one, with a report, takes longer
    than most pages. Where a page does not say how many calls, there are fewer.
    """
    ready = {".venv/bin/mofa-usage demo": "mofa-usage demo --calls 5000"}
    for command, options in DEMOS.items():
        folder = tmp_path_factory.mktemp("demo")
        asyncio.run(write_demo(f"sqlite:{folder}/usage.db", options))
        ready[command] = f"cp -r {folder} demo && ls demo/*"
    return ready


async def write_demo(url: str, options: dict[str, Any]) -> None:
    async with mofa_usage.connect(url) as store:
        await demo.write_usage(store, demo.generate_usage(**options))


@pytest.fixture
def page(environment: dict[str, str], tmp_path: Path) -> Page:
    return Page(tmp_path, environment)


@contextmanager
def a_tracer_provider_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one of the process can be set once, and clients of later tests would trace to it."""
    with monkeypatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", None)
        patch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
        yield


def let_go() -> None:
    """Collect the clients that a page has not closed, as readers need not, while what they left open is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def lay_out_logs(home: Path) -> None:
    """The samples of logs, where tools keep theirs or beside the page."""
    for tool in (path for path in logs.FOLDER.iterdir() if path.is_dir()):
        inside = {"claude_code": home / ".claude", "codex": home / ".codex"}.get(tool.name, home / tool.name)
        shutil.copytree(tool, inside)


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning")  # of LiteLLM's own types
@pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm")
@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_block_of_a_page_runs(
    path: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demos: dict[str, str]
) -> None:
    """The page of a server runs with DATABASE_URL set to an empty database of such a server."""
    with ExitStack() as stack:
        server = stack.enter_context(SERVERS[path.name]()) if path.name in SERVERS else None
        if server is not None:
            monkeypatch.setenv("DATABASE_URL", server.url)
        if path.name in ASKS_MODELS:
            models = stack.enter_context(model_server())
            for name, value in models.environment.items():
                monkeypatch.setenv(name, value)
        if path.name in READS_LOGS:
            lay_out_logs(tmp_path)
            monkeypatch.setenv("HOME", str(tmp_path))
        if path.name == BILLS:
            asyncio.run(bills.lay_out(tmp_path))
        if path.name == TRACES:
            stack.enter_context(a_tracer_provider_of_its_own(monkeypatch))
        program = None if path.name == "README.md" else cli.run
        page = Page(tmp_path, {**environment, **os.environ}, server.admin if server else None, demos, program)
        assert page.read(path) > 0, "a page without an example has nothing to hold it true"
        del page
        if path.name in ASKS_MODELS:
            let_go()


def pictures_on(path: Path) -> list[Path]:
    return [path.parent / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text())]


@pytest.mark.parametrize("path", [ROOT / "README.md", *DOCS], ids=page_id)
def test_every_page_has_a_picture_that_can_be_made_again(path: Path) -> None:
    shown = pictures_on(path)
    assert shown
    assert [picture for picture in shown if not picture.is_file() or picture.stem not in PICTURES] == []


def test_every_picture_is_on_a_page() -> None:
    shown = {picture.stem for path in (ROOT / "README.md", *DOCS) for picture in pictures_on(path)}
    assert shown == set(PICTURES)


def test_the_readme_has_the_two_commands() -> None:
    """Each is one line that can be copied, in the words that everybody knows."""
    install = "python3 -m venv .venv && .venv/bin/pip install -c .ci/constraints.txt -e"
    lines = (ROOT / "README.md").read_text().splitlines()
    for extras, command in {"analysis": "mofa-usage demo", "all,test": "pytest"}.items():
        assert f"$ {install} '.[{extras}]' && .venv/bin/{command}" in lines


def test_the_tests_of_readme_are_those_of_ci() -> None:
    """There with the SDKs that weigh much, and Spark."""
    script = (ROOT / ".ci" / "run").read_text()
    assert ".venv/bin/pip install -c .ci/constraints.txt -e '.[all,test,sdks,spark,java]'" in script


# Docstrings


@pytest.mark.parametrize("path", [path for path in MODULES if ">>>" in path.read_text()], ids=page_id)
def test_examples_in_docstrings_print_what_they_show(path: Path, environment: dict[str, str]) -> None:
    module = importlib.import_module(dotted_name(path))
    failures, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failures == 0, "the captured output says which"


def dotted_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """First line and text of every docstring of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.lineno, first.value.value


def docstring_blocks(path: Path) -> list[Block]:
    """The fenced blocks of a module's docstrings. One without a language may be a drawing, but not code."""
    found = [block for line, text in docstrings(path) for block in blocks(text, path, line)]
    for block in found:
        if block.language != "python" and (block.language or is_python(block.code)):
            raise DocumentError(f"{block}: an example in a docstring is a python block")
    return [block for block in found if block.language]


def is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


# To parse all modules would take each process that collects tests two seconds.
FENCED = [path for path in MODULES if re.search("```|~~~", path.read_text(encoding="utf-8"))]
DOCSTRING_BLOCKS = [block for path in FENCED for block in docstring_blocks(path)]


@pytest.mark.parametrize("block", DOCSTRING_BLOCKS, ids=lambda block: f"{page_id(block.path)}:{block.line}")
def test_blocks_in_docstrings_run(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    module = importlib.import_module(dotted_name(block.path))
    with asyncio.Runner() as runner:
        names = runner.run(reader_names(tmp_path))
        try:
            run_python(block, {**names, **vars(module)}, runner)
        finally:
            runner.run(names["store"].close())


async def reader_names(folder: Path) -> dict[str, Any]:
    """What the reader of a docstring may be taken to have.

    The public names; `usage.db` with a little usage of May 2026, and `store`, open on it; a `session` with `messages`
    and a `call` that are not yet saved; `export.csv` in the words of somebody else's program.
    """
    names = {name: getattr(mofa_usage, name) for name in mofa_usage.__all__}
    store = await mofa_usage.connect("sqlite:usage.db")
    usage = demo.generate_usage(calls=200, end=datetime(2026, 6, 1, tzinfo=UTC))
    await demo.write_usage(store, usage)
    session = mofa_usage.ChatSession.new(uuid.uuid4(), usage.calls[0].agent_id, title="an example")
    ids: dict[str, Any] = {"chat_session_id": session.id, "agent_id": session.agent_id, "user_id": session.user_id}
    messages = [mofa_usage.LLMMessage.new(**ids, role=role, content=role) for role in ("user", "assistant")]
    call = usage.calls[0].model_copy(update={"id": uuid.uuid4()})
    (folder / "export.csv").write_text(
        "id,when,deployment,prompt_tokens,completion_tokens,hits\n"
        "0191d2a4-7d3c-7000-8000-000000000002,2026-05-01T08:00:00Z,gpt-5-mini,120,30,100\n"
        "0191d2a4-7d3c-7000-8000-000000000003,2026-05-01T09:00:00Z,gpt-5-mini,80,many,\n"
    )
    return {**names, "mofa_usage": mofa_usage, "store": store, "session": session, "messages": messages, "call": call}


# The harness itself, on pages made for it


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_python_blocks_share_names_and_may_await(page: Page, tmp_path: Path) -> None:
    text = (
        "# Page\n```python\nimport asyncio\nx = 1\n```\ntext\n```python\nawait asyncio.sleep(0)\n"
        "loop = asyncio.get_running_loop()\n```\n- item\n  ```python\n  async def f():\n      return 2\n"
        "  assert await f() == 2 and loop is asyncio.get_running_loop()\n  ```\n"
        "```python\nasyncio.run(f())\nopen('made', 'w').close()\n```\n````python\n>>> x + 1\n2\n````\n"
    )
    assert page.read(write(tmp_path, text)) == 5
    assert (tmp_path / "made").exists()


def test_a_failing_python_block_is_shown_with_its_line(page: Page, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        page.read(write(tmp_path, "text\n\n```python\nx = 1\nx / 0\n```\n"))
    assert caught.traceback[-1].lineno == 4  # counted from 0
    assert any("page.md:4" in note for note in caught.value.__notes__)


def test_a_session_must_print_what_it_shows(page: Page, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="Expected"):
        page.read(write(tmp_path, "```python\n>>> 1 + 1\n3\n```\n"))


def test_console_blocks_run_and_print_what_they_show(page: Page, tmp_path: Path) -> None:
    text = (
        "```console\n$ name=world\n$ echo hello \\\n    $name\nhello ...ld\n$ printf 'a\\nb  c\\nd\\n'\n...\nb c\n"
        "$ pwd > here\n```\n```bash\n# a script\nfor n in 1 2; do\n  echo $n >> count\ndone\n```\n"
    )
    assert page.read(write(tmp_path, text)) == 2
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)
    assert (tmp_path / "count").read_text() == "1\n2\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```\ncode\n```\n", "must be one of"),
        ("```rust\ncode\n```\n", "must be one of"),
        ("```python skip\n1 / 0\n```\n", "must be one of"),
        ("```text\nanything\n```\n", "must be one of"),
        ("```python\n1 / 0\n", "never closed"),
        ("> ```python\n> 1 / 0\n> ```\n", "would not be run"),
        ("```sql\nselect 1\n```\n", "no database server"),
        ("```console\nls\n```\n", "needs a line that starts with"),
        ("```console\n$ echo a\nb\n```\n", "was not printed"),
        ("```console\n$ printf 'a\\nb\\n'\nb\na\n```\n", "was not printed"),
        ("```console\n$ false\n$ echo not reached\n```\n", "ended with 1"),
        ("```console\n$ .venv/bin/pytest --nonsense\n```\n", "not what .ci/run runs"),
        ("```console\n$ python3 -m venv elsewhere && echo made\n```\n", "not what .ci/run runs"),
        ("```console\n$ bash .ci/nonsense\n```\n", "not what .ci/run runs"),
        ("```console\n$ .venv/bin/pip install -c nonsense.txt -e .\n```\n", "no constraints"),
        ("```console\n$ .venv/bin/pip install -e '.[nonsense]'\n```\n", "not this project"),
        ("```console\n$ pip install 'dist/mofa_usage-0.0.1-py3-none-any.whl'\n```\n", "not this project"),
        ("```console\n$ pip install mofa-usage[nonsense]\n```\n", "not this project"),
        ("```console\n$ pip install other\n```\n", "not this project"),
        ("```toml\na = \n```\n", "Invalid value"),
        ("```json\n{\n```\n", "Expecting property name"),
        ("```ini\na = 1\n```\n", "no section headers"),
    ],
)
def test_nothing_is_left_out_silently(text: str, complaint: str, page: Page, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=complaint):
        page.read(write(tmp_path, text))


def test_set_up_commands_are_checked_and_not_run_again(page: Page, tmp_path: Path) -> None:
    text = (
        "```console\n$ python3 -m venv .venv && .venv/bin/pip install -c .ci/constraints.txt -e '.[all]' && echo 2\n2\n"
        "$ .venv/bin/pytest\n$ bash .ci/run\n$ pip install 'mofa-usage[postgres,analysis]'\n$ pip install mofa-usage\n"
        "$ .venv/bin/pip wheel --no-deps -w dist .\n$ .venv/bin/mofa-usage --version\n...0...\n```\n"
    )
    assert page.read(write(tmp_path, text)) == 1


def test_commands_of_which_a_shell_would_only_split_the_words_need_none(tmp_path: Path) -> None:
    called: list[Any] = []

    def program(words: Any) -> int:
        called.append(words)
        sys.stdout.write("called\n")
        return len(words) - 3

    commands = "$ mofa-usage a 'b c' \"d\"\ncalled\n$ .venv/bin/mofa-usage 1 \\\n  2 3\n"
    read = Page(tmp_path, os.environ, ready={"$": "false"}, program=program).read
    assert read(write(tmp_path, f"```console\n{commands}```\n")) == 1
    assert called == [["a", "b c", "d"], ["1", "2", "3"]]
    assert read(write(tmp_path, "```console\n$ mkdir -p made/here\n$ mofa-usage 1 2 3 4 || true\ncalled\n```\n")) == 1
    assert (called.pop(), (tmp_path / "made" / "here").is_dir()) == (["1", "2", "3", "4"], True)
    for other in ("mofa-usage --nonsense | cat", "mofa-usage $nonsense", "true"):
        page = write(tmp_path, f"```console\n{commands}$ {other}\n```\n")
        with pytest.raises(DocumentError, match="ended with"):
            read(page)
    assert len(called) == 2
    with pytest.raises(DocumentError, match="ended with 1"):
        read(write(tmp_path, "```console\n$ mofa-usage 1 2 3 4\n```\n"))


def test_a_command_may_be_ready(tmp_path: Path) -> None:
    ready = {"slow --thing": "echo made elsewhere"}
    read = Page(tmp_path, os.environ, ready=ready).read
    assert read(write(tmp_path, "```console\n$ slow --thing\nmade elsewhere\n$ echo here\nhere\n```\n")) == 1


def test_sql_runs_where_there_is_a_server(tmp_path: Path) -> None:
    ran: list[str] = []
    Page(tmp_path, os.environ, ran.append).read(write(tmp_path, "```sql\ngrant select on t to reader;\n```\n"))
    assert ran == ["grant select on t to reader;\n"]


def test_code_without_a_language_in_a_docstring_is_refused(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Drawing:\n\n```\na <- b\n├── c\n```\n\n```python\nx = 1\n```\n"""\n')
    assert [(block.code, block.line) for block in docstring_blocks(module)] == [("x = 1\n", 9)]
    module.write_text('"""Code:\n\n```\nx = 1\n```\n"""\n')
    with pytest.raises(DocumentError, match="python block"):
        docstring_blocks(module)
