"""The server notes at each save where in its own order of saves a row stands: the column `saved_position`.

The times of a row are its own and say nothing of when it was saved, so whoever copies a table (`Warehouse.sync`) asks
for the rows behind a position. Nothing that writes has to know of the column, MoFA's agents included: it has a default,
and a trigger where an UPDATE needs one.

- PostgreSQL: the id of the transaction, of 64 bits, which never begins anew within a cluster. The trigger does its work
  only for an UPDATE, and for rows that bring another position along, as replication and a restore do.
- MySQL and MariaDB: the time of the statement, by `DEFAULT` and `ON UPDATE`; no trigger, for which most may not ask.
- SQLite: what a counter says, in a table of its own: the next number, which no row has at rest. A trigger numbers each
  row that is saved without it, and counts on; `era` tells one database from another. Saves of many rows give the number
  themselves, the same one to all; no other number gets past the trigger.

Rows from before the column have none, or on MySQL the moment at which it came: they stand before every position.
Adding it rewrites no table, on MySQL only of some versions. An index has to read the whole table, though, during which
PostgreSQL lets nobody write: of a table of more than a gigabyte it is made only by `mofa-usage migrate`, which does it
without a lock.

The columns come to tables that we made: those that have our columns in our order, ids of our type, and our indexes.
"""

import logging
from collections.abc import Iterator, Mapping

from alembic import op
from sqlalchemy.engine import Connection

from mofa_usage.stores.migrations import tables
from mofa_usage.stores.migrations.tables import columns_by_table, id_types, index_names

revision = "0003"
down_revision = "0002"

_LOG = logging.getLogger(__name__)
_TIMES = "create_time update_time"
_TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "entity_llm_message": (
        "idx_message_saved",
        f"id chat_session_id agent_id user_id tenant_id parent_message_id role content {_TIMES}",
        ("idx_message_session",),
    ),
    "entity_llm_api_call": (
        "idx_api_call_saved",
        "id chat_session_id agent_id user_id tenant_id request_message_id response_message_id model_name error_message "
        "error_code api_response_id status prompt_tokens completion_tokens total_tokens latency_ms "
        "time_to_first_token_ms prompt_tokens_details completion_tokens_details price_details total_price "
        f"tokens_per_second {_TIMES}",
        ("idx_api_call_user", "idx_api_call_time"),
    ),
    "entity_chat_session": (
        "idx_session_saved",
        f"id user_id agent_id tenant_id title metadata {_TIMES}",
        ("idx_session_user",),
    ),
    "entity_provider": (
        "idx_provider_saved",
        f"id tenant_id provider_name provider_type api_base api_key enabled {_TIMES}",
        ("idx_provider_tenant", "idx_provider_enabled"),
    ),
    "entity_agent": (
        "idx_agent_saved",
        "id tenant_id provider_id agent_code agent_name model_name system_prompt response_format agent_order "
        "context_limit max_completion_tokens agent_status stream temperature custom_params thinking " + _TIMES,
        ("idx_agent_tenant", "idx_agent_order"),
    ),
}
"""Of each table: what the index on the position is called, the columns as we make them, and indexes that we make."""

_ID = {"postgresql": "uuid", "mysql": "varchar(36)", "mariadb": "varchar(36)", "sqlite": "text"}
_COLUMN = "saved_position"
_MYSQLS = ("mysql", "mariadb")
_MYSQL_COLUMN = f"{_COLUMN} TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"


def upgrade() -> None:
    """Add the column, the index and what keeps it right to the tables that are ours."""
    context = op.get_context()
    dialect = context.dialect.name
    if context.as_sql:
        statements = [*_shared(dialect)]
        for table in _TABLES:
            statements += [*_column(dialect, table), _index(dialect, table)]
    else:
        statements = list(_missing(op.get_bind()))
    for statement in statements:
        op.execute(statement)


def later(connection: Connection) -> list[str]:
    """What makes the indexes that large tables lack, statement by statement, each outside of a transaction."""
    dialect = connection.dialect.name
    columns, indexes = columns_by_table(connection), index_names(connection)
    statements = []
    for table in _ours(connection, columns, indexes):
        index = _TABLES[table][0]
        if dialect == "sqlite" or _COLUMN not in columns[table] or index in indexes:
            continue
        if dialect == "postgresql":  # one that was broken off is there, and no good
            statements += ["SET lock_timeout = 0", f"DROP INDEX CONCURRENTLY IF EXISTS {index}"]
        statements.append(_index(dialect, table, concurrently=True))
    return statements


