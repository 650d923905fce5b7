"""Databases of a million calls for benchmarks, each made by the database itself in one statement.

The same calls everywhere, but for their random ids: ten models, agents and 500 users, one call in 20 a timeout, one in
ten without a price, one in two with reasoning tokens, two seconds from call to call.
(In SQL `||` may bind more tightly than `%`.)
"""

import sqlite3
from typing import Any

from mofa_usage.schema import API_CALL_UNLABELLED
from mofa_usage.stores import connect

NUMBERS = """
    CASE WHEN n % 20 = 0 THEN 'timeout' ELSE 'success' END, CASE WHEN n % 20 = 0 THEN 'no answer' END,
    CASE WHEN n % 20 = 0 THEN '408' END, n % 20000, n % 2000, n % 20000 + n % 2000
"""
PRICE = "CASE WHEN n % 10 > 0 THEN (n % 20000 * 25 + n % 2000 * 100) / 10000000.0 END"
TIMES = "100 + n % 60000, 10 + n % 6000, n % 2000 / ((100 + n % 60000) / 1000.0), NULL"

SQLITE_ID = (
    "printf('%s-%s-%s-%s-%s', lower(hex(randomblob(4))), lower(hex(randomblob(2))), lower(hex(randomblob(2))),"
    " lower(hex(randomblob(2))), lower(hex(randomblob(6))))"
)
SQLITE_TIME = (
    "strftime('%Y-%m-%dT%H:%M:%S', 1770000000 + n * 2, 'unixepoch') || printf('.%06d+00:00', n * 7919 % 1000000)"
)
POSTGRES_TIME = "to_timestamp(1770000000 + n * 2) + (n::bigint * 7919 % 1000000) * INTERVAL '1 microsecond'"
MYSQL_TIME = "TIMESTAMP('1970-01-01') + INTERVAL 1770000000 + n * 2 SECOND + INTERVAL n * 7919 % 1000000 MICROSECOND"

SELECT = {
    "sqlite": f"""
        WITH RECURSIVE series(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < :rows)
        SELECT {SQLITE_ID}, {SQLITE_ID}, printf('00000000-0000-0000-0000-%012x', n % 10 + 1),
            printf('00000000-0000-0000-0000-%012x', n % 500 + 1), '00000000-0000-0000-0000-000000000000',
            {SQLITE_ID}, {SQLITE_ID}, 'model-' || (n % 10), {NUMBERS},
            '{{"cached_tokens":' || (n % 10000) || '}}',
            CASE WHEN n % 2 = 0 THEN '{{"reasoning_tokens":' || (n % 1000) || '}}' END, {PRICE},
            '{{"input_price":0.000' || (1000 + n % 9000) || ',"output_price":0.01,"currency":"USD"}}',
            {TIMES}, {SQLITE_TIME}, {SQLITE_TIME}
        FROM series
    """,
    "postgres": f"""
        SELECT gen_random_uuid(), gen_random_uuid(), CAST(lpad(to_hex(n % 10 + 1), 32, '0') AS UUID),
            CAST(lpad(to_hex(n % 500 + 1), 32, '0') AS UUID), CAST(repeat('0', 32) AS UUID),
            gen_random_uuid(), gen_random_uuid(), 'model-' || (n % 10), {NUMBERS},
            CAST('{{"cached_tokens":' || (n % 10000) || '}}' AS JSONB),
            CASE WHEN n % 2 = 0 THEN CAST('{{"reasoning_tokens":' || (n % 1000) || '}}' AS JSONB) END, {PRICE},
            CAST('{{"input_price":0.000' || (1000 + n % 9000) || ',"output_price":0.01,"currency":"USD"}}' AS JSONB),
            {TIMES}, {POSTGRES_TIME}, {POSTGRES_TIME}
        FROM generate_series(0, :rows - 1) AS series(n)
    """,
    "mysql": f"""
        SELECT UUID(), UUID(), CONCAT('00000000-0000-0000-0000-', LPAD(LOWER(HEX(n % 10 + 1)), 12, '0')),
            CONCAT('00000000-0000-0000-0000-', LPAD(LOWER(HEX(n % 500 + 1)), 12, '0')),
            '00000000-0000-0000-0000-000000000000', UUID(), UUID(), CONCAT('model-', n % 10), {NUMBERS},
            CONCAT('{{"cached_tokens":', n % 10000, '}}'),
            CASE WHEN n % 2 = 0 THEN CONCAT('{{"reasoning_tokens":', n % 1000, '}}') END, {PRICE},
            CONCAT('{{"input_price":0.000', 1000 + n % 9000, ',"output_price":0.01,"currency":"USD"}}'),
            {TIMES}, {MYSQL_TIME}, {MYSQL_TIME}
        FROM (SELECT seq AS n FROM seq_0_to_10000000 LIMIT :rows) AS series
    """,
}


async def fill(url: str, rows: int) -> str:
    """Make our tables at the URL and put calls in; the kind of database that it is."""
    async with connect(url) as store:
        kind = store.backend_name
        insert = f"INSERT INTO entity_llm_api_call ({', '.join(API_CALL_UNLABELLED.columns)}) {SELECT[kind]}"
        statement = insert.replace(":rows", str(rows))
        if kind == "sqlite":
            _insert_sqlite(url.removeprefix("sqlite:"), statement)
        else:
            engine: Any = store.engine  # type: ignore[attr-defined]
            async with engine.begin() as connection:
                # The MySQL driver formats even without parameters.
                await connection.exec_driver_sql(statement.replace("%", "%%") if kind == "mysql" else statement)
    return kind


def _insert_sqlite(path: str, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA cache_size = -500000")
    connection.execute(statement)
    connection.commit()
    connection.close()
