"""The column of labels: in tables of ours, of an earlier version, of a later one, and in those that MoFA made.

Old and new programs work on one database while a version is rolled out, so every test of an older or newer table also
uses it through a store that was open before.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pymysql
import pytest
import sqlalchemy as sa
from alembic import command

from mofa_usage.errors import ConstraintError, QueryError, StoreConnectionError
from mofa_usage.records import LLMApiCall
from mofa_usage.stores import InMemoryStore, MySqlStore, PostgresStore, Records, Store, connect
from mofa_usage.stores.call_table import CallTable
from mofa_usage.stores.dialects import Dialect
from mofa_usage.stores.migrations import HEAD, VERSION_TABLE, _config, migration_sql
from mofa_usage.stores.sql_store import SqlStore
from tests.leaks import opened
from tests.mofa_tables import TABLES, MofaDatabase, build, rust_call
from tests.samples import NOON, call

pytestmark = [pytest.mark.shared_only, pytest.mark.sql_only]

LABELS = {"feature": "search", "attempt": "2", "retried": "true", "ключ \U0001f511 'quoted\\": "a\n\"b\" %s \\ 'c'"}
TABLE = "entity_llm_api_call"


async def old_database(url: str) -> MofaDatabase:
    """A database as the first version of ours made it."""
    database = await build(url, ())

    async with opened(url, create_tables=False) as store, of_sql(store).engine.connect() as connection:

        def upgrade(sync: sa.Connection) -> None:
            config = _config()
            config.attributes["connection"] = sync
            command.upgrade(config, "0001")

        await connection.run_sync(upgrade)
        await connection.commit()
    return database


def of_sql(store: Store) -> SqlStore:
    assert isinstance(store, SqlStore)
    return store


async def mofas_database(url: str) -> MofaDatabase:
    return await build(url)


async def version(database: MofaDatabase) -> list[str]:
    return [row["version_num"] for row in await database.run(f"SELECT version_num FROM {VERSION_TABLE}")]


async def columns(database: MofaDatabase) -> list[str]:
    (row,) = await database.run(f"SELECT * FROM {TABLE} LIMIT 1") or [{}]
    return list(row)


def many(count: int, **fields: Any) -> list[LLMApiCall]:
    return [one(n, **fields) for n in range(count)]


def one(seconds: int = 0, **fields: Any) -> LLMApiCall:
    """A call at a whole second, which is all that MoFA's tables of MySQL hold."""
    time = NOON.replace(microsecond=0) + timedelta(seconds=seconds)
    return call(create_time=time, update_time=time, **fields)


async def assert_usable(store: Records) -> None:
    """All that there is to calls without labels, by every path of saving: one, few, many, and many again."""
    single, few, lots = one(0, total_price=Decimal("0.5")), many(3), many(150)
    await store.save_api_call(single)
    await store.save_api_calls(few)
    await store.save_api_calls(lots)
    changed = [each.model_copy(update={"latency_ms": 7}) for each in lots]
    await store.save_api_calls(changed)
    found = {each.id: each async for each in store.stream_api_calls()}
    saved = [single, *few, *changed]
    assert found == {each.id: each for each in saved}
    assert await store.get_api_call(single.id) == single
    assert single in await store.query_api_calls()
    statistics = await store.get_statistics()
    assert (statistics.total_calls, statistics.total_cost) == (154, Decimal("0.5"))
    for each in found:
        await store.delete_api_call(each)


async def assert_labels_kept(store: Records) -> None:
    """Labels come back by every path of saving, and go when a call without any replaces theirs."""
    for labelled in ([one(0, labels=LABELS)], many(3, labels=LABELS), many(150, labels=LABELS)):
        if len(labelled) == 1:
            await store.save_api_call(labelled[0])
        else:
            await store.save_api_calls(labelled)
        changes: list[dict[str, Any]] = [{}, {"labels": {}}, {"labels": {"a": "b"}}]
        for change in changes:
            changed = [each.model_copy(update=change) for each in labelled]
            await store.save_api_calls(changed)
            assert await store.query_api_calls() == sorted(changed, key=lambda each: each.create_time, reverse=True)
        for each in labelled:
            await store.delete_api_call(each.id)


