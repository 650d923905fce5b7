"""Plain records for tests in which the values do not matter but a few: keyword arguments set those few."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from mofa_usage.records import Agent, ChatSession, LLMApiCall, LLMMessage, MessageContent, Provider

NIL = UUID(int=0)
NOON = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
SECRET = "sk-very-secret-0123456789"
SESSION, AGENT, USER = UUID(int=1), UUID(int=2), UUID(int=3)
IDS: dict[str, Any] = {"chat_session_id": SESSION, "agent_id": AGENT, "user_id": USER}


def at(seconds: float) -> datetime:
    """So many seconds after `NOON`."""
    return NOON + timedelta(seconds=seconds)


def times(seconds: float | None) -> dict[str, Any]:
    """Both times of a record made so many seconds after `NOON`, or made now."""
    return {} if seconds is None else {"create_time": at(seconds), "update_time": at(seconds)}


def call(seconds: float | None = None, **fields: Any) -> LLMApiCall:
    """A successful call of 100 + 50 tokens, so many seconds after `NOON` or now."""
    plain = {"model_name": "gpt-4", "status": "success", "prompt_tokens": 100, "completion_tokens": 50}
    return LLMApiCall.model_validate(IDS | times(seconds) | plain | {"total_tokens": 150} | fields)


def message(seconds: float | None = None, **fields: Any) -> LLMMessage:
    """A user's message that says Hello, so many seconds after `NOON` or now."""
    said = {"role": "user", "content": MessageContent(text="Hello")}
    return LLMMessage.model_validate(IDS | times(seconds) | said | fields)


def session(seconds: float | None = None, **fields: Any) -> ChatSession:
    """A session without a title, so many seconds after `NOON` or now."""
    return ChatSession.model_validate({"user_id": USER, "agent_id": AGENT} | times(seconds) | fields)


def provider(name: str = "openai", **fields: Any) -> Provider:
    """A provider with the secret `SECRET`."""
    plain = {"provider_name": name, "provider_type": "openai", "api_base": "https://api", "api_key": SECRET}
    return Provider.model_validate(plain | fields)


def agent(code: str = "helper", **fields: Any) -> Agent:
    """An agent whose provider need not exist."""
    plain = {"agent_code": code, "agent_name": "Helper", "model_name": "gpt-4", "system_prompt": "Be kind."}
    return Agent.model_validate(plain | {"provider_id": UUID(int=9)} | fields)
