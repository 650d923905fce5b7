"""An agent chats through recorded clients while it is killed again and again, and its database too.

Every chat that was answered and accepted has exactly its rows, and its tokens are those that the server has counted.
"""

import asyncio
import random
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mofa_usage import ApiCallStatus, LLMApiCall, connect
from mofa_usage.recording.outbox.folder import Outbox
from mofa_usage.recording.waiting import drain
from mofa_usage.schema import metadata
from tests.proofs import trials
from tests.recording.sdks.model_server import ANSWER, ModelServer, model_server, words
from tests.servers import Server, mariadb_server, postgres_server

TASKS, THREADS = trials(20, 200), trials(4, 20)
SERVERS = {"postgres": postgres_server, "mariadb": mariadb_server}
# Of each: how many chats, and how often the agent is killed meanwhile.
SIZES = {
    "postgres": (trials(60, 10_000), trials(1, 20)),
    "mariadb": (trials(30, 1_500), trials(0, 3)),
    "sqlite": (trials(30, 1_500), trials(0, 3)),
}


def chat(url: str, folder: Path, server: ModelServer, name: str, chats: int, *, is_killed: bool) -> list[str]:
    """Run an agent until so many chats were accepted, and then kill it, or wait for its end: the names of them."""
    arguments = (url, folder, server.url, name, TASKS, THREADS, 0 if is_killed else chats)
    command = [sys.executable, "-m", "tests.recording.agent", *map(str, arguments)]
    complaints = folder.parent / f"{name}.stderr"
    said = []
    with (
        complaints.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # else it was killed in its midst
                said.append(line.strip())
            if is_killed and len(said) == chats:
                process.kill()
    assert process.returncode == (-signal.SIGKILL if is_killed else 0), complaints.read_text()
    assert "Traceback" not in complaints.read_text()
    return said


@contextmanager
def killed_again_and_again(server: Server | None) -> Iterator[None]:
    """A database that is never up for long; it is in the end."""
    over = threading.Event()
    failures: list[BaseException] = []

    def kill() -> None:
        randomness = random.Random(8)
        try:
            while server is not None and not over.wait(0.3 + randomness.random() * 1.5):
                server.kill()
                over.wait(randomness.random() * 0.5)
                server.restart()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failures


def rows(url: str) -> tuple[list[LLMApiCall], dict[Any, list[str]]]:
    """The calls, and the roles of the messages of each session, by whatever the database has for an id."""

    async def read() -> tuple[list[LLMApiCall], dict[Any, list[str]]]:
        async with connect(url) as store:
            roles = defaultdict(list)
            table = metadata.tables["entity_llm_message"]
            query = sa.select(table.c.chat_session_id, table.c.role)
            async with store.engine.connect() as connection:  # type: ignore[attr-defined]
                for session, role in await connection.execute(query):
                    roles[session].append(role)
            return await store.query_api_calls(), roles

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, read()).result()


def check(url: str, server: ModelServer, said: list[str]) -> None:
    calls, roles = rows(url)
    names = Counter(call.labels["session"] for call in calls)
    assert set(said) <= names.keys(), "accepted, so it is there"
    assert set(names.values()) == {1}
    # A chat whose process was killed between its acceptance and its words is there, too: whole.
    counted = {asked.body["messages"][0]["content"].split()[0]: words(asked.body["messages"]) for asked in server.asked}
    assert len(counted) == len(server.asked) >= len(names)
    for call in calls:
        assert call.status is ApiCallStatus.SUCCESS
        tokens = (call.prompt_tokens, call.completion_tokens)
        assert tokens == (counted[call.labels["session"]], len(ANSWER.split()))
    assert len(roles) == len(calls)
    assert {tuple(sorted(each)) for each in roles.values()} == {("assistant", "user")}


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("kind", SIZES)
def test_what_was_answered_and_accepted_is_there_once(kind: str, folder: Path, url: str) -> None:
    chats, kills = SIZES[kind]
    each = chats // (kills + 1)
    said: list[str] = []
    with model_server() as models, SERVERS[kind]() if kind in SERVERS else _no_server() as database:
        url = url if database is None else database.url
        with killed_again_and_again(database):
            for number in range(kills):
                said += chat(url, folder, models, f"{number}", each, is_killed=True)
            said += chat(url, folder, models, "last", chats - kills * each, is_killed=False)
        assert len(said) == len(set(said)) >= chats
        drain(Outbox(folder), url, prices=None)
        found = Outbox(folder).survey()
        assert (found.waiting, found.dead, found.ended) == (0, 0, 0)
        assert found.accepted == found.delivered
        check(url, models, said)


@contextmanager
def _no_server() -> Iterator[None]:
    yield None
