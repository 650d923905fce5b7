"""Recording: what it costs the caller, what delivery costs, and what importing it costs.

Run with `pytest tests/benchmarks/test_recording.py --benchmark-enable`. Without that the same runs with a few chats, as
a test that all ways do the same. What happens to one caller is measured in the seconds that its thread works, so that
other programs matter less; ways take turns.

Two goals are not those that one would wish, 1.03 and 1. A recorded call is in a file before it returns, so that "plain
and write", which does nothing but that, is the least that it can be. And delivery makes the records, which
`save_api_calls` is given, from what was accepted: its peer is who makes them and saves them.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from operator import truediv
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import openai
import pytest
from uuid_utils import uuid7

from mofa_usage import LLMApiCall, LLMMessage, Recorder, connect
from mofa_usage.recording.delivery import Delivery
from mofa_usage.recording.documents import Item, read_document, write_document
from mofa_usage.recording.outbox.frames import framed
from mofa_usage.records import ChatSession
from tests.benchmarks.ratios import Ratio, Ratios

NOBODY = "postgres://nobody@127.0.0.1:1/none"
MESSAGES: Any = [{"role": "user", "content": "What is Rust in a few words? " * 4}]
TEXT = "word " * 100
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 100,
    "total_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
BASE = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-2026", "service_tier": "default"}


def _data(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({**BASE, "object": "chat.completion.chunk", **chunk}).encode() + b"\n\n"


def _delta(delta: dict[str, Any], end: str | None = None) -> bytes:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]})


WHOLE = json.dumps(
    {
        **BASE,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()
STREAM = b"".join(
    [
        _delta({"role": "assistant", "content": ""}),
        *(_delta({"content": "word "}) for _ in range(97)),
        _delta({}, "stop"),
        _data({"choices": [], "usage": USAGE}),
        b"data: [DONE]\n\n",
    ]
)


def answer(request: httpx2.Request) -> httpx2.Response:
    """What a server would say, without any network."""
    is_stream = "stream" in json.loads(request.content)
    kind, content = ("text/event-stream", STREAM) if is_stream else ("application/json", WHOLE)
    return httpx2.Response(200, headers={"content-type": kind, "x-request-id": "req-1"}, content=content)


@contextmanager
def plain_client(handler: Callable[[httpx2.Request], httpx2.Response] = answer) -> Iterator[openai.OpenAI]:
    with httpx2.Client(transport=httpx2.MockTransport(handler)) as http:
        yield openai.OpenAI(api_key="sk-none", base_url="http://localhost/v1", http_client=http)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Its database is down: what delivery costs is measured elsewhere."""
    recorder = Recorder(NOBODY, outbox=tmp_path / "outbox", prices=None)
    yield recorder
    recorder.close(0)


def call(client: openai.OpenAI) -> str:
    answered = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    return answered.choices[0].message.content or ""


def stream(client: openai.OpenAI) -> str:
    chunks = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


GOALS: dict[Any, float] = {call: 1.15, stream: 1.06}


def documents(count: int) -> list[dict[str, Any]]:
    """What an integration hands over for chats: two messages and a call."""
    of = {name: str(uuid4()) for name in ("chat_session_id", "user_id", "agent_id", "tenant_id")}
    found = []
    for _ in range(count):
        asked, said, at = str(uuid7()), str(uuid7()), datetime.now(UTC)
        ended = at + timedelta(seconds=1)
        messages: list[dict[str, Any]] = [
            {"id": asked, "parent_message_id": None, "role": "user", "content": {"text": TEXT}, "create_time": at},
            {
                "id": said,
                "parent_message_id": asked,
                "role": "assistant",
                "content": {"text": TEXT},
                "create_time": ended,
            },
        ]
        one = {
            "id": str(uuid7()),
            "request_message_id": asked,
            "response_message_id": said,
            "model_name": "gpt-4o",
            "status": "success",
            "usage": USAGE,
            "latency_ms": 1000,
            "api_response_id": "chatcmpl-1",
            "create_time": at,
            "update_time": ended,
            "labels": {"user": "alice", "feature": "search"},
            "seen": {"provider": "openai", "served_model": "gpt-4o-2026", "request_id": "req-1"},
        }
        found.append({"of": of, "messages": messages, "calls": [one]})
    return found


