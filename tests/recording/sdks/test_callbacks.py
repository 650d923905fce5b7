"""Callbacks of frameworks, without any: which of two records a call, what is remembered, and what is missing."""

import asyncio
import contextvars
import importlib
import sys
from uuid import UUID, uuid4

import pytest

from mofa_usage import ApiCallStatus
from mofa_usage.errors import MissingExtraError
from mofa_usage.recording import callbacks
from mofa_usage.recording.callbacks import Run, Runs
from mofa_usage.recording.conversations import Conversations, Said, id_after
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from mofa_usage.recording.formats.others import EMBEDDINGS
from mofa_usage.recording.sdks.hosts import provider_named
from tests.recording.sdks.conftest import Recorded

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
ANSWER = {"id": "c-1", "choices": [{"message": {"content": "Good day."}, "finish_reason": "stop"}]}
SUCCESS, FAILED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED


def ask(recorded: Recorded, form: object = CHAT_COMPLETIONS, **body: object) -> None:
    """As a recorded client does."""
    request = recorded.recorder.observer.request(form, {**BODY, **body}, provider="openai")  # type: ignore[arg-type]
    attempt = request.attempt()
    attempt.add(ANSWER)
    attempt.end()
    request.end()


def begin(runs: Runs, **options: dict[str, object]) -> Run:
    return Run(runs, CHAT_COMPLETIONS, BODY, provider="of the callback", **options)  # type: ignore[arg-type]


def end(run: Run) -> None:
    run.attempt.add(ANSWER)
    run.end()


@pytest.fixture
def runs(recorded: Recorded) -> Runs:
    return Runs(recorded.recorder.observer)


def providers(recorded: Recorded) -> list[str]:
    return [call.labels["provider"] for call in recorded.calls()]


def test_a_client_inside_records_the_call(runs: Runs, recorded: Recorded) -> None:
    run = begin(runs)
    ask(recorded)
    end(run)
    assert providers(recorded) == ["openai"]


def test_a_client_in_another_context_is_another_call(runs: Runs, recorded: Recorded) -> None:
    contextvars.copy_context().run(lambda: end(begin(runs)))
    run = contextvars.copy_context().run(begin, runs)
    ask(recorded)
    end(run)
    assert sorted(providers(recorded)) == ["of the callback", "of the callback", "openai"]


def test_a_client_in_a_task_of_the_call_records_it(runs: Runs, recorded: Recorded) -> None:
    async def call() -> None:
        run = begin(runs)
        await asyncio.to_thread(ask, recorded)
        end(run)

    asyncio.run(call())
    assert providers(recorded) == ["openai"]


def test_what_comes_after_the_first_answer_is_another_call(runs: Runs, recorded: Recorded) -> None:
    run = begin(runs)
    run.answers()
    ask(recorded)
    end(run)
    ask(recorded)
    assert sorted(providers(recorded)) == ["of the callback", "openai", "openai"]


def test_another_operation_is_another_call(runs: Runs, recorded: Recorded) -> None:
    run = begin(runs)
    ask(recorded, EMBEDDINGS)
    end(run)
    assert sorted(providers(recorded)) == ["of the callback", "openai"]


def test_another_question_is_another_call_where_the_framework_shows_what_it_sends(
    runs: Runs, recorded: Recorded
) -> None:
    run = begin(runs, sent=dict(BODY))
    ask(recorded, messages=[])
    end(run)
    run = begin(runs, sent=dict(BODY))
    ask(recorded, stream=True)  # the same question
    end(run)
    assert sorted(providers(recorded)) == ["of the callback", "openai", "openai"]


def test_calls_that_begin_at_once_are_not_inside_each_other(runs: Runs, recorded: Recorded) -> None:
    both = [begin(runs), begin(runs)]
    for run in both:
        end(run)
    assert len(recorded.calls()) == 2


def test_a_callback_inside_another_one_records_the_call(runs: Runs, recorded: Recorded) -> None:
    outer, inner = begin(runs), begin(Runs(recorded.recorder.observer))
    end(inner)
    end(outer)
    assert len(recorded.calls()) == 1


def test_a_call_that_is_tried_again(runs: Runs, recorded: Recorded) -> None:
    run = begin(runs)
    run.again(BODY, None, provider="second")
    run.again(BODY, ValueError("why"), provider="third")
    run.end(ValueError("at last"))
    run.is_over = True
    run.again(BODY, None, provider="fourth")
    end(run)
    rows = recorded.calls()
    assert [call.labels["attempt"] for call in rows] == ["1", "2", "3", "4"]
    assert [call.labels.get("retried") for call in rows] == ["true", "true", None, None]
    assert [call.error_code for call in rows] == ["TriedAgain", "ValueError", "ValueError", None]
    assert len({call.request_message_id for call in rows}) == 1


def test_only_the_latest_calls_are_remembered(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_MOST_OPEN", 2)
    monkeypatch.setattr(callbacks, "_MOST_ENDED", 1)
    for key in range(3):
        runs.begun(key, begin(runs))
    assert [runs.open(key) is not None for key in range(3)] == [False, True, True]
    assert runs.take(0) is None
    assert runs.take(1) is not None
    assert runs.take(1) is None
    assert runs.take(2) is not None
    assert [runs.ended(key) is not None for key in range(3)] == [False, False, True]
    assert runs.are_over


def test_a_session_may_keep_its_messages_itself(recorded: Recorded) -> None:
    class Keeper:
        pass

    keeper, session = Keeper(), uuid4()
    conversations = recorded.recorder.observer.conversations
    conversations.leave(str(session), keeper)
    with recorded.recorder.scope(session=session):
        ask(recorded)
        assert recorded.messages() == []
        asked = id_after(str(session), None, Said("user", {"text": "Hello"}))
        assert recorded.call().request_message_id == UUID(asked)
        del keeper
        ask(recorded)
    assert [message.content.text for message in recorded.messages()] == ["Hello", "Good day."]


def test_what_is_learned_begins_a_shortened_history() -> None:
    conversations, session, answer = Conversations(), str(uuid4()), UUID(int=9).hex
    said = Said("assistant", {"text": "Good day."})
    conversations.learn(session, said, answer)
    place = conversations.place(session, [said, Said("user", {"text": "More"})])
    assert [message.parent for message in place.new] == [answer]


@pytest.mark.parametrize(("name", "known"), [("vertex_ai", "gcp.vertex_ai"), ("google_genai", "google"), ("x", "x")])
def test_names_of_providers(name: str, known: str) -> None:
    assert provider_named(name) == known


@pytest.mark.parametrize(("package", "extra"), [("litellm", "litellm"), ("langchain_core", "langchain")])
def test_a_framework_that_is_not_installed_is_named(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"mofa_usage.recording.{extra}", raising=False)
    with pytest.raises(MissingExtraError, match=rf"mofa-usage\[{extra}\]"):
        importlib.import_module(f"mofa_usage.recording.{extra}")
