"""Databases as MoFA's Rust agents make them, and the raw way to them, past the store, through a plain driver.

    database = await build(url)                        # MoFA's five tables
    await database.insert("entity_llm_api_call", ...)  # a row as Rust writes it
    before = await database.catalogue()                # every column, key, check, index, trigger, by name

The tables say what those of MoFA's migration scripts say, which are not shipped: CHAR(36) ids, short VARCHARs, tenants
that must be there, a MySQL ENUM, JSON and TIMESTAMPs of whole seconds, foreign keys with cascades, checks, indexes, and
triggers that set `update_time` by the server's clock.
"""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import pymysql
from sqlalchemy import make_url

from tests.samples import AGENT, NIL, SESSION, USER

__all__ = [
    "TABLES",
    "MofaDatabase",
    "build",
    "rust_agent",
    "rust_call",
    "rust_message",
    "rust_provider",
    "rust_session",
]

TABLES = ("entity_chat_session", "entity_llm_message", "entity_llm_api_call", "entity_provider", "entity_agent")
"""In an order in which their foreign keys allow them to be made."""


class MofaDatabase(ABC):
    """A database with tables of MoFA's.

    Attributes:
        url: what the store connects to.
        whole_seconds: its times have no fraction.
        folds: its text is the same in capitals and with trailing blanks.
    """

    ddl: ClassVar[Mapping[str, Sequence[str]]]
    before_tables: ClassVar[Sequence[str]] = ()
    late_clock: ClassVar[Sequence[str]]
    """Makes triggers set `update_time` of all but the calls to 2001, as a server whose clock is far behind would."""
    additions: ClassVar[frozenset[str]] = frozenset({"table mofa_usage_version"})
    """What connecting may add to a catalogue."""
    whole_seconds: ClassVar[bool] = False
    folds: ClassVar[bool] = False
    unchecked: ClassVar[Sequence[str]] = ()
    """Lets a session insert a status that nobody knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    async def run(self, *statements: str) -> list[dict[str, Any]]:
        """Run statements, each committed; the rows of the last one."""

    @abstractmethod
    def time(self, moment: datetime, nanoseconds: int = 0) -> str:
        """A time as Rust's driver writes it, the nanoseconds beside the microseconds."""

    @abstractmethod
    async def catalogue(self) -> dict[str, str]:
        """What the database says of itself: `table x`, `index y` and so on with their definitions."""

    @abstractmethod
    def as_text(self, column: str) -> str:
        """The expression of a column's stored value as text."""

    async def create(self, tables: Iterable[str]) -> None:
        """Make some of MoFA's tables."""
        await self.run(*self.before_tables, *(statement for table in tables for statement in self.ddl[table]))

    async def insert(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Insert rows; strings, numbers, `None`, and dicts as JSON."""
        inserts = (
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(_literal, row.values()))})" for row in rows
        )
        await self.run(*self.unchecked, *inserts)

    async def texts(self, table: str, record_id: UUID) -> dict[str, str | None]:
        """The row of an id, every value as the text that the database makes of it."""
        (row,) = await self.run(f"SELECT * FROM {table} WHERE id = '{record_id}'")
        reads = ", ".join(f"{self.as_text(column)} AS {column}" for column in row)
        return (await self.run(f"SELECT {reads} FROM {table} WHERE id = '{record_id}'"))[0]

    async def rounds(self) -> bool:
        """Whether what does not fit a time is rounded: MySQL does, MariaDB cuts it off."""
        return False

    async def count(self, table: str) -> int:
        """The number of rows."""
        return int((await self.run(f"SELECT count(*) AS n FROM {table}"))[0]["n"])


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, dict):
        value = json.dumps(value)
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------

_PG_TIMES = """
    create_time TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    update_time TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP"""
_PG_ID = "id UUID PRIMARY KEY DEFAULT gen_uuid_v7()"
_PG_TOUCH = "BEFORE UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION update_modified_column()"


def _touch(table: str) -> str:
    return f"CREATE TRIGGER trigger_update_{table} " + _PG_TOUCH.format(table)


class _Postgres(MofaDatabase):
    before_tables = (
        "CREATE FUNCTION gen_uuid_v7() RETURNS UUID LANGUAGE plpgsql AS $$ BEGIN RETURN gen_random_uuid(); END $$",
        "CREATE FUNCTION update_modified_column() RETURNS TRIGGER LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.update_time = CURRENT_TIMESTAMP; RETURN NEW; END $$",
    )
    late_clock = (
        "CREATE OR REPLACE FUNCTION update_modified_column() RETURNS TRIGGER LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.update_time = '2001-01-01 00:00:00+00'; RETURN NEW; END $$",
    )
    ddl: ClassVar[Mapping[str, Sequence[str]]] = {
        "entity_chat_session": (
            f"""CREATE TABLE entity_chat_session ({_PG_ID},
                user_id UUID NOT NULL, agent_id UUID NOT NULL, tenant_id UUID NOT NULL DEFAULT gen_uuid_v7(),
                title VARCHAR(255), metadata JSONB DEFAULT '{{}}', {_PG_TIMES})""",
            "CREATE INDEX idx_chat_session_user ON entity_chat_session (user_id)",
            "CREATE INDEX idx_chat_session_update_time ON entity_chat_session (update_time DESC)",
            _touch("entity_chat_session"),
        ),
        "entity_llm_message": (
            f"""CREATE TABLE entity_llm_message ({_PG_ID},
                parent_message_id UUID, chat_session_id UUID NOT NULL, agent_id UUID NOT NULL, user_id UUID NOT NULL,
                tenant_id UUID NOT NULL DEFAULT gen_uuid_v7(), role VARCHAR(20) NOT NULL, content JSONB NOT NULL,
                {_PG_TIMES},
                CONSTRAINT fk_message_session FOREIGN KEY (chat_session_id)
                    REFERENCES entity_chat_session (id) ON DELETE CASCADE,
                CONSTRAINT fk_message_parent FOREIGN KEY (parent_message_id)
                    REFERENCES entity_llm_message (id) ON DELETE SET NULL)""",
            "CREATE INDEX idx_llm_message_session ON entity_llm_message (chat_session_id, create_time)",
            _touch("entity_llm_message"),
        ),
        "entity_llm_api_call": (
            f"""CREATE TABLE entity_llm_api_call ({_PG_ID},
                chat_session_id UUID NOT NULL, agent_id UUID NOT NULL, user_id UUID NOT NULL,
                tenant_id UUID NOT NULL DEFAULT gen_uuid_v7(),
                request_message_id UUID NOT NULL, response_message_id UUID NOT NULL,
                model_name VARCHAR(100) NOT NULL, status VARCHAR(20) NOT NULL DEFAULT 'success',
                error_message TEXT, error_code VARCHAR(50),
                prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
                total_tokens INTEGER NOT NULL DEFAULT 0, prompt_tokens_details JSONB, completion_tokens_details JSONB,
                total_price NUMERIC(15, 10), price_details JSONB, latency_ms INTEGER, time_to_first_token_ms INTEGER,
                tokens_per_second DOUBLE PRECISION, api_response_id VARCHAR(255), {_PG_TIMES},
                CONSTRAINT check_tokens_positive
                    CHECK (prompt_tokens >= 0 AND completion_tokens >= 0 AND total_tokens >= 0),
                CONSTRAINT check_time_order CHECK (update_time >= create_time))""",
            "CREATE INDEX idx_api_call_session ON entity_llm_api_call (chat_session_id, create_time DESC)",
            "CREATE INDEX idx_api_call_status ON entity_llm_api_call (status, create_time DESC)",
            "CREATE INDEX idx_api_call_time ON entity_llm_api_call (create_time DESC)",
        ),
        "entity_provider": (
            f"""CREATE TABLE entity_provider ({_PG_ID},
                api_base TEXT NOT NULL, api_key TEXT NOT NULL, enabled BOOLEAN NOT NULL DEFAULT true,
                provider_name VARCHAR(255) NOT NULL DEFAULT 'default', provider_type VARCHAR(100) NOT NULL,
                tenant_id UUID NOT NULL, {_PG_TIMES},
                CONSTRAINT uk_entity_provider_tenant UNIQUE (provider_name, tenant_id))""",
            "CREATE INDEX idx_entity_provider_tenant ON entity_provider (tenant_id)",
            _touch("entity_provider"),
        ),
        "entity_agent": (
            f"""CREATE TABLE entity_agent ({_PG_ID},
                tenant_id UUID NOT NULL, agent_code VARCHAR(255) NOT NULL, agent_name VARCHAR(255) NOT NULL,
                agent_order INTEGER NOT NULL DEFAULT 0, agent_status BOOLEAN NOT NULL DEFAULT true,
                context_limit INTEGER DEFAULT 1, custom_params JSONB, max_completion_tokens INTEGER DEFAULT 16384,
                model_name VARCHAR(255) NOT NULL, provider_id UUID NOT NULL,
                response_format VARCHAR(50) DEFAULT 'text', system_prompt TEXT NOT NULL, temperature REAL DEFAULT 0.7,
                stream BOOLEAN DEFAULT true, thinking JSONB, {_PG_TIMES},
                CONSTRAINT uk_entity_agent_code UNIQUE (agent_code),
                CONSTRAINT entity_provider_id_fkey FOREIGN KEY (provider_id)
                    REFERENCES entity_provider (id) ON DELETE CASCADE)""",
            "CREATE INDEX idx_entity_agent_order ON entity_agent (agent_order)",
            _touch("entity_agent"),
        ),
    }

    async def run(self, *statements: str) -> list[dict[str, Any]]:
        rows: list[Any] = []
        connection = await asyncpg.connect(self.url, server_settings={"timezone": "UTC"})
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
        finally:
            await connection.close()
        return [dict(row) for row in rows]

    def time(self, moment: datetime, nanoseconds: int = 0) -> str:
        return moment.isoformat()  # TIMESTAMPTZ has microseconds, and sqlx cuts what is beyond

    def as_text(self, column: str) -> str:
        return f'CAST("{column}" AS TEXT)'

    async def catalogue(self) -> dict[str, str]:
        rows = await self.run("""
            SELECT 'table ' || relname AS name, string_agg(
                       concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                                 pg_get_expr(adbin, adrelid), attcollation), ', ' ORDER BY attnum) AS said
            FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
            LEFT JOIN pg_attrdef ON adrelid = pg_class.oid AND adnum = attnum
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY relname
            UNION ALL SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
                AND tablename <> 'mofa_usage_version'
            UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)
                FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                AND conrelid::regclass::text <> 'mofa_usage_version'
            UNION ALL SELECT 'trigger ' || tgname, pg_get_triggerdef(oid) || tgenabled::text
                FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT 'function ' || proname, pg_get_functiondef(oid) FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace""")
        return {row["name"]: row["said"] for row in rows}


# --- MySQL and MariaDB ----------------------------------------------------------------------------------------------

_MY_TIMES = """
    create_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"""
_MY_ID = "id CHAR(36) PRIMARY KEY DEFAULT (uuid())"  # MoFA's has a function of its own, which MariaDB does not allow
_MY_TENANT = "tenant_id CHAR(36) NOT NULL DEFAULT (uuid())"
_MY_END = "ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci"


class _MySql(MofaDatabase):
    whole_seconds = True
    folds = True
    late_clock = tuple(
        f"CREATE TRIGGER late_{table} BEFORE UPDATE ON {table} FOR EACH ROW SET NEW.update_time = '2001-01-01 00:00:00'"
        for table in TABLES
        if table != "entity_llm_api_call"
    )
    ddl: ClassVar[Mapping[str, Sequence[str]]] = {
        "entity_chat_session": (
            f"""CREATE TABLE entity_chat_session ({_MY_ID},
                user_id CHAR(36) NOT NULL, agent_id CHAR(36) NOT NULL, {_MY_TENANT},
                title VARCHAR(255), metadata JSON, {_MY_TIMES},
                INDEX idx_chat_session_user (user_id), INDEX idx_chat_session_update_time (update_time DESC)
                ) {_MY_END}""",
        ),
        "entity_llm_message": (
            f"""CREATE TABLE entity_llm_message ({_MY_ID},
                parent_message_id CHAR(36), chat_session_id CHAR(36) NOT NULL, agent_id CHAR(36) NOT NULL,
                user_id CHAR(36) NOT NULL, {_MY_TENANT}, role VARCHAR(20) NOT NULL, content JSON NOT NULL, {_MY_TIMES},
                INDEX idx_llm_message_session (chat_session_id, create_time), INDEX idx_llm_message_user (user_id),
                CONSTRAINT fk_message_session FOREIGN KEY (chat_session_id)
                    REFERENCES entity_chat_session (id) ON DELETE CASCADE,
                CONSTRAINT fk_message_parent FOREIGN KEY (parent_message_id)
                    REFERENCES entity_llm_message (id) ON DELETE SET NULL) {_MY_END}""",
        ),
        "entity_llm_api_call": (
            f"""CREATE TABLE entity_llm_api_call ({_MY_ID},
                chat_session_id CHAR(36) NOT NULL, agent_id CHAR(36) NOT NULL, user_id CHAR(36) NOT NULL, {_MY_TENANT},
                request_message_id CHAR(36) NOT NULL, response_message_id CHAR(36) NOT NULL,
                model_name VARCHAR(100) NOT NULL,
                status ENUM('success', 'failed', 'timeout', 'rate_limited', 'cancelled') NOT NULL DEFAULT 'success',
                error_message TEXT, error_code VARCHAR(50),
                prompt_tokens INT NOT NULL DEFAULT 0, completion_tokens INT NOT NULL DEFAULT 0,
                total_tokens INT NOT NULL DEFAULT 0, prompt_tokens_details JSON, completion_tokens_details JSON,
                total_price DECIMAL(15, 10), price_details JSON, latency_ms INT, time_to_first_token_ms INT,
                tokens_per_second DOUBLE, api_response_id VARCHAR(255), {_MY_TIMES},
                INDEX idx_api_call_session (chat_session_id, create_time DESC),
                INDEX idx_api_call_model (model_name, create_time DESC),
                INDEX idx_api_call_time (create_time DESC),
                CONSTRAINT check_tokens_positive
                    CHECK (prompt_tokens >= 0 AND completion_tokens >= 0 AND total_tokens >= 0),
                CONSTRAINT check_time_order CHECK (update_time >= create_time)) {_MY_END}""",
        ),
        "entity_provider": (
            f"""CREATE TABLE entity_provider ({_MY_ID}, {_MY_TENANT},
                provider_name VARCHAR(255) NOT NULL, provider_type VARCHAR(100) NOT NULL, api_base TEXT NOT NULL,
                api_key TEXT NOT NULL, enabled BOOLEAN NOT NULL DEFAULT TRUE, {_MY_TIMES},
                CONSTRAINT uk_entity_provider_tenant UNIQUE (provider_name, tenant_id),
                INDEX idx_entity_provider_tenant (tenant_id)) {_MY_END}""",
        ),
        "entity_agent": (
            f"""CREATE TABLE entity_agent ({_MY_ID}, {_MY_TENANT},
                agent_code VARCHAR(255) NOT NULL UNIQUE, agent_name VARCHAR(255) NOT NULL,
                agent_order INT NOT NULL DEFAULT 0, agent_status BOOLEAN NOT NULL DEFAULT TRUE, context_limit INT,
                custom_params JSON, max_completion_tokens INT, model_name VARCHAR(255) NOT NULL,
                provider_id CHAR(36) NOT NULL, response_format VARCHAR(50), system_prompt TEXT NOT NULL,
                temperature FLOAT, stream BOOLEAN, thinking JSON, {_MY_TIMES},
                CONSTRAINT entity_agent_provider_fkey FOREIGN KEY (provider_id)
                    REFERENCES entity_provider (id) ON DELETE CASCADE,
                INDEX idx_entity_agent_order (agent_order)) {_MY_END}""",
        ),
    }

    async def run(self, *statements: str) -> list[dict[str, Any]]:
        url = make_url(self.url)
        connection = pymysql.connect(
            host=url.host, port=url.port or 3306, user=url.username, password=url.password or "", database=url.database,
            charset="utf8mb4", autocommit=True, cursorclass=pymysql.cursors.DictCursor,
            # As sqlx sets it; and an ENUM without an unknown value, which a session that is not strict lets in.
            init_command="SET time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES'",
        )  # fmt: skip
        rows: Sequence[dict[str, Any]] = []
        with closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = cursor.fetchall()
        return list(rows)

    def time(self, moment: datetime, nanoseconds: int = 0) -> str:
        return moment.replace(tzinfo=None).isoformat(" ")

    def as_text(self, column: str) -> str:
        return f"CAST(`{column}` AS CHAR)"

    async def rounds(self) -> bool:
        return "mariadb" not in (await self.run("SELECT lower(version()) AS version"))[0]["version"]

    async def catalogue(self) -> dict[str, str]:
        names = [row["name"] for row in await self.run(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()"
        )]  # fmt: skip
        said = {f"table {name}": (await self.run(f"SHOW CREATE TABLE {name}"))[0]["Create Table"] for name in names}
        triggers = await self.run(
            "SELECT trigger_name AS name, action_statement AS said FROM information_schema.triggers"
            " WHERE trigger_schema = DATABASE()"
        )
        return said | {f"trigger {row['name']}": row["said"] for row in triggers}


# --- SQLite ---------------------------------------------------------------------------------------------------------

_LITE_TIMES = "create_time TEXT NOT NULL, update_time TEXT NOT NULL"
_LITE_STATUSES = "'success', 'failed', 'timeout', 'rate_limited', 'cancelled'"


class _Sqlite(MofaDatabase):
    unchecked = ("PRAGMA ignore_check_constraints = ON",)
    additions = MofaDatabase.additions | {"index idx_api_call_other_zone"}
    late_clock = tuple(
        f"CREATE TRIGGER late_{table} AFTER UPDATE ON {table} FOR EACH ROW BEGIN "
        f"UPDATE {table} SET update_time = '2001-01-01T00:00:00Z' WHERE id = NEW.id; END"
        for table in TABLES
        if table != "entity_llm_api_call"
    )
    ddl: ClassVar[Mapping[str, Sequence[str]]] = {
        "entity_chat_session": (
            f"""CREATE TABLE entity_chat_session (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, agent_id TEXT NOT NULL,
                tenant_id TEXT, title TEXT, metadata TEXT, {_LITE_TIMES})""",
            "CREATE INDEX idx_chat_session_update_time ON entity_chat_session (update_time DESC)",
        ),
        "entity_llm_message": (
            f"""CREATE TABLE entity_llm_message (id TEXT PRIMARY KEY, parent_message_id TEXT,
                chat_session_id TEXT NOT NULL, agent_id TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT,
                role TEXT NOT NULL, content TEXT NOT NULL, {_LITE_TIMES},
                FOREIGN KEY (chat_session_id) REFERENCES entity_chat_session (id) ON DELETE CASCADE,
                FOREIGN KEY (parent_message_id) REFERENCES entity_llm_message (id) ON DELETE SET NULL)""",
            "CREATE INDEX idx_llm_message_session ON entity_llm_message (chat_session_id, create_time)",
        ),
        "entity_llm_api_call": (
            f"""CREATE TABLE entity_llm_api_call (id TEXT PRIMARY KEY, chat_session_id TEXT NOT NULL,
                agent_id TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
                request_message_id TEXT NOT NULL, response_message_id TEXT NOT NULL, model_name TEXT NOT NULL,
                status TEXT NOT NULL CHECK (status IN ({_LITE_STATUSES})), error_message TEXT, error_code TEXT,
                prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
                total_tokens INTEGER NOT NULL DEFAULT 0, prompt_tokens_details TEXT, completion_tokens_details TEXT,
                total_price REAL, price_details TEXT, latency_ms INTEGER, time_to_first_token_ms INTEGER,
                tokens_per_second REAL, api_response_id TEXT, {_LITE_TIMES},
                CHECK (prompt_tokens >= 0 AND completion_tokens >= 0 AND total_tokens >= 0),
                CONSTRAINT check_time_order CHECK (update_time >= create_time))""",
            "CREATE INDEX idx_api_call_session ON entity_llm_api_call (chat_session_id, create_time DESC)",
            "CREATE INDEX idx_api_call_time ON entity_llm_api_call (create_time DESC)",
        ),
        "entity_provider": (
            f"""CREATE TABLE entity_provider (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL,
                provider_name TEXT NOT NULL, provider_type TEXT NOT NULL, api_base TEXT NOT NULL, api_key TEXT NOT NULL,
                enabled INTEGER NOT NULL DEFAULT 1, {_LITE_TIMES},
                CONSTRAINT uk_entity_provider_tenant UNIQUE (tenant_id, provider_name))""",
            "CREATE INDEX idx_entity_provider_type ON entity_provider (provider_type)",
        ),
        "entity_agent": (
            f"""CREATE TABLE entity_agent (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL,
                agent_code TEXT NOT NULL UNIQUE, agent_name TEXT NOT NULL, agent_order INTEGER NOT NULL DEFAULT 0,
                agent_status INTEGER NOT NULL DEFAULT 1, context_limit INTEGER, custom_params TEXT,
                max_completion_tokens INTEGER, model_name TEXT NOT NULL, provider_id TEXT NOT NULL,
                response_format TEXT, system_prompt TEXT NOT NULL, temperature REAL, stream INTEGER, thinking TEXT,
                {_LITE_TIMES},
                FOREIGN KEY (provider_id) REFERENCES entity_provider (id) ON DELETE CASCADE)""",
            "CREATE INDEX idx_entity_agent_order ON entity_agent (agent_order)",
        ),
    }

    async def run(self, *statements: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:"), timeout=10)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            for statement in statements:
                cursor = connection.execute(statement)
                names = [column[0] for column in cursor.description or ()]
                rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return rows

    def time(self, moment: datetime, nanoseconds: int = 0) -> str:
        # As chrono does it: no more digits of a second than it takes, in groups of three.
        fraction = f"{moment.microsecond:06d}{nanoseconds:03d}"
        while fraction.endswith("000"):
            fraction = fraction[:-3]
        return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}+00:00"

    def as_text(self, column: str) -> str:
        return f"CAST({column} AS TEXT)"

    async def catalogue(self) -> dict[str, str]:
        rows = await self.run("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {f"{row['type']} {row['name']}": row["sql"] for row in rows}


_KINDS: Mapping[str, type[MofaDatabase]] = {"postgresql": _Postgres, "mysql": _MySql, "mariadb": _MySql}


async def build(url: str, tables: Iterable[str] = TABLES) -> MofaDatabase:
    """Make MoFA's tables, or some of them, in an empty database."""
    database = _KINDS.get(url.partition(":")[0], _Sqlite)(url)
    await database.create(tables)
    return database


