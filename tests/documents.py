"""Runs the code blocks of a Markdown page, all of them, in order, as a reader would.

- `python`: executed; the blocks of one page share their names. A block may `await` at its top level, as in a notebook;
  one with `>>>` is run as a session whose output must match.
- `console`: the lines after `$ ` are run by one shell per block (`> ` and a backslash continue a line). Other lines are
  output that must come in this order, among other lines; `...` in them stands for anything. A block of which a shell
  would only split the words of `mofa-usage` runs without one, in this process: starting another takes longer than most
  commands. It may end with `|| true`, and `mkdir -p` may stand between. README's blocks have a shell and processes, and
  so have all with pipes, variables or other programs.
- `bash`: a script, run as it stands.
- `sql`: run by the administrator of the page's database server.
- `toml`, `json`, `ini`: read by a parser.

There is no way to leave a block out: one without a language, with another language or with words behind the language
is an error, and so is a fence that is not recognised. A few commands that set a clone up are not run again but checked:
what makes the environment and runs the tests must be in `.ci/run`, which does it; `pip` must be asked for this project,
with extras that it has. `.venv/bin/mofa-usage` is run, from the environment that the tests are in.

What many pages begin with and what takes long, the demo, may be there already (`Page`'s `ready`).
"""

import ast
import asyncio
import configparser
import doctest
import inspect
import io
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Block", "DocumentError", "Page", "blocks", "run_python"]

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
COMMAND_SECONDS = 300
_OR_TRUE = " || true"
_MAKES_FOLDER = re.compile(r"mkdir -p [\w/]+")


class DocumentError(AssertionError):
    """A block cannot be run, failed, or printed something else than the page says."""


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is that of its first line of code, counted from 1."""

    language: str
    code: str
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def blocks(text: str, path: Path, first_line: int = 1) -> Iterator[Block]:
    """The fenced blocks of a Markdown text that starts at `first_line` of `path`.

    Raises:
        DocumentError: a fence is not closed, or there are fences where this does not look (inside a quotation).
    """
    opened: re.Match[str] | None = None
    start, code = 0, list[str]()
    for number, line in enumerate(text.splitlines(), first_line):
        match = FENCE.match(line)
        if opened is None:
            if match:
                opened, start, code = match, number + 1, []
            elif "```" in line or "~~~" in line:
                raise DocumentError(f"{path.name}:{number}: this fence would not be run; start it on a line of its own")
        elif match and match["fence"].startswith(opened["fence"]) and not match["info"].strip():
            yield Block(opened["info"].strip(), "\n".join(code) + "\n", path, start)
            opened = None
        else:
            code.append(line.removeprefix(opened["indent"]))
    if opened is not None:
        raise DocumentError(f"{path.name}:{start - 1}: this fence is never closed")


def run_python(block: Block, names: dict[str, Any], runner: asyncio.Runner) -> None:
    """Execute a Python block with `names` as its globals; with a top-level `await` inside the runner's loop."""
    if block.code.lstrip().startswith(">>>"):
        _run_session(block, names)
        return
    # Blank lines in front make tracebacks show the page's own lines.
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, str(block.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, names)
        return

    async def run() -> None:
        await eval(code, names)

    runner.run(run())


def _run_session(block: Block, names: dict[str, Any]) -> None:
    example = doctest.DocTestParser().get_doctest(block.code, names, str(block), str(block.path), block.line - 1)
    report: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append, clear_globs=False)
    names.update(example.globs)
    if outcome.failed:
        raise DocumentError("".join(report))


