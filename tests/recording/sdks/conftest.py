import asyncio
from collections.abc import Iterator

import httpx2
import pytest

from mofa_usage import InMemoryStore, LLMApiCall, LLMMessage, QueryFilter, Recorder
from tests.recording.sdks.model_server import ModelServer, model_server


class Recorded:
    """A recorder, and what it has saved: asked for as soon as all of it is."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.recorder = Recorder(self.store, prices=None)

    def calls(self) -> list[LLMApiCall]:
        """Oldest first."""
        assert self.recorder.flush(30)
        stats = self.recorder.stats()
        assert (stats.dead, stats.refused, stats.waiting) == (0, 0, 0)
        return list(reversed(asyncio.run(self.store.query_api_calls(QueryFilter()))))

    def call(self) -> LLMApiCall:
        (call,) = self.calls()
        return call

    def messages(self) -> list[LLMMessage]:
        """Those of the session of the last call, oldest first."""
        session = self.calls()[-1].chat_session_id
        return asyncio.run(self.store.get_session_messages(session))


@pytest.fixture(scope="session")
def running_server() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


@pytest.fixture
def server(running_server: ModelServer) -> Iterator[ModelServer]:
    running_server.plan()
    running_server.knows_stream_options = True
    yield running_server
    for client in running_server.clients:
        if isinstance(client, httpx2.Client):
            client.close()
        else:
            assert client.is_closed, "a test closes its asynchronous clients in their loop"
    running_server.clients.clear()


@pytest.fixture
def recorded(caplog: pytest.LogCaptureFixture) -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.recorder.close()
    complaints = [record.getMessage() for record in caplog.records if record.name.startswith("mofa_usage")]
    assert not [text for text in complaints if "could not be observed" in text]
