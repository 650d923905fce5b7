"""A thousand tasks on a pool of five: all done, none failed, and the server never sees a sixth connection."""

import asyncio

from mofa_usage.records import QueryFilter
from tests.faults.sessions import session_count
from tests.leaks import checked_out, opened
from tests.samples import call, message, session
from tests.servers import Server


async def test_a_thousand_tasks_on_five_connections(server: Server) -> None:
    async with opened(server.url, max_connections=5) as store, asyncio.timeout(120):

        async def work(n: int) -> None:
            made = call(n)
            if n % 10 == 0:
                async with store.transaction() as transaction:
                    await transaction.create_session(session(n))
                    await transaction.save_api_call(made)
            elif n % 10 == 1:
                await store.save_api_calls([made, *(call(n, error_code="more") for _ in range(120))])
            else:
                await store.save_api_call(made)
            await store.save_message(message(n))
            assert await store.get_api_call(made.id) == made

        most = 0
        tasks = [asyncio.create_task(work(n)) for n in range(1_000)]
        while not all(task.done() for task in tasks):
            most = max(most, await asyncio.to_thread(session_count, server))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
        assert 1 < most <= 5
        assert checked_out(store) == 0
        assert (await store.get_statistics(QueryFilter())).total_calls == 1_000 + 100 * 120
    for _ in range(50):
        if not await asyncio.to_thread(session_count, server):
            break
        await asyncio.sleep(0.1)
    assert session_count(server) == 0
