"""Everything that mofa_usage raises on purpose.

```
MofaUsageError
├── PersistenceError              a store could not do what it was asked
│   ├── StoreConnectionError      no server, wrong password, lost connection, closed store
│   ├── QueryError                the database refused or failed a statement
│   ├── SerializationError        a value cannot be written, or a stored row is no record
│   ├── NotFoundError             what was to be changed is not there
│   └── ConstraintError           a key, foreign key or check of the database is violated
├── RecordingError                a recorder cannot accept what it was given
├── UsageError (also ValueError)  an analysis, picture, import or export was asked for wrongly
└── MissingExtraError (also ImportError)   an optional part is not installed
```

Invalid records raise `pydantic.ValidationError` (a `ValueError`) when they are constructed, before any store sees
them. The driver's own exception, where there is one, is the `__cause__`; messages never hold a password or an API key.
"""

import importlib
from types import ModuleType

__all__ = [
    "ConstraintError",
    "MissingExtraError",
    "MofaUsageError",
    "NotFoundError",
    "PersistenceError",
    "QueryError",
    "RecordingError",
    "SerializationError",
    "StoreConnectionError",
    "UsageError",
]


class MofaUsageError(Exception):
    """The base of everything raised here on purpose."""


class PersistenceError(MofaUsageError):
    """A store could not do what it was asked.

    `transient` says whether trying again can help (a lost connection, a deadlock, a busy database). Idempotent
    operations have already been retried when it reaches you.
    """

    transient: bool

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class StoreConnectionError(PersistenceError):
    """No connection: no server, wrong credentials, unknown database, a lost connection or a closed store."""


class QueryError(PersistenceError):
    """The database refused a statement or failed while running it."""


class SerializationError(PersistenceError):
    """A value cannot be written to this database, or a stored row cannot be read as a record."""


class NotFoundError(PersistenceError):
    """What was to be changed is not there."""


class ConstraintError(PersistenceError):
    """A primary key, unique key, foreign key or check of the database is violated."""


class RecordingError(MofaUsageError):
    """A recorder cannot accept records: it is closed, its outbox is full or cannot be written, they are too large.

    None of what was given together has been accepted.
    """


class UsageError(MofaUsageError, ValueError):
    """An analysis, a picture, an import or an export was asked for in a way that cannot be answered."""


class MissingExtraError(MofaUsageError, ImportError):
    """An optional part of mofa_usage is needed and not installed; the message says what to install."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, which the extra `extra` installs.

    Raises:
        MissingExtraError: it is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"{module} is not installed, and this needs it: pip install 'mofa-usage[{extra}]'", name=module
        ) from error