class Page:
    """One page that is being read: its names, folder and environment live as long as the page.

    Args:
        folder: where commands run; the caller has made it the current directory for the Python blocks.
        environment: of the commands.
        run_sql: runs an `sql` block; None where the page has no database server.
        ready: what is run in place of a command, by the command as pages write it.
        program: runs `mofa-usage` with the given words in this process, in the environment that it has, and returns the
            exit code; None where a shell is to start it.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        run_sql: Callable[[str], object] | None = None,
        ready: Mapping[str, str] | None = None,
        program: Callable[[Sequence[str]], int] | None = None,
    ) -> None:
        self._folder, self._environment, self._run_sql = folder, dict(environment), run_sql
        self._ready, self._program = ready or {}, program
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def read(self, path: Path) -> int:
        """Run every block of the page. Returns how many there were."""
        found = list(blocks(path.read_text(encoding="utf-8"), path))
        with asyncio.Runner() as runner:
            for block in found:
                self._run(block, runner)
        return len(found)

    def _run(self, block: Block, runner: asyncio.Runner) -> None:
        kinds: dict[str, Callable[[], object]] = {
            "python": lambda: run_python(block, self._names, runner),
            "console": lambda: self._run_console(block),
            "bash": lambda: self._shell(
                "\n".join(self._checked(line) for line in _whole_lines(block.code.splitlines()))
            ),
            "sql": lambda: self._sql(block.code),
            "toml": lambda: tomllib.loads(block.code),
            "json": lambda: json.loads(block.code),
            "ini": lambda: configparser.ConfigParser(interpolation=None).read_string(block.code),
        }
        if block.language not in kinds:
            raise DocumentError(f"{block}: a block must be one of {', '.join(kinds)}, not {block.language!r}")
        try:
            kinds[block.language]()
        except Exception as error:
            error.add_note(f"in the {block.language} block at {block.path}:{block.line}")
            raise

    def _sql(self, sql: str) -> None:
        if self._run_sql is None:
            raise DocumentError("this page has no database server that could run SQL")
        self._run_sql(sql)

    def _run_console(self, block: Block) -> None:
        commands, shown = _transcript(block)
        steps = [self._ready.get(command) or self._checked(command) for command in commands]
        ways = [
            self._shell if command in self._ready or _MAKES_FOLDER.fullmatch(command) else self._call
            for command in commands
        ]
        planned = list(zip(ways, steps, strict=True))
        if self._program is not None and all(way == self._shell or _is_plain(step) for way, step in planned):
            printed = "".join(way(step) for way, step in planned)
        else:
            printed = self._shell("\n".join(steps))
        _compare(shown, printed)

    def _checked(self, line: str) -> str:
        """What to run for a line of shell: itself, or what remains of it once its set-up commands are checked."""
        return " && ".join(self._ready.get(command) or _checked_command(command) for command in line.split(" && "))

    def _call(self, command: str) -> str:
        """What the program prints, run in this process."""
        assert self._program is not None
        with redirect_stdout(io.StringIO()) as printed, redirect_stderr(printed):
            code = self._program(shlex.split(command.removesuffix(_OR_TRUE))[1:])
        if code != 0 and not command.endswith(_OR_TRUE):
            raise DocumentError(f"{command}\nended with {code}:\n{printed.getvalue()}")
        return printed.getvalue()

    def _shell(self, script: str) -> str:
        """What a shell prints that runs the script and stops at the first error."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise DocumentError(f"{script}\nended with {done.returncode}:\n{done.stdout}")
        return done.stdout


def _is_plain(command: str) -> bool:
    """Whether it is one of `mofa-usage` and a shell would do nothing with it but split it into words."""
    unquoted = re.sub(r"""'[^']*'|"[^"$`\\]*\"""", "", command.removesuffix(_OR_TRUE))
    return command.startswith("mofa-usage ") and not re.search(r"[|&;<>$`~*?!(){}\[\]#\\\n\"']", unquoted)


def _whole_lines(lines: list[str]) -> list[str]:
    """Lines with those joined that a backslash continues."""
    return re.sub(r"\\\n\s*", " ", "\n".join(lines)).split("\n")


def _transcript(block: Block) -> tuple[list[str], list[str]]:
    """The commands of a console block, and the lines of output that it shows."""
    commands: list[str] = []
    shown: list[str] = []
    continues = False
    for line in block.code.splitlines():
        if line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
            continues = line.endswith("\\")
        elif commands and (continues or line.startswith("> ")):
            commands[-1] += "\n" + line.removeprefix("> ")
            continues = line.endswith("\\")
        elif line.strip():
            shown.append(line)
    if not commands:
        raise DocumentError(f"{block}: a console block needs a line that starts with '$ '")
    return [line for command in commands for line in _whole_lines(command.split("\n"))], shown


def _compare(shown: list[str], printed: str) -> None:
    lines = iter(printed.splitlines())
    for wanted in shown:
        words = (re.escape(" ".join(part.split())) for part in wanted.split("..."))
        pattern = re.compile(".*".join(words))
        if wanted.strip() != "..." and not any(pattern.fullmatch(" ".join(line.split())) for line in lines):
            raise DocumentError(f"the page shows {wanted!r}, which was not printed (in this order):\n{printed}")


def _checked_command(command: str) -> str:
    if command.startswith(".venv/bin/mofa-usage "):
        return command.removeprefix(".venv/bin/")
    if command.startswith(("python3 -m venv", ".venv/bin/pytest", "bash .ci/")):
        _check_ci(command)
        return ":"
    if match := re.match(r"(?:\.venv/bin/)?pip (?P<verb>install|wheel) (?P<what>.*)", command):
        _check_pip(match["what"])
        return ":"
    return command


def _check_ci(command: str) -> None:
    parts = command.split()
    if parts[0] == "bash" and len(parts) == 2 and (ROOT / parts[1]).is_file():
        return
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    # .ci/run may add options to the command, and a time limit in front of it.
    if any(parts == line.split()[at : at + len(parts)] for line in script.splitlines() for at in range(2)):
        return
    raise DocumentError(f"{command!r} is not what .ci/run runs")


def _check_pip(arguments: str) -> None:
    """What is installed or built is this project: by its name, as the clone that one is in, or as its wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    wheel = f"dist/{name.replace('-', '_')}-{version}-py3-none-any.whl"
    words = iter(shlex.split(arguments))
    for word in words:
        if word in {"-c", "-w"}:
            value = next(words, "")
            if word == "-c" and not (ROOT / value).is_file():
                raise DocumentError(f"there are no constraints {value!r}")
        elif word not in {"-e", "--no-deps"}:
            match = re.fullmatch(rf"(?:{name}|\.|{re.escape(wheel)})(?:\[(?P<extras>[\w,-]+)\])?", word)
            extras = set((match["extras"] or "").split(",")) - {""} if match else set()
            if match is None or not extras <= set(project["optional-dependencies"]):
                raise DocumentError(f"{word!r} is not this project with extras that it has")
