"""A store that was told to use TLS uses it or refuses to connect; it never falls back to plain text."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mofa_usage import StoreConnectionError, connect, load_usage
from mofa_usage.reading.drivers import MySqlServer, PostgresServer, Reader
from mofa_usage.urls import parse_url
from tests.certificates import write_certificates
from tests.servers import Server, mariadb_server, postgres_server

IN_USE = {
    "postgres": "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
    "mysql": "select variable_value <> '' from information_schema.session_status where variable_name = 'ssl_cipher'",
}
READ_IN_USE = {"postgres": IN_USE["postgres"], "mysql": "show session status like 'Ssl_cipher'"}
STARTERS: list[Callable[..., AbstractContextManager[Server]]] = [postgres_server, mariadb_server]


@pytest.fixture(scope="module", params=STARTERS, ids=["postgres", "mariadb"])
def encrypting(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param(tls=True) as server:
        yield server


@pytest.fixture(scope="module", params=STARTERS, ids=["postgres", "mariadb"])
def plain(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as server:
        yield server


async def is_encrypted(url: str) -> bool:
    """Whether the connections of a store are, and those of an analysis, as the server sees them."""
    async with connect(url) as store:
        engine: Any = store.engine  # type: ignore[attr-defined]  # every store with a server has one
        async with engine.connect() as connection:
            encrypted = bool(await connection.scalar(sa.text(IN_USE[store.backend_name])))
    assert encrypted == read_encrypted(url)
    return encrypted


def read_encrypted(url: str) -> bool:
    address = parse_url(url)
    reader: Reader = PostgresServer(address) if address.backend == "postgres" else MySqlServer(address)
    return bool(reader.query(READ_IN_USE[address.backend]).to_series(-1)[0])


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_with_a_known_authority_is_used(encrypting: Server, mode: str) -> None:
    assert encrypting.certificates is not None
    assert await is_encrypted(f"{encrypting.url}?sslmode={mode}&sslrootcert={encrypting.certificates.authority}")


async def test_without_an_authority_the_connection_is_encrypted_but_unverified(encrypting: Server) -> None:
    assert await is_encrypted(f"{encrypting.url}?sslmode=require")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_server_of_another_authority_is_refused(encrypting: Server, mode: str, tmp_path: Path) -> None:
    other = write_certificates(tmp_path).authority
    url = f"{encrypting.url}?sslmode={mode}&sslrootcert={other}"
    with pytest.raises(StoreConnectionError, match=r"(?i)certificate"):
        await is_encrypted(url)
    with pytest.raises(StoreConnectionError, match=r"(?i)certificate"):
        read_encrypted(url)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_without_tls_is_refused(plain: Server, mode: str, tmp_path: Path) -> None:
    authority = write_certificates(tmp_path).authority
    url = f"{plain.url}?sslmode={mode}&sslrootcert={authority}"
    with pytest.raises(StoreConnectionError, match=r"(?i)ssl|tls"):
        await is_encrypted(url)
    with pytest.raises(StoreConnectionError, match=r"(?i)ssl|tls"):
        read_encrypted(url)


async def test_tls_that_is_not_wanted_is_not_used(encrypting: Server) -> None:
    assert not await is_encrypted(f"{encrypting.url}?sslmode=disable")


async def test_the_authority_is_found_wherever_the_process_goes(
    encrypting: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encrypting.certificates is not None
    authority = encrypting.certificates.authority
    monkeypatch.chdir(authority.parent)
    url = f"{encrypting.url}?sslmode=verify-full&sslrootcert={authority.name}"
    async with connect(url, max_connections=2) as store:
        monkeypatch.chdir(tmp_path)
        async with store.transaction():
            await store.ping()  # on a second connection
        load_usage(store)