def _missing(connection: Connection) -> Iterator[str]:
    """The statements for what is not there yet: MySQL keeps what was made before a kill."""
    dialect = connection.dialect.name
    if dialect == "postgresql" and (connection.dialect.server_version_info or ()) < (13,):
        return  # it has no such ids; `Warehouse.sync` compares
    columns, indexes = columns_by_table(connection), index_names(connection)
    ours = list(_ours(connection, columns, indexes))
    lacking = [table for table in ours if _COLUMN not in columns[table]]
    if lacking and dialect == "postgresql":
        yield "SET LOCAL lock_timeout = '5s'"  # whoever comes after us waits as long as we do
    if lacking and "mofa_usage_position" not in columns:
        yield from _shared(dialect)
    for table in ours:
        if table in lacking:
            yield from _column(dialect, table)
        if (index := _TABLES[table][0]) in indexes:
            continue
        if _is_large(connection, table):
            _LOG.warning("%s is large: `mofa-usage migrate` makes its index %s without keeping others from writing",
                         table, index)  # fmt: skip
        else:
            yield _index(dialect, table)


def _ours(connection: Connection, columns: Mapping[str, list[str]], indexes: set[str]) -> Iterator[str]:
    """The tables that we made."""
    dialect, types = connection.dialect.name, id_types(connection)
    for table, (_, made, with_indexes) in _TABLES.items():
        ours = made.split()
        are_our_columns = columns.get(table, [])[: len(ours)] == ours and types.get(table) == _ID[dialect]
        if are_our_columns and set(with_indexes) <= indexes:
            yield table


def _is_large(connection: Connection, table: str) -> bool:
    dialect = connection.dialect.name
    if dialect == "postgresql":
        size = f"SELECT pg_table_size('{table}')"
    elif dialect in _MYSQLS:
        size = (
            "SELECT data_length FROM information_schema.tables "  # noqa: S608 (a name of ours)
            f"WHERE table_schema = DATABASE() AND table_name = '{table}'"
        )
    else:
        return False  # SQLite reads a gigabyte in a second or two
    return int(connection.exec_driver_sql(size).scalar() or 0) > tables.LARGE


def _shared(dialect: str) -> Iterator[str]:
    """What all tables have in common."""
    if dialect == "postgresql":
        yield (
            "CREATE OR REPLACE FUNCTION mofa_usage_saved() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN NEW.{_COLUMN} = pg_current_xact_id(); RETURN NEW; END $$"
        )
    elif dialect == "sqlite":
        yield "CREATE TABLE mofa_usage_position (era TEXT NOT NULL, value INTEGER NOT NULL)"
        yield "INSERT INTO mofa_usage_position VALUES (lower(hex(randomblob(16))), 1)"


def _column(dialect: str, table: str) -> Iterator[str]:
    """A table's column with what keeps it right."""
    if dialect in _MYSQLS:
        yield f"ALTER TABLE {table} ADD COLUMN {_MYSQL_COLUMN}"
    else:
        yield from _postgres(table) if dialect == "postgresql" else _sqlite(table)


def _index(dialect: str, table: str, *, concurrently: bool = False) -> str:
    name = _TABLES[table][0]
    if dialect in _MYSQLS:
        return f"ALTER TABLE {table} ADD INDEX {name} ({_COLUMN})"
    # With the id, by which the rows of one transaction are read a page at a time.
    columns = f"{_COLUMN}, id" if dialect == "postgresql" else _COLUMN
    making = "CREATE INDEX CONCURRENTLY" if concurrently else "CREATE INDEX"
    return f"{making} {name} ON {table} ({columns}) WHERE {_COLUMN} IS NOT NULL"


def _postgres(table: str) -> Iterator[str]:
    # Given its default afterwards, the column stays null in the rows that there are.
    default = f"ALTER COLUMN {_COLUMN} SET DEFAULT pg_current_xact_id()"
    yield f"ALTER TABLE {table} ADD COLUMN {_COLUMN} xid8, {default}"
    yield (
        f"CREATE TRIGGER {table}_saved BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW "
        f"WHEN (NEW.{_COLUMN} IS DISTINCT FROM pg_current_xact_id()) EXECUTE FUNCTION mofa_usage_saved()"
    )
    yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_saved"


def _sqlite(table: str) -> Iterator[str]:
    yield f"ALTER TABLE {table} ADD COLUMN {_COLUMN} INTEGER"
    number = "(SELECT value FROM mofa_usage_position)"
    numbered = (
        f"WHEN NEW.{_COLUMN} IS NOT {number} "  # noqa: S608 (names of ours)
        f"BEGIN UPDATE {table} SET {_COLUMN} = {number} WHERE rowid = NEW.rowid; "
        "UPDATE mofa_usage_position SET value = value + 1; END"
    )
    yield f"CREATE TRIGGER {table}_inserted AFTER INSERT ON {table} {numbered}"
    yield f"CREATE TRIGGER {table}_updated AFTER UPDATE ON {table} {numbered}"
