"""Which columns the table of calls has: ours has `labels`, one that MoFA made only after `mofa-usage migrate`.

A store asks its database once, when it first needs to know. Where the column is missing it asks again now and then, and
before it refuses labels, since somebody may have added it meanwhile.
"""

import time
from collections.abc import Iterable

from mofa_usage.errors import ConstraintError
from mofa_usage.records import LLMApiCall
from mofa_usage.schema import API_CALL, API_CALL_UNLABELLED, TableSpec
from mofa_usage.stores.runner import Runner

__all__ = ["CallTable"]

_ASK_AGAIN = 60.0  # seconds


class CallTable:
    """The table of calls of one database, as far as a store and its transactions know it."""

    def __init__(self) -> None:
        self._spec: TableSpec[LLMApiCall] | None = None
        self._asked = 0.0

    async def spec(self, runner: Runner, *, again: bool = False) -> TableSpec[LLMApiCall]:
        """The table with the columns that it has; `again` does not rely on what was known."""
        spec = self._spec
        if spec is API_CALL or (spec is not None and not again and time.monotonic() < self._asked + _ASK_AGAIN):
            return spec
        rows = await runner.run(
            lambda connection: runner.dialect.driver.fetch(connection, runner.dialect.idioms.has_labels, ()),
            f"reading the columns of {API_CALL.table.name}",
        )
        self._spec = spec = API_CALL if rows[0][0] else API_CALL_UNLABELLED
        self._asked = time.monotonic()
        return spec

    async def spec_for(self, runner: Runner, calls: Iterable[LLMApiCall]) -> TableSpec[LLMApiCall]:
        """The table that can hold these calls.

        Raises:
            ConstraintError: some have labels, and there is no column for them.
        """
        spec = await self.spec(runner)
        if spec is API_CALL:
            return spec
        labelled = next((call for call in calls if call.labels), None)
        if labelled is not None and (spec := await self.spec(runner, again=True)) is not API_CALL:
            raise ConstraintError(
                f"the call {labelled.id} has labels, for which the table {API_CALL.table.name} has no column yet: run "
                "`mofa-usage migrate`, and restart MoFA's agents if they made the table"
            )
        return spec
