"""Creates the tables and brings older ones of ours up to date: Alembic's revisions, run when a store connects.

Which revision a database is at stands in its table `mofa_usage_version`. A database at `HEAD` costs one query. One
without that table may be empty or have MoFA's tables: `0001` creates what is missing and adopts what is there as it
is. A revision never drops or narrows anything, and one process at a time runs them.

Old and new programs work on one database while a new version is rolled out. A revision is four digits: those that
begin with the same digit only add to each other, in a way that programs which do not know of it need not mind. So a
database at a newer one of ours is taken as it is, and only one with another first digit is refused. A change that older
programs must not meet begins the next thousand.

A table that MoFA made is changed only when somebody asks for it (`upgrade_mofas`), because its agents have to be
restarted then. Whoever may not change tables, or would have to wait for others to let go of them, connects to older
ones and does without what is new.
"""

import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mofa_usage.errors import QueryError, StoreConnectionError
from mofa_usage.forks import loading
from mofa_usage.stores.connections import failure_of
from mofa_usage.stores.dialects import Dialect
from mofa_usage.stores.runner import PoolRunner

__all__ = ["HEAD", "VERSION_TABLE", "migration_sql", "prepare_tables"]

HEAD = "0003"
"""The newest revision."""
VERSION_TABLE = "mofa_usage_version"

_LOG = logging.getLogger(__name__)
_READ_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 (a constant)


async def prepare_tables(runner: PoolRunner, *, mofas: bool = False) -> str:
    """Create or upgrade the tables, unless they are current; the revision that they are at.

    Args:
        runner: runs it, on connections of its own.
        mofas: change tables that MoFA made, too; its agents must be restarted after that.

    Raises:
        StoreConnectionError: the database cannot be reached, or is at a revision that this program must not meet.
        QueryError: the tables cannot be created (the message says what the database said), or one is not MoFA's.
    """
    versions = await _versions(runner)
    if versions and not mofas and (versions == [HEAD] or _is_newer(versions)):
        return versions[0]

    async def work() -> None:
        async with runner.engine.connect() as connection:
            await connection.run_sync(_upgrade, runner.dialect, mofas)

    async def make_later() -> None:
        async with runner.engine.connect() as connection:
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                await alone.run_sync(_make_later)
            finally:
                await alone.invalidate()  # with what it was told of its session

    try:
        await runner.attempt_alone(work, "creating the tables")
        if mofas:
            await runner.attempt_alone(make_later, "making indexes")
    except QueryError as error:
        if mofas or not versions or (reason := _no_change(error, runner.dialect)) is None:
            raise
        _LOG.warning("the tables stay at version %s, %s (%s)", versions[0], reason, error)
    return (await _versions(runner))[0]


async def _versions(runner: PoolRunner) -> list[str]:
    try:
        rows = await runner.attempt(
            lambda connection: runner.dialect.driver.fetch(connection, _READ_VERSION, ()),
            "reading the version of the tables",
        )
    except QueryError:
        return []  # most likely there is no such table yet; if it is something else, the next step says so
    return [row[0] for row in rows]


def _is_newer(versions: Sequence[str]) -> bool:
    """Whether a database is at a revision after ours that only adds to it."""
    return all(re.fullmatch(f"{HEAD[0]}[0-9]{{3}}", version) and version > HEAD for version in versions)


def _no_change(error: QueryError, dialect: Dialect) -> str | None:
    """Why older tables cannot be changed for now, None where something is wrong."""
    failure = None if error.__cause__ is None else failure_of(error.__cause__, dialect)
    if failure is not None and failure.denied:
        return "this user may not change them: run `mofa-usage migrate` with one who may"
    if failure is not None and failure.transient and not failure.again:
        # Somebody reads or writes them for long, a backup for example. All others would wait behind us.
        return "others use them: a later connect or `mofa-usage migrate` changes them"
    return None


def _upgrade(connection: sa.Connection, dialect: Dialect, mofas: bool) -> None:
    if dialect.idioms.lock_schema:
        answer = connection.exec_driver_sql(dialect.idioms.lock_schema)
        if answer.returns_rows and answer.scalar() == 0:  # MySQL's way to say that it has waited long enough
            raise QueryError("another process is creating or upgrading the tables", transient=True)
    try:
        _run_revisions(connection, mofas)
        connection.commit()
    finally:
        if dialect.idioms.unlock_schema and not connection.invalidated:  # a connection that is gone has let go of it
            connection.exec_driver_sql(dialect.idioms.unlock_schema)


def _run_revisions(connection: sa.Connection, mofas: bool) -> None:
    with loading():
        from alembic import command  # takes a tenth of a second, and most connects do not need it

        config, revisions = _config(), _revisions()
    has_version = sa.inspect(connection).has_table(VERSION_TABLE)
    versions = list(connection.exec_driver_sql(_READ_VERSION).scalars()) if has_version else []
    if not versions:
        revisions[0].module.refuse_strangers(connection)
    elif not _is_newer(versions) and (unknown := sorted(set(versions) - {script.revision for script in revisions})):
        raise StoreConnectionError(
            f"the tables are at version {unknown[0]}, which a newer mofa_usage made; this one knows up to {HEAD} and "
            "cannot work with it: upgrade mofa_usage, or connect with create_tables=False"
        )
    if not versions or not _is_newer(versions):
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    for script in revisions if mofas else ():
        if hasattr(script.module, "upgrade_mofas"):
            script.module.upgrade_mofas(connection)


def _make_later(connection: sa.Connection) -> None:
    """What takes long and keeps nobody from writing if it is no part of a transaction."""
    with loading():
        revisions = _revisions()
    for script in revisions:
        for statement in script.module.later(connection) if hasattr(script.module, "later") else ():
            connection.exec_driver_sql(statement)


def _revisions() -> list[Any]:
    """All revisions, the first one first."""
    from alembic.script import ScriptDirectory

    return list(ScriptDirectory.from_config(_config()).walk_revisions("base", "heads"))[::-1]


def _config(**options: Any) -> Any:
    from alembic.config import Config

    config = Config(**options)
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


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
