"""The five tables, as they were first.

A revision is history: what `mofa_usage.schema` says now is reached from here by the revisions after this one, so the
columns are written out. Tables that exist are MoFA's, which `refuse_strangers` sees to; they are left as they are.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ColumnCollectionConstraint

from mofa_usage.errors import QueryError
from mofa_usage.schema import TYPES, Kind
from mofa_usage.stores.migrations.tables import columns_by_table

revision = "0001"
down_revision = None

_TABLES: dict[str, dict[Kind, str]] = {
    "entity_llm_message": {
        Kind.ID: "id chat_session_id agent_id user_id tenant_id? parent_message_id?",
        Kind.NAME: "role",
        Kind.JSON: "content",
        Kind.TIME: "create_time update_time",
    },
    "entity_llm_api_call": {
        Kind.ID: "id chat_session_id agent_id user_id tenant_id request_message_id response_message_id",
        Kind.KEY: "model_name",
        Kind.TEXT: "error_message? error_code? api_response_id?",
        Kind.NAME: "status",
        Kind.INTEGER: "prompt_tokens completion_tokens total_tokens latency_ms? time_to_first_token_ms?",
        Kind.JSON: "prompt_tokens_details? completion_tokens_details? price_details?",
        Kind.MONEY: "total_price?",
        Kind.RATE: "tokens_per_second?",
        Kind.TIME: "create_time update_time",
    },
    "entity_chat_session": {
        Kind.ID: "id user_id agent_id tenant_id?",
        Kind.TEXT: "title?",
        Kind.JSON: "metadata?",
        Kind.TIME: "create_time update_time",
    },
    "entity_provider": {
        Kind.ID: "id tenant_id",
        Kind.KEY: "provider_name",
        Kind.TEXT: "provider_type api_base api_key",
        Kind.FLAG: "enabled",
        Kind.TIME: "create_time update_time",
    },
    "entity_agent": {
        Kind.ID: "id tenant_id provider_id",
        Kind.KEY: "agent_code",
        Kind.TEXT: "agent_name model_name system_prompt response_format?",
        Kind.INTEGER: "agent_order context_limit? max_completion_tokens?",
        Kind.FLAG: "agent_status stream?",
        Kind.RATE: "temperature?",
        Kind.JSON: "custom_params? thinking?",
        Kind.TIME: "create_time update_time",
    },
}
_UNIQUE = {
    "entity_provider": ("uk_entity_provider_tenant", ("tenant_id", "provider_name")),
    "entity_agent": ("uk_entity_agent_code", ("agent_code",)),
}
_INDEXES = {
    "entity_llm_message": {"idx_message_session": ["chat_session_id"]},
    "entity_llm_api_call": {
        "idx_api_call_session": ["chat_session_id", "create_time"],
        "idx_api_call_user": ["user_id", "create_time"],
        "idx_api_call_agent": ["agent_id", "create_time"],
        "idx_api_call_status": ["status", "create_time"],
        "idx_api_call_model": ["model_name", "create_time"],
        "idx_api_call_tenant": ["tenant_id", "create_time"],
        "idx_api_call_time": ["create_time"],
    },
    "entity_chat_session": {"idx_session_user": ["user_id"]},
    "entity_provider": {"idx_provider_tenant": ["tenant_id"], "idx_provider_enabled": ["enabled"]},
    "entity_agent": {"idx_agent_tenant": ["tenant_id"], "idx_agent_order": ["agent_order"]},
}


class _Index(ColumnCollectionConstraint):
    """An index that is made with its table, as only MySQL and MariaDB can."""


@compiles(_Index, "mysql", "mariadb")
def _compile_index(index: _Index, compiler: Any, **options: Any) -> str:
    columns = ", ".join(compiler.preparer.quote(column.name) for column in index.columns)
    return f"INDEX {compiler.preparer.quote(index.name)} ({columns})"


def upgrade() -> None:
    """Create the tables that are missing."""
    context = op.get_context()
    existing = set() if context.as_sql else _existing(op.get_bind())
    for name, kinds in _TABLES.items():
        if name not in existing:
            _create(name, _columns(kinds))
    if context.dialect.name == "sqlite":
        # Finds out at once whether any time was written with `Z`, which sorts differently as text.
        op.execute(
            "CREATE INDEX IF NOT EXISTS idx_api_call_other_zone ON entity_llm_api_call (id) "
            "WHERE substr(create_time, -6) <> '+00:00'"
        )


def refuse_strangers(connection: Connection) -> None:
    """Refuse a database in which a table of one of our names is not MoFA's.

    To be called before the upgrade, because MySQL cannot take back the tables that were made by then.

    Raises:
        QueryError: with the table and the columns that it lacks.
    """
    columns = columns_by_table(connection)
    for table in sorted(columns.keys() & _TABLES.keys()):
        if missing := {column.name for column in _columns(_TABLES[table])} - set(columns[table]):
            lacks = f"it lacks the column(s) {', '.join(sorted(missing))}"
            raise QueryError(f"the database has a table {table} that is not MoFA's: {lacks}")


def _existing(connection: Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names()) & set(_TABLES)


def _columns(kinds: dict[Kind, str]) -> list[sa.Column[object]]:
    return [
        sa.Column(column.rstrip("?"), TYPES[kind], primary_key=column == "id", nullable=column.endswith("?"))
        for kind, names in kinds.items()
        for column in names.split()
    ]


def _create(name: str, columns: list[sa.Column[object]]) -> None:
    dialect = op.get_context().dialect
    unique = [sa.UniqueConstraint(*columns, name=key) for key, columns in [_UNIQUE[name]]] if name in _UNIQUE else []
    # MySQL keeps a table whose maker was killed before its indexes came, and the next connect adopts it as it is.
    indexes = _INDEXES[name]
    inside, after = (indexes, {}) if dialect.name in ("mysql", "mariadb") else ({}, indexes)
    collation = _collation(dialect)
    op.create_table(
        name, *columns, *unique, *(_Index(*columns, name=index) for index, columns in inside.items()),
        mysql_charset="utf8mb4", mysql_collate=collation, mysql_engine="InnoDB",
        mariadb_charset="utf8mb4", mariadb_collate=collation, mariadb_engine="InnoDB",
    )  # fmt: skip
    for index, index_columns in after.items():
        op.create_index(index, name, index_columns)


def _collation(dialect: object) -> str:
    # Compares text to the letter, trailing spaces included, like every other database.
    return "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
