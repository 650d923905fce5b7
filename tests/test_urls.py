"""Database URLs: what is one, what it holds, and that it means the same file wherever the process goes."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofa_usage import UsageError, load_usage
from mofa_usage.stores import connect
from mofa_usage.urls import MEMORY_PATH, backend_of, holds_password, parse_url
from tests.samples import call


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("postgres://h/d", "postgres"),
        ("postgresql+asyncpg://h/d", "postgres"),
        ("MySQL://h/d", "mysql"),
        ("mariadb://h/d", "mysql"),
        ("sqlite:a.db", "sqlite"),
        ("sqlite::memory:", "sqlite"),
        ("memory:", "memory"),
        *((other, None) for other in ("gs://bucket/a.parquet", "oracle://h/d", "https://h/a.parquet", "file:///a")),
        *((path, None) for path in ("", "memory", "sqlite", "a.parquet", "/a/b", r"C:\a.parquet", "my:file", "x+y:z")),
    ],
)
def test_what_a_database_url_is(text: str, named: str | None) -> None:
    assert backend_of(text) == named


@pytest.mark.parametrize(
    "place", ["abfs://bucket/a.parquet", "gs://b/*.parquet", "https://u:hunter2@h/a", "oracle://h"]
)
def test_another_kind_of_place_is_no_database(place: str) -> None:
    with pytest.raises(UsageError, match="is neither a path nor a database URL; a database URL begins with") as caught:
        load_usage(place)
    assert "hunter2" not in str(caught.value)


@given(user=st.from_regex(r"[a-z]{1,8}", fullmatch=True), password=st.from_regex(r"[^/@]{1,8}", fullmatch=True))
def test_a_password_is_seen_where_there_is_one(user: str, password: str) -> None:
    assert holds_password(f"postgres://{user}:{password}@host:5432/name".replace("\n", ""))
    assert not holds_password(f"postgres://{user}@host/name")
    assert not holds_password("sqlite:/a/b.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:a.db", "{here}/a.db"),
        ("sqlite:///sub/a.db", "{here}/sub/a.db"),
        ("sqlite:////abs/a.db", "/abs/a.db"),
        ("sqlite::memory:", MEMORY_PATH),
    ],
)
def test_a_located_file_is_absolute(url: str, path: str) -> None:
    assert parse_url(url).located().url.database == path.format(here=Path.cwd())


@pytest.mark.parametrize(
    ("query", "located"),
    [
        ("sslmode=verify-ca&sslrootcert=ca.pem", {"sslmode": "verify-ca", "sslrootcert": "{here}/ca.pem"}),
        ("sslcert=a/c.pem&sslkey=/k.pem", {"sslcert": "{here}/a/c.pem", "sslkey": "/k.pem"}),
        ("sslrootcert=system", {"sslrootcert": "system"}),
        ("host=db&application_name=a.pem", {"host": "db", "application_name": "a.pem"}),
        ("unix_socket=my.sock", {"unix_socket": "{here}/my.sock"}),
    ],
)
def test_files_of_a_server_url_are_absolute(query: str, located: dict[str, str]) -> None:
    url = parse_url(f"postgres://ann:s%40crt@h/d?{query}").located().url
    assert dict(url.query) == {name: value.format(here=Path.cwd()) for name, value in located.items()}
    assert url.password == "s@crt"


# --- a process that goes elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sqlite:calls.db", "sqlite:sub/calls.db", "sqlite:///calls.db"])
async def test_a_store_stays_with_its_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "sub", elsewhere / "sub"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(home)
    async with connect(form) as store:
        await store.save_api_call(call(0))
        monkeypatch.chdir(elsewhere)
        await asyncio.gather(*(store.save_api_call(call(n)) for n in range(1, 20)))  # on new connections, too
        await asyncio.gather(*(store.get_statistics() for _ in range(20)))
        assert load_usage(store).frame.height == 20
        url = store.url.render_as_string(hide_password=False)  # type: ignore[attr-defined]  # it has a file
        assert load_usage(url).frame.height == 20
    assert [file for _, _, files in os.walk(elsewhere) for file in files] == []
    async with connect(f"sqlite:{home / parse_url(form).url.database}") as store:  # type: ignore[operator]
        assert (await store.get_statistics()).total_calls == 20
