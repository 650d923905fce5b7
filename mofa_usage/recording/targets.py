"""Where a recorder delivers to: a database by its URL, or an open store in memory.

The thread that delivers has an event loop of its own, to which a user's open store does not belong. So a store with a
database is only asked for its URL, and the thread connects itself when there is something to deliver. A store in memory
is used as it is: it can be, from any thread.
"""

import importlib
import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mofa_usage.errors import UsageError
from mofa_usage.stores.base import Store
from mofa_usage.urls import KNOWN_URLS, MEMORY_PATH, backend_of, sqlite_path, url_from_env

__all__ = ["Target", "default_folder", "state_folder", "target_of"]

_CONNECTIONS = 2
_MODULES = {
    "sqlite": ("mofa_usage.stores.sqlite", "aiosqlite", "sqlalchemy.dialects.sqlite.aiosqlite"),
    "postgres": ("mofa_usage.stores.postgres", "asyncpg", "sqlalchemy.dialects.postgresql.asyncpg"),
    "mysql": ("mofa_usage.stores.mysql", "aiomysql", "sqlalchemy.dialects.mysql.aiomysql"),
}
_NO_NAME = r"[^A-Za-z0-9._-]+"


class Target:
    """A database, opened by the thread that delivers. Its name holds no password.

    Attributes:
        name: what it is, for people and for the outbox's folder.
        lasts: an outbox for it makes sense: it outlives the process.
    """

    def __init__(self, name: str, url: str | None, store: Store | None, options: dict[str, Any]) -> None:
        self.name = name
        self.lasts = store is None
        self._url = url
        self._given = store
        self._options = options
        self._opened: Store | None = None

    def load(self) -> None:
        """Import what `open` needs; what is not installed, `open` says."""
        backend = None if self._url is None else backend_of(self._url)
        for module in _MODULES.get(backend or "", ()):
            with suppress(ImportError):
                importlib.import_module(module)

    async def open(self) -> Store:
        """The store, connected once."""
        if self._given is not None:
            return self._given
        if self._opened is None:
            from mofa_usage.stores import Retry, connect

            assert self._url is not None  # noqa: S101 (for the type checker: what is no store has a URL)
            options = {"max_connections": _CONNECTIONS, "retry": Retry(attempts=1), **self._options}
            self._opened = await connect(self._url, **options)
        return self._opened

    async def close(self) -> None:
        """Close what was opened here; a store that was given stays open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def again(self) -> "Target":
        """The same for another process, which shares no connection with this one."""
        return Target(self.name, self._url, self._given, self._options)

    def __repr__(self) -> str:
        return f"<Target {self.name}>"


def target_of(target: "str | Store | Any | None") -> Target:
    """What a recorder was given: a URL, an open store, or nothing, which is DATABASE_URL.

    Raises:
        UsageError: it is neither, or a database in memory that nobody else could read.
        StoreConnectionError: DATABASE_URL is not set, or the URL names no backend.
    """
    if isinstance(target, Store):
        return _target_of_store(target)
    if target is None:
        target = url_from_env()
    elif not isinstance(target, str):
        text = getattr(target, "render_as_string", None)  # SQLAlchemy's URL, which is not imported for this
        if text is None:
            raise UsageError(f"a recorder's target is a URL or an open store, not a {type(target).__name__}")
        target = str(text(hide_password=False))
    url = target.strip()
    backend = backend_of(url)
    if backend is None:
        raise UsageError(f"a recorder's target is an open store or a URL that begins with {KNOWN_URLS}")
    if backend == "memory" or (backend == "sqlite" and sqlite_path(url.partition(":")[2]) == MEMORY_PATH):
        raise UsageError("nobody could read what is recorded into memory: give the recorder an open InMemoryStore()")
    if backend == "sqlite":
        path = str(Path(sqlite_path(url.partition(":")[2])).absolute())  # the process may go elsewhere
        url = f"sqlite:{path}"
    return Target(_name(backend, url), url, None, {})


def _target_of_store(store: Store) -> Target:
    url = getattr(store, "url", None)
    if store.backend_name == "memory":
        return Target("memory", None, store, {})
    if url is None or (store.backend_name == "sqlite" and url.database in (None, MEMORY_PATH)):
        raise UsageError(
            f"a recorder delivers with a connection of its own, which cannot see what {store!r} holds in memory: give "
            "it a file's URL, or InMemoryStore()"
        )
    text = url.render_as_string(hide_password=False)
    options = getattr(store, "_options", None)
    kept = (
        {} if options is None else {"create_tables": options.create_tables, "statement_cache": options.statement_cache}
    )
    if store.backend_name == "sqlite":
        text = f"sqlite:{url.database}"
    return Target(_name(store.backend_name, text), text, None, kept)


def _name(backend: str, url: str) -> str:
    """A name for the target that says where it is, and not the password; the same with another password."""
    if backend == "sqlite":
        place = url.partition(":")[2]
        readable = Path(place).stem
    else:
        try:
            parts = urlsplit(url)
            user, host = parts.username or "", parts.netloc.rpartition("@")[2]
            readable = f"{host}-{parts.path.strip('/')}"
            is_clear = "@" not in f"{parts.path}{parts.query}{parts.fragment}{host}" and ":" not in user
        except ValueError:
            is_clear = False
        if not is_clear:  # a password that is not percent-encoded may be anywhere in it
            return f"{backend}-unreadable"
        place = f"{user}@{readable}"
    digest = sha256(f"{backend}:{place}".encode()).hexdigest()[:8]
    return f"{backend}-{re.sub(_NO_NAME, '-', readable).strip('-.')[:80]}-{digest}"


def state_folder() -> Path:
    """Where the user's programs keep what outlives them: all outboxes are there, one folder each."""
    base = os.environ.get("XDG_STATE_HOME", "").strip()
    if os.path.isabs(base):  # the standard ignores others: each process may be elsewhere
        return Path(base) / "mofa-usage" / "outbox"
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "mofa-usage" / "outbox"
    return Path.home() / ".local" / "state" / "mofa-usage" / "outbox"


def default_folder(target: Target) -> Path:
    """The outbox of a target, unless somebody wants another."""
    return state_folder() / target.name