def turns(ways: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """The seconds of each way in each round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = clock()
            way()
            times[name].append(clock() - start)
    return times


def p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


def beside(what: str, ours: list[float], peer: str, theirs: list[float], goal: float | None = None) -> Ratio:
    """The median of the ratios of neighbours in time, on which a busy machine weighs alike."""
    usual = statistics.median(theirs)
    return Ratio(what, usual * statistics.median(map(truediv, ours, theirs)), peer, usual, goal)


def test_handing_over(ratios: Ratios, recorder: Recorder, tmp_path: Path) -> None:
    """15 microseconds at the median and 100 at p99 on a machine that is not busy; here against the write alone."""
    rounds = 5000 if ratios.enabled else 20
    found = iter(documents(rounds))
    body = write_document(documents(1)[0])
    file = os.open(tmp_path / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ways = {
        "ours": lambda: recorder.hand_over(next(found)),
        "raw": lambda: os.write(file, framed(body, 3, 0)),
    }
    times = turns(ways, rounds, time.perf_counter)
    os.close(file)
    assert recorder.stats().accepted == 3 * rounds
    ours, raw = times["ours"], times["raw"]
    ratios.report(
        Ratio("hand over a chat, median", statistics.median(ours), "framed write", statistics.median(raw), 4),
        Ratio("hand over a chat, p99", p99(ours), "framed write", p99(raw), 6),
    )


@pytest.mark.parametrize("way", [call, stream])
@pytest.mark.parametrize("session", [None, "s-1"])
def test_a_recorded_client(
    ratios: Ratios, recorder: Recorder, tmp_path: Path, way: Callable[[openai.OpenAI], str], session: str | None
) -> None:
    rounds = (1000 if way is call else 150) if ratios.enabled else 2
    file = os.open(tmp_path / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    document = documents(1)[0]

    def write() -> None:
        way(plain)
        os.write(file, framed(write_document(document), 3, 0))

    with plain_client() as plain, plain_client() as other, recorder.scope(user="alice", session=session) as scope:
        recorded = recorder.wrap(other)
        assert way(plain) == way(recorded) != ""
        ways = {"plain": lambda: way(plain), "ours": lambda: way(recorded), "write": write}
        times = turns(ways, rounds, time.thread_time)
        assert scope.usage.calls == rounds + 1
    os.close(file)
    what = f"recorded {way.__name__}{' in a session' if session else ''}"
    ratios.report(
        beside(what, times["ours"], "plain client", times["plain"], GOALS[way]),
        beside(what, times["ours"], "plain and write", times["write"]),
    )


def test_a_call_of_50_ms(ratios: Ratios, recorder: Recorder) -> None:
    """Of a call that takes as long as a fast model's, recording is less than a hundredth."""
    rounds, seconds = (100, 0.05) if ratios.enabled else (2, 0.001)

    def slow(request: httpx2.Request) -> httpx2.Response:
        time.sleep(seconds)
        return answer(request)

    with plain_client(slow) as plain, plain_client(slow) as other, recorder.scope(session="s-1"):
        recorded = recorder.wrap(other)
        assert call(plain) == call(recorded)
        times = turns({"plain": lambda: call(plain), "ours": lambda: call(recorded)}, rounds, time.thread_time)
    # The thread's own time, of which the network's is none.
    added = max(p99(times["ours"]) - p99(times["plain"]), 0.0)
    ratios.report(Ratio("recording of a call of 50 ms, p99", added, "the call", seconds, 0.01))


def test_delivery(ratios: Ratios, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same records; the peers are given them ready, or make them as an application would."""
    count, rounds = (3000, 3) if ratios.enabled else (20, 1)
    chats = documents(count)
    times: dict[str, list[float]] = {"ours": [], "ready": [], "made": []}
    for number in range(rounds):
        delivered, saved = f"sqlite:{tmp_path}/d{number}.db", f"sqlite:{tmp_path}/s{number}.db"
        times["ours"].append(_deliver(delivered, tmp_path / f"outbox{number}", chats, monkeypatch))
        ready, made = asyncio.run(_save(saved, chats))
        times["ready"].append(ready)
        times["made"].append(made)
        wanted = {UUID(chat["calls"][0]["id"]) for chat in chats}
        assert wanted == asyncio.run(_calls(saved)) == asyncio.run(_calls(delivered)) & wanted
    ours, ready, made = (statistics.median(times[name]) for name in ("ours", "ready", "made"))
    ratios.report(
        Ratio(f"deliver {count:,} chats, CPU", ours, "save ready records", ready),
        Ratio(f"deliver {count:,} chats, CPU", ours, "make and save", made, 2.5),
    )


def _deliver(url: str, folder: Path, chats: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> float:
    """The seconds of CPU that delivery takes, of a recorder that has begun."""
    with Recorder(url, outbox=folder, prices=None) as recorder:
        assert recorder.hand_over(documents(1)[0])
        assert recorder.flush(60)
        with monkeypatch.context() as context:
            context.setattr(Delivery, "wake", lambda self: None)
            for chat in chats:
                assert recorder.hand_over(chat)
        start = time.process_time()
        assert recorder.flush(300)
        took = time.process_time() - start
        assert recorder.stats().delivered == 3 * (len(chats) + 1)
        return took


async def _save(url: str, chats: list[dict[str, Any]]) -> tuple[float, float]:
    """The seconds of CPU that saving the records takes, and that making them takes beside."""
    items = [item for chat in chats for item in read_document(write_document(chat))]
    records = [item.record for item in items if isinstance(item, Item)]
    fields = [(type(record), record.model_dump(exclude_none=True)) for record in records]
    async with connect(url) as store:
        first = next(record for record in records if isinstance(record, LLMMessage))
        session = ChatSession(id=first.chat_session_id, user_id=first.user_id, agent_id=first.agent_id)
        await store.create_session(session)
        start = time.process_time()
        made = [kind.model_validate(values) for kind, values in fields]
        between = time.process_time()
        await store.save_messages([record for record in made if isinstance(record, LLMMessage)])
        await store.save_api_calls([record for record in made if isinstance(record, LLMApiCall)])
        end = time.process_time()
    return end - between, end - start


async def _calls(url: str) -> set[UUID]:
    async with connect(url) as store:
        return {call.id for call in await store.query_api_calls()}


def _import_seconds(module: str) -> float:
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # the first round compiles
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_importing(ratios: Ratios) -> None:
    """`recording` takes at most 15 ms more than `records`, on a machine on which `import mofa_usage` takes 10 to 13."""
    rounds = 9 if ratios.enabled else 1
    names = ("mofa_usage", "mofa_usage.records", "mofa_usage.recording")
    best = {name: min(_import_seconds(name) for _ in range(rounds)) for name in names}
    added = max(best["mofa_usage.recording"] - best["mofa_usage.records"], 0.0)
    ratios.report(Ratio("import recording beside records", added, "import mofa_usage", best["mofa_usage"], 1.5))