SAVES: dict[str, Callable[[Records], Any]] = {
    "one": lambda store: store.save_api_call(one(labels=LABELS)),
    "few": lambda store: store.save_api_calls([one(), one(labels=LABELS)]),
    "many": lambda store: store.save_api_calls([*many(150), one(labels=LABELS)]),
}


async def assert_labels_refused(store: Store) -> None:
    before = await store.query_api_calls()

    async def within_a_transaction(save: Callable[[Records], Any]) -> None:
        async with store.transaction() as transaction:
            await transaction.save_api_call(one())
            await save(transaction)

    for save in SAVES.values():
        with pytest.raises(ConstraintError, match=r"mofa-usage migrate"):
            await save(store)
        with pytest.raises(ConstraintError, match=r"mofa-usage migrate"):
            await within_a_transaction(save)
    assert await store.query_api_calls() == before


async def test_labels_are_null_where_there_are_none_and_json_where_there_are(empty_url: str) -> None:
    database = await build(empty_url, ())
    plain, labelled = one(0), one(1, labels={"feature": "ü"})
    async with opened(empty_url) as store:
        await assert_labels_kept(store)
        await store.save_api_calls([plain, labelled])
        assert (await database.texts(TABLE, plain.id))["labels"] is None
        written = (await database.texts(TABLE, labelled.id))["labels"]
        assert written is not None
        assert written.replace(" ", "") == '{"feature":"ü"}'
        await database.run(f"UPDATE {TABLE} SET labels = '{{}}' WHERE id = '{labelled.id}'")
        assert await store.get_api_call(labelled.id) == labelled.model_copy(update={"labels": {}})
        await database.run(f"""UPDATE {TABLE} SET labels = '{{"n": 1, "x": null}}' WHERE id = '{labelled.id}'""")
        assert await store.get_api_call(labelled.id) == labelled.model_copy(update={"labels": {"n": "1"}})


async def test_connecting_adds_the_column_to_older_tables_of_ours(empty_url: str) -> None:
    database = await old_database(empty_url)
    kept = one(0, total_price=Decimal("0.1"))
    async with opened(empty_url, create_tables=False) as before:
        assert await version(database) == ["0001"]
        await before.save_api_call(kept)
        assert "labels" not in await columns(database)
        async with opened(empty_url) as store:
            assert await version(database) == [HEAD]
            assert await store.get_api_call(kept.id) == kept
            await store.delete_api_call(kept.id)
            await assert_labels_kept(store)
            await assert_usable(before)  # which does not know of the column yet
            await assert_labels_kept(before)  # and learns of it when it would refuse
    upgraded = await database.catalogue()
    async with opened(empty_url):
        assert await database.catalogue() == upgraded


async def test_an_upgraded_database_is_like_a_new_one(empty_url: str) -> None:
    database = await old_database(empty_url)
    async with opened(empty_url):
        upgraded = await database.catalogue()
    await database.run(*(f"DROP TABLE {table}" for table in (*TABLES, VERSION_TABLE)))
    async with opened(empty_url):
        assert await database.catalogue() == upgraded


@pytest.mark.parametrize("made", [old_database, mofas_database], ids=["ours", "MoFA's"])
async def test_without_the_column_everything_else_works(empty_url: str, made: Any) -> None:
    database = await made(empty_url)
    before = await database.catalogue()
    async with opened(empty_url, create_tables=False) as store:
        await assert_usable(store)
        await assert_labels_refused(store)
        async with store.transaction() as transaction:
            await assert_usable(transaction)
    assert await database.catalogue() == before


