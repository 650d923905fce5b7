"""Where records are kept: one contract (`Store`), four backends.

```python
async with mofa_usage.connect("sqlite:usage.db") as store:
    await store.save_api_call(call)
```

The URL names the backend. A backend's module, and the driver that it needs, is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any, Unpack

from mofa_usage.stores.base import Connecting, Forgotten, Records, Store, Tally

if TYPE_CHECKING:
    import sqlalchemy as sa

    from mofa_usage.stores.backfill import BackfillResult, backfill_prices
    from mofa_usage.stores.dialects import ConnectOptions, Options, Retry
    from mofa_usage.stores.memory import InMemoryStore
    from mofa_usage.stores.mysql import MySqlStore
    from mofa_usage.stores.postgres import PostgresStore
    from mofa_usage.stores.sqlite import SqliteStore

__all__ = [
    "BackfillResult",
    "Connecting",
    "Forgotten",
    "InMemoryStore",
    "MySqlStore",
    "Options",
    "PostgresStore",
    "Records",
    "Retry",
    "SqliteStore",
    "Store",
    "Tally",
    "backfill_prices",
    "connect",
    "from_env",
]

_HOMES = {
    "BackfillResult": "mofa_usage.stores.backfill",
    "InMemoryStore": "mofa_usage.stores.memory",
    "MySqlStore": "mofa_usage.stores.mysql",
    "Options": "mofa_usage.stores.dialects",
    "PostgresStore": "mofa_usage.stores.postgres",
    "Retry": "mofa_usage.stores.dialects",
    "SqliteStore": "mofa_usage.stores.sqlite",
    "backfill_prices": "mofa_usage.stores.backfill",
}
_STORES = {"memory": "InMemoryStore", "mysql": "MySqlStore", "postgres": "PostgresStore", "sqlite": "SqliteStore"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def connect(url: "str | sa.URL", **options: "Unpack[ConnectOptions]") -> Connecting[Store]:
    """Connect to the database that a URL names: `store = await ...`, or `async with ... as store` that closes it.

    Args:
        url: `postgres://`, `mysql://`, `mariadb://`, `sqlite:PATH`, `sqlite::memory:` or `memory:`; all forms are in
            `mofa_usage.urls`.
        **options: The fields of `Options`: `max_connections`, `create_tables`, `connect_timeout`, `lock_timeout`,
            `retry` and so on. `memory:` takes none.

    Raises:
        StoreConnectionError: when awaited; the URL makes no sense, or the database cannot be reached.
        MissingExtraError: when awaited; the backend's driver is not installed.
    """

    async def open_store() -> Store:
        from mofa_usage.urls import parse_url

        backend = parse_url(url).backend
        store: Store = await __getattr__(_STORES[backend]).connect(url, **options)
        return store

    return Connecting(open_store)


def from_env(**options: "Unpack[ConnectOptions]") -> Connecting[Store]:
    """`connect` with the URL of the environment variable `DATABASE_URL`.

    Raises:
        StoreConnectionError: when awaited; it is not set, or as for `connect`.
    """

    async def open_store() -> Store:
        from mofa_usage.urls import url_from_env

        return await connect(url_from_env(), **options)

    return Connecting(open_store)
