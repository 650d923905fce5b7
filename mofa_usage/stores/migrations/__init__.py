"""Creates the tables and brings older ones of ours up to date: Alembic's revisions, run when a store connects.

Which revision a database is at stands in its table `mofa_usage_version`. A database at `HEAD` costs one query. One
without that table may be empty or have MoFA's tables: `0001` creates what is missing and adopts what is there as it
is. A revision never drops or narrows anything, and one process at a time runs them.
"""

import io
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mofa_usage.errors import QueryError, StoreConnectionError
from mofa_usage.stores.dialects import Dialect
from mofa_usage.stores.runner import PoolRunner

__all__ = ["HEAD", "VERSION_TABLE", "migration_sql", "prepare_tables"]

HEAD = "0001"
"""The newest revision."""
VERSION_TABLE = "mofa_usage_version"

_READ_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 (a constant)


async def prepare_tables(runner: PoolRunner) -> None:
    """Create or upgrade the tables, unless they are current.

    Raises:
        StoreConnectionError: the database cannot be reached, or is at a revision that a newer mofa_usage made.
        QueryError: the tables cannot be created (the message says what the database said), or one is not MoFA's.
    """
    try:
        rows = await runner.attempt(
            lambda connection: runner.dialect.fetch(connection, _READ_VERSION, ()), "reading the version of the tables"
        )
    except QueryError:
        rows = []  # most likely there is no such table yet; if it is something else, the next step says so
    if [row[0] for row in rows] == [HEAD]:
        return

    async def work() -> None:
        async with runner.engine.connect() as connection:
            await connection.run_sync(_upgrade, runner.dialect)

    await runner.attempt_alone(work, "creating the tables")


def _upgrade(connection: sa.Connection, dialect: Dialect) -> None:
    from alembic import command  # takes a tenth of a second, and most connects do not need it

    if dialect.lock_schema:
        answer = connection.exec_driver_sql(dialect.lock_schema)
        if answer.returns_rows and answer.scalar() == 0:  # MySQL's way to say that it has waited long enough
            raise QueryError("another process is creating or upgrading the tables", transient=True)
    try:
        _refuse_unknown(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    finally:
        if dialect.unlock_schema and not connection.invalidated:  # a connection that is gone has let go of it
            connection.exec_driver_sql(dialect.unlock_schema)


def _config(**options: Any) -> Any:
    from alembic.config import Config

    config = Config(**options)
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _refuse_unknown(connection: sa.Connection) -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config())
    has_version = sa.inspect(connection).has_table(VERSION_TABLE)
    versions = connection.exec_driver_sql(_READ_VERSION).scalars().all() if has_version else []
    if not versions:
        for base in scripts.get_bases():
            scripts.get_revision(base).module.refuse_strangers(connection)
    known = {script.revision for script in scripts.walk_revisions()}
    if unknown := sorted(set(versions) - known):
        raise StoreConnectionError(
            f"the tables are at version {unknown[0]}, which a newer mofa_usage made; this one knows up to {HEAD}: "
            "upgrade mofa_usage, or connect with create_tables=False"
        )


def migration_sql(dialect_name: str) -> str:
    """The SQL that `prepare_tables` runs on an empty database, to be run by somebody else.

    Args:
        dialect_name: `postgresql`, `mysql`, `mariadb` or `sqlite`.
    """
    from alembic import command

    output = io.StringIO()
    config = _config(output_buffer=output)
    config.attributes["dialect_name"] = dialect_name
    command.upgrade(config, "head", sql=True)
    return output.getvalue()