# --- rows as Rust writes them ---------------------------------------------------------------------------------------


def _row(number: int, time: str, *ids: Mapping[str, UUID], **fields: Any) -> dict[str, Any]:
    texts = {name: str(value) for some in ids for name, value in some.items()}
    return {"id": str(UUID(int=number)), **texts, "create_time": time, "update_time": time, **fields}


_WHO = {"agent_id": AGENT, "user_id": USER, "tenant_id": NIL}


def rust_session(number: int, time: str, **fields: Any) -> dict[str, Any]:
    """A session without a title."""
    return _row(number, time, _WHO, **({"title": None, "metadata": "{}"} | fields))


def rust_message(number: int, time: str, **fields: Any) -> dict[str, Any]:
    """A user's message of the session `SESSION`."""
    said = {"parent_message_id": None, "role": "user", "content": '{"text":"Hello"}'}
    return _row(number, time, _WHO, {"chat_session_id": SESSION}, **(said | fields))


def rust_call(number: int, time: str, **fields: Any) -> dict[str, Any]:
    """A successful call of 100 + 50 tokens with nothing that may be absent."""
    ids = {"chat_session_id": SESSION, "request_message_id": NIL, "response_message_id": NIL}
    plain = {"model_name": "gpt-4", "status": "success"}
    tokens = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return _row(number, time, _WHO, ids, **(plain | tokens | fields))


def rust_provider(number: int, time: str, **fields: Any) -> dict[str, Any]:
    """An enabled provider."""
    plain = {"provider_name": "openai", "provider_type": "openai", "api_base": "https://api", "api_key": "sk-1"}
    return _row(number, time, {"tenant_id": NIL}, **(plain | fields))


def rust_agent(number: int, time: str, provider: int, **fields: Any) -> dict[str, Any]:
    """An agent of a provider, with what the tables give it by default."""
    plain = {"agent_code": "helper", "agent_name": "Helper", "model_name": "gpt-4", "system_prompt": "Be kind."}
    return _row(number, time, {"tenant_id": NIL, "provider_id": UUID(int=provider)}, **(plain | fields))
