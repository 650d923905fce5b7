"""The shells that tests of the command line run in."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from mofa_usage.stores import connect
from mofa_usage.values import text_uuid
from tests.cli.shell import Shell
from tests.conftest import run
from tests.samples import AGENT, SESSION, USER, at, call, message, session
from tests.samples import agent as an_agent
from tests.samples import provider as a_provider


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in an empty folder."""
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """A shell in a folder in which a small demo was made, and what making it printed."""
    shell = Shell(tmp_path_factory.mktemp("demo"))
    done = shell.run("demo", "--dir", "try", "--calls", "3000", "--days", "14", "--end", "2026-06-01")
    assert (done.returncode, done.stderr) == (0, "")
    return shell, done.stdout


@pytest.fixture(scope="session")
def labelled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of which `labelled` has a copy."""
    path = tmp_path_factory.mktemp("labelled") / "usage.db"
    run(_labelled(f"sqlite:{path}"))
    return path


@pytest.fixture
def labelled(shell: Shell, labelled_database: Path) -> tuple[Shell, str]:
    """A shell with a database of 30 calls, every eight hours from May 1, 2026: of `alice`, `bob` and `[b]eve`; with
    labels, an agent with a name, and control characters in a model's name. And a session of the user `USER`.
    """
    shutil.copy(labelled_database, shell.folder / "usage.db")
    return shell, "sqlite:usage.db"


USERS = ("alice", "bob", "[b]eve")
MODELS = ("gpt-4o", "gpt-4o-mini", "claude\x1b[2J-sonnet-4-20250514-of-a-very-long-name:0")


async def _labelled(url: str) -> None:
    openai = a_provider("openai")
    helper = an_agent("bot", id=AGENT, agent_name="Support bot", provider_id=openai.id)
    calls = []
    for n in range(30):
        moment = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(hours=8 * n)
        labels = {"user": USERS[n % 3], "team": ("search", "ads")[n % 2], "environment": "production"}
        calls.append(
            call(
                user_id=text_uuid("user_id", USERS[n % 3]),
                chat_session_id=UUID(int=50 + n % 3),
                agent_id=AGENT if n % 5 else UUID(int=9),
                model_name=MODELS[n % 3],
                total_price="0.0000000005" if n % 2 else None,
                latency_ms=1_000 * (n + 1),
                labels=labels,
                create_time=moment,
                update_time=moment,
            )
        )
    async with connect(url) as store:
        await store.save_provider(openai)
        await store.save_agent(helper)
        await store.create_session(session(0, id=SESSION, user_id=USER))
        await store.save_messages([message(0), message(1)])
        await store.save_api_calls([*calls, call(0, user_id=USER, create_time=at(0), update_time=at(0))])
