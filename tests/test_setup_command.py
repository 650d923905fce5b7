"""`python3 .ci/env COMMAND` sets everything up once, by itself, and says in one sentence when it cannot.

It is tried on a small project with the same extras and no dependencies; on the real one it has just run, for how else
would these tests run on a machine where nothing was installed by hand.
"""

import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "env"
PYPROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "mofa-usage"
version = "1.0"

[project.scripts]
mofa-usage = "mofa_usage:main"
other-command = "mofa_usage:main"

[project.optional-dependencies]
analysis = []
all = []

[dependency-groups]
dev = []

[tool.hatch.build.targets.wheel]
packages = ["mofa_usage"]
"""
SMALL_PACKAGE = "import sys\ndef main():\n    print(sys.prefix, *sys.argv[1:])\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project with blanks"
    (root / ".ci").mkdir(parents=True)
    shutil.copy(SCRIPT, root / ".ci" / "env")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "mofa_usage").mkdir()
    (root / "mofa_usage" / "__init__.py").write_text(SMALL_PACKAGE)
    return root


@pytest.fixture
def program(project: Path) -> ModuleType:
    """The program as a module, working on the small project."""
    loader = importlib.machinery.SourceFileLoader("ci_env", str(project / ".ci" / "env"))
    spec = importlib.util.spec_from_loader("ci_env", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def start(project: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(project / ".ci" / "env"), *command],
        cwd=project.parent,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def use(project: Path, *command: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and error output of `python3 .ci/env COMMAND`, run in the folder above the project."""
    process = start(project, *command, **environment)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


@pytest.mark.slow
def test_the_environment_is_made_once_and_kept_up_to_date(project: Path) -> None:
    venv_folder = project / ".venv"
    # What a user's shell may have set must not get in the way.
    code, output, errors = use(project, "mofa-usage", "demo", "--now", PIP_USER="1", PYTHONPATH="/nowhere")
    assert (code, output) == (0, f"{venv_folder} demo --now\n")
    assert re.fullmatch(
        r"(\.ci/env: install.* with what the command line needs.*)\n(\.ci/env: installed in \d+ s)\n", errors
    )
    assert use(project, "mofa-usage") == (0, f"{venv_folder}\n", "")
    code, output, errors = use(project, "other-command")
    assert (code, output) == (0, f"{venv_folder}\n")
    assert "with everything" in errors
    assert use(project, "mofa-usage") == (0, f"{venv_folder}\n", ""), "the full one serves those who need less"

    (project / "pyproject.toml").write_text(PYPROJECT.replace('"1.0"', '"2.0"'))
    code, _, errors = use(project, "mofa-usage")
    assert code == 0
    assert "with everything" in errors
    assert use(project, "other-command") == (0, f"{venv_folder}\n", "")

    moved = project.with_name("moved")
    project.rename(moved)
    code, output, errors = use(moved, "mofa-usage")
    assert (code, output) == (0, f"{moved / '.venv'}\n")
    assert "installing" in errors


@pytest.mark.slow
def test_two_at_once_install_once(project: Path) -> None:
    both = [start(project, "mofa-usage"), start(project, "mofa-usage")]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("installed in" in said for said in errors) == 1


@pytest.mark.slow
def test_a_failing_installation_is_one_sentence_and_is_tried_again(project: Path) -> None:
    broken = PYPROJECT.replace("analysis = []", 'analysis = ["pip>=9999"]')
    (project / "pyproject.toml").write_text(broken)
    code, output, errors = use(project, "mofa-usage")
    assert (code, output) == (1, "")
    assert "pip could not install (ERROR: " in errors.splitlines()[-1]
    assert "Traceback" not in errors
    (project / "pyproject.toml").write_text(PYPROJECT)
    assert use(project, "mofa-usage")[0] == 0


def test_no_command_is_one_sentence(project: Path) -> None:
    code, output, errors = use(project)
    assert (code, output) == (1, "")
    assert errors == ".ci/env: say what to run, such as: python3 .ci/env pytest\n"


@pytest.fixture
def no_pip(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An environment without pip, on a machine whose Python has no ensurepip."""
    venv.create(program.VENV, with_pip=False)
    really = program.succeeds

    def succeeds(*command: object, **where: object) -> bool:
        return "ensurepip" not in command and bool(really(*command, **where))

    monkeypatch.setattr(program, "succeeds", succeeds)
    assert program.pip_version() == (0, 0)
    return program


@pytest.mark.slow
def test_another_pip_helps_where_ensurepip_is_missing(no_pip: ModuleType) -> None:
    no_pip.get_pip()
    assert no_pip.pip_version() > (0, 0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="only Debian's Python comes without ensurepip")
def test_debians_own_pip_helps_where_no_other_is(no_pip: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user of a fresh Debian: no python3-venv, no python3-pip and nobody to install them."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python3")
    monkeypatch.setattr(no_pip, "DEBIAN_WHEELS", Path("/nonexistent"))
    no_pip.get_pip()
    assert no_pip.pip_version() > (0, 0)


def test_no_pip_at_all_is_one_sentence(no_pip: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(no_pip, "succeeds", lambda *command, **where: False)
    monkeypatch.setattr(no_pip, "DEBIAN_WHEELS", Path("/nonexistent"))
    with pytest.raises(no_pip.SetupError, match=r"this Python has no pip; .* sudo apt-get install python3-venv"):
        no_pip.get_pip()


@pytest.fixture
def old_python(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where `python3` is 3.9. Returns the only folder on PATH, empty."""
    monkeypatch.setattr(program, "sys", SimpleNamespace(version_info=(3, 9)))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_an_old_python_hands_over_to_a_new_one(
    program: ModuleType, old_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = old_python / "python3.13"  # as a version manager's name for something that is not installed
    refuses.write_text("#!/bin/sh\nexit 127\n")
    refuses.chmod(0o755)
    (old_python / "python3.11").symlink_to(sys.executable)
    became: list[list[str]] = []

    def execv(path: str, arguments: list[str]) -> None:
        became.append([path, *arguments[1:]])
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit):
        program.main(["pytest", "-q"])
    assert became == [[str(old_python / "python3.11"), program.__file__, "pytest", "-q"]]


def test_no_new_python_is_one_sentence(program: ModuleType, old_python: Path) -> None:
    with pytest.raises(program.SetupError, match=r"this is Python 3\.9 and there is no Python 3\.11 or newer on PATH"):
        program.main(["pytest"])


def test_an_unknown_command_is_one_sentence(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "prepare", lambda level: None)
    with pytest.raises(program.SetupError, match="there is no command 'no-such-command'"):
        program.main(["no-such-command"])


def test_the_command_line_is_installed_lean(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[str] = []
    monkeypatch.setattr(program, "prepare", levels.append)
    monkeypatch.setattr(os, "execve", lambda *command: None)
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/bin/{name}")
    for command in ("mofa-usage", "pytest", "ruff", "mypy", "jupyter"):
        program.main([command])
    assert levels == ["analysis", "all", "all", "all", "all"]