async def test_a_table_that_mofa_made_is_changed_only_when_asked(empty_url: str) -> None:
    database = await mofas_database(empty_url)
    before = await database.catalogue()
    async with opened(empty_url) as store:
        assert await version(database) == [HEAD]
        await assert_labels_refused(store)
        unasked = await database.catalogue()
        assert {name: unasked.get(name) for name in before} == before
        await database.insert(TABLE, rust_call(1, database.time(NOON.replace(microsecond=0))))
        async with opened(empty_url, create_tables=False) as administrator:
            for _ in range(2):
                assert await of_sql(administrator).migrate() == HEAD
        changed = await database.catalogue()
        assert {name for name in unasked if changed.get(name) != unasked[name]} == {f"table {TABLE}"}
        assert changed.keys() == unasked.keys()
        (rusts,) = await store.query_api_calls()
        assert rusts.labels == {}
        await store.delete_api_call(rusts.id)
        for saved in (one(labels=LABELS), one(labels=LABELS)):
            await store.save_api_call(saved)  # the store that was open before has found the column
            read = await store.get_api_call(saved.id)
            assert read is not None
            assert read.labels == LABELS
        assert (await columns(database))[-1] == "labels"


async def test_what_a_store_knows_of_the_column_is_asked_again_in_time(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old_database(empty_url)
    saved = one(labels=LABELS)
    async with opened(empty_url, create_tables=False) as before:
        assert await before.query_api_calls() == []
        async with opened(empty_url) as store:
            await store.save_api_call(saved)
        assert [each.labels for each in await before.query_api_calls()] == [{}]
        monkeypatch.setattr("mofa_usage.stores.call_table._ASK_AGAIN", 0.0)
        assert await before.query_api_calls() == [saved]


async def test_the_column_is_asked_for_once(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    spec = CallTable.spec

    async def counted(self: CallTable, runner: Any, *, again: bool = False) -> Any:
        async def run(work: Any, doing: str) -> Any:
            nonlocal asked
            asked += 1
            return await runner.run(work, doing)

        counting = type("Counting", (), {"run": staticmethod(run), "dialect": runner.dialect})()
        return await spec(self, counting, again=again)

    monkeypatch.setattr(CallTable, "spec", counted)
    async with opened(empty_url) as store:
        for _ in range(3):
            await store.save_api_call(one(labels=LABELS))
            await store.query_api_calls()
            async with store.transaction() as transaction:
                await transaction.save_api_calls(many(3))
    assert asked == 1


@pytest.mark.parametrize("newer", ["0004", "0042", "0999"])
async def test_a_newer_version_that_only_adds_is_taken_as_it_is(empty_url: str, newer: str) -> None:
    database = await build(empty_url, ())
    async with opened(empty_url) as before:
        await before.save_api_call(one())
        await database.run(
            f"ALTER TABLE {TABLE} ADD COLUMN region VARCHAR(20)", f"UPDATE {VERSION_TABLE} SET version_num = '{newer}'"
        )
        changed = await database.catalogue()
        async with opened(empty_url) as store:
            for each in (before, store):
                for saved in await each.query_api_calls():
                    await each.delete_api_call(saved.id)
                await assert_usable(each)
                await assert_labels_kept(each)
            assert await of_sql(store).migrate() == newer
    assert await version(database) == [newer]
    assert await database.catalogue() == changed


@pytest.mark.parametrize("strange", ["1000", "9999", "00100", "abcd", "0001a", ""])
async def test_a_version_that_does_more_than_add_is_refused(empty_url: str, strange: str) -> None:
    database = await build(empty_url, ())
    async with opened(empty_url):
        await database.run(f"UPDATE {VERSION_TABLE} SET version_num = '{strange}'")
    with pytest.raises(StoreConnectionError, match=f"version {strange}, which a newer mofa_usage made"):
        await connect(empty_url)
    async with opened(empty_url, create_tables=False) as store:
        await assert_usable(store)
        with pytest.raises(StoreConnectionError, match="which a newer mofa_usage made"):
            await of_sql(store).migrate()


async def test_who_may_not_change_older_tables_goes_on_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # On SQLite, where it takes no other user; what the errors of the others mean is tested below.
    empty_url = f"sqlite:{tmp_path / 'usage.db'}"
    database = await old_database(empty_url)
    saved = one()
    async with opened(empty_url, create_tables=False) as before:
        await before.save_api_call(saved)

    def only_read(connection: Any, record: Any) -> None:
        connection.cursor().execute("PRAGMA query_only = ON")

    sa.event.listen(sa.Engine, "connect", only_read)
    try:
        async with opened(empty_url) as store:
            assert "run `mofa-usage migrate`" in caplog.text
            assert await store.query_api_calls() == [saved]
            with pytest.raises(QueryError, match="readonly"):
                await of_sql(store).migrate()
    finally:
        sa.event.remove(sa.Engine, "connect", only_read)
    assert await version(database) == ["0001"]


async def test_who_would_have_to_wait_for_others_goes_on_with_older_tables(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = await old_database(empty_url)
    saved = one()
    async with opened(empty_url, create_tables=False) as before, of_sql(before).engine.connect() as reading:
        await before.save_api_call(saved)
        is_file = before.backend_name == "sqlite"
        await reading.exec_driver_sql("BEGIN IMMEDIATE" if is_file else "BEGIN")
        await reading.exec_driver_sql(f"SELECT count(*) FROM {TABLE}")
        async with opened(empty_url, lock_timeout=0.6) as store:
            assert "others use them" in caplog.text
            assert await store.query_api_calls() == [saved]
        await reading.rollback()
    assert await version(database) == ["0001"]
    async with opened(empty_url):
        assert await version(database) == [HEAD]


@pytest.mark.parametrize(
    ("dialect", "error"),
    [
        (PostgresStore.dialect, asyncpg.InsufficientPrivilegeError("must be owner of table")),
        (MySqlStore.dialect, pymysql.OperationalError(1142, "ALTER command denied to user")),
    ],
)
def test_a_denied_change_is_told_from_one_that_fails(dialect: Dialect, error: Exception) -> None:
    meaning = dialect.driver.meaning(error)
    assert meaning is not None
    assert (meaning.denied, meaning.error, meaning.transient) == (True, QueryError, False)


@pytest.mark.parametrize("dialect", ["mysql", "mariadb", "postgresql", "sqlite"])
def test_the_sql_for_others_adds_the_column(dialect: str) -> None:
    added = [line for line in migration_sql(dialect).splitlines() if "ADD COLUMN labels" in line]
    kind = {"postgresql": "JSONB", "sqlite": "TEXT"}.get(dialect, "LONGTEXT")
    assert added == [f"ALTER TABLE {TABLE} ADD COLUMN labels {kind};"]


CURRENCIES = ['{"currency":" eur "}', '{"currency":null}', "{}", '{"currency":"€"}', '{"currency":978}', None,
              '{"currency":"usd","tier":"USD"}', '{"currency":"EUR"}', '{"currency":" euro"}', '{"currency":"EURO"}',
              '{"currency":""}', '{"currency":"null"}', '{"currency":"\\u20ac\\"\\\\"}']  # fmt: skip


async def test_costs_are_by_currency_however_it_is_written(empty_url: str) -> None:
    database = await mofas_database(empty_url)
    time = database.time(NOON.replace(microsecond=0))
    priced = [rust_call(n, time, price_details=text, total_price=n) for n, text in enumerate(CURRENCIES, 1)]
    unpriced = [rust_call(n + 50, time, price_details=text) for n, text in enumerate(CURRENCIES)]
    await database.insert(TABLE, *priced, *unpriced)
    async with opened(empty_url) as store:
        found = await store.get_statistics()
        model = InMemoryStore()
        await model.save_api_calls(await store.query_api_calls())
        assert found == await model.get_statistics()
        assert list(found.costs)[:2] == ["USD", "EUR"]  # of most calls first
        assert found.costs == {"USD": 18, "EUR": 9, "€": 4, "978": 5, " euro": 9, "EURO": 10, "": 11, "null": 12,
                               '€"\\': 13}  # fmt: skip
        assert (found.priced_calls, found.total_calls, found.total_cost) == (13, 26, None)


async def test_details_that_are_no_object_do_not_keep_statistics_from_their_sums(empty_url: str) -> None:
    database = await mofas_database(empty_url)
    time = database.time(NOON.replace(microsecond=0))
    broken = ["[]", "0", '"EUR"', *(['{"currency":', ""] if empty_url.startswith("sqlite") else [])]
    rows = [rust_call(n, time, price_details=text, total_price=1) for n, text in enumerate(broken, 1)]
    await database.insert(TABLE, *rows)
    async with opened(empty_url) as store:
        assert (await store.get_statistics()).costs == {"USD": len(broken)}
