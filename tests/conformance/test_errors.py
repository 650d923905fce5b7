"""Errors are of one tree, carry their cause and never show a secret."""

import logging
import traceback
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError, MofaUsageError, NotFoundError, PersistenceError, UsageError
from mofa_usage.stores import Store
from tests.leaks import opened
from tests.samples import SECRET, agent, provider, session


async def failures(store: Store) -> list[PersistenceError]:
    """One of each error that can be had from any store."""
    await store.save_provider(provider())
    await store.save_agent(agent())
    chat = session()
    await store.create_session(chat)
    caught: list[PersistenceError] = []
    for work in (
        store.save_provider(provider()),
        store.save_agent(agent()),
        store.create_session(chat),
        store.update_session(session()),
    ):
        with pytest.raises(PersistenceError) as error:
            await work
        caught.append(error.value)
    return caught


async def test_they_are_of_one_tree(store: Store) -> None:
    errors = await failures(store)
    assert [type(error) for error in errors] == [ConstraintError, ConstraintError, ConstraintError, NotFoundError]
    assert all(isinstance(error, MofaUsageError) for error in errors)


async def test_they_say_what_it_was_about(store: Store) -> None:
    for error, words in zip(await failures(store), ["provider", "agent", "session", "session"], strict=True):
        assert words in str(error).lower()


@pytest.mark.sql_only
async def test_the_drivers_exception_is_the_cause(store: Store) -> None:
    for error in await failures(store):
        if isinstance(error, ConstraintError):
            assert error.__cause__ is not None
            assert not isinstance(error.__cause__, MofaUsageError)


async def test_constraint_errors_are_not_worth_trying_again(store: Store) -> None:
    assert [error.transient for error in await failures(store)] == [False] * 4


async def test_what_is_no_record_of_a_table_is_refused(store: Store) -> None:
    chat: Any = session()
    for work in (
        store.save_api_call(chat),
        store.save_api_calls([chat]),
        store.save_message(chat),
        store.save_messages([chat]),
        store.create_session(provider()),  # type: ignore[arg-type]
        store.save_provider(agent()),  # type: ignore[arg-type]
        store.save_agent(provider()),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=r"a \w+ is no \w+"):
            await work
    assert (await store.get_statistics()).total_calls == 0
    assert await store.get_session(chat.id) is None


def secrets_of(url: str) -> list[str]:
    """What must not be seen of a URL: its password, as it is written in it and as it is."""
    password = urlsplit(url).password if "@" in url else None
    return [SECRET] + ([password, unquote(password)] if password else [])


async def test_no_secret_is_seen_in_any_error_repr_or_log(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with opened(url) as store:
            errors = await failures(store)
            await store.get_provider_by_name(UUID(int=0), "openai")
            said = [repr(store), str(store), repr(store.__class__), caplog.text]
            said += [
                repr(getattr(store, "pool", None)),
                repr(getattr(store, "url", None)),
                str(getattr(store, "engine", "")),
            ]
            said += [text for error in errors for text in _everything_said(error)]
        said.append(repr(store))
    for secret in secrets_of(url):
        assert not [text for text in said if secret in text]


def _everything_said(error: BaseException) -> list[str]:
    said: list[Any] = [error, *traceback.format_exception(error)]
    cause: BaseException | None = error
    while cause is not None:
        said += [str(cause), repr(cause), *map(repr, cause.args)]
        cause = cause.__cause__ or cause.__context__
    return [str(each) for each in said]
