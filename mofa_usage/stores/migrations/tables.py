"""Which columns and indexes there are, asked at once. SQLAlchemy would ask for each table, and also read the types of
columns, of which it does not know all and warns.
"""

from collections.abc import Mapping

from sqlalchemy.engine import Connection

__all__ = ["LARGE", "columns_by_table", "id_types", "index_names"]

LARGE = 2**30
"""Bytes of a table that is not read as a whole while others wait."""

_MYSQL_COLUMNS = (
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
)
_MYSQL_INDEXES = "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()"
_COLUMNS: Mapping[str, str] = {
    "postgresql": "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " WHERE relkind IN ('r', 'p') AND pg_table_is_visible(attrelid) AND relnamespace <> 'pg_catalog'::regnamespace"
    " AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum",
    "mysql": _MYSQL_COLUMNS,
    "mariadb": _MYSQL_COLUMNS,
    "sqlite": "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
    " WHERE tables.type = 'table' ORDER BY tables.name, columns.cid",
}
_MYSQL_IDS = (
    "SELECT table_name, column_type FROM information_schema.columns WHERE table_schema = DATABASE() AND"
    " column_name = 'id'"
)
_IDS: Mapping[str, str] = {
    "postgresql": "SELECT relname, format_type(atttypid, atttypmod) FROM pg_attribute JOIN pg_class ON"
    " pg_class.oid = attrelid WHERE relkind IN ('r', 'p') AND pg_table_is_visible(attrelid) AND attname = 'id'",
    "mysql": _MYSQL_IDS,
    "mariadb": _MYSQL_IDS,
    "sqlite": "SELECT tables.name, columns.type FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
    " WHERE tables.type = 'table' AND columns.name = 'id'",
}
# PostgreSQL keeps an index that it could not finish; it is not one.
_INDEXES: Mapping[str, str] = {
    "postgresql": "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE indisvalid AND pg_table_is_visible(indrelid)",
    "mysql": _MYSQL_INDEXES,
    "mariadb": _MYSQL_INDEXES,
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
}


def columns_by_table(connection: Connection) -> Mapping[str, list[str]]:
    """The columns of each table in their order."""
    found: dict[str, list[str]] = {}
    for table, column in connection.exec_driver_sql(_COLUMNS[connection.dialect.name]):
        found.setdefault(table, []).append(column)
    return found


def id_types(connection: Connection) -> Mapping[str, str]:
    """What each table declares its `id` as, in lower case."""
    return {
        table: str(declared).lower() for table, declared in connection.exec_driver_sql(_IDS[connection.dialect.name])
    }


def index_names(connection: Connection) -> set[str]:
    """What the indexes are called."""
    return set(connection.exec_driver_sql(_INDEXES[connection.dialect.name]).scalars())
