"""One import in progress: every source is surveyed, then every source is stored, batch by batch.

The survey is a pass over the rows that finds out what no single row says: how token counts are to be read, and which
spans repeat others. A table whose columns leave no such question is not surveyed.

Whether a call is new is asked of the store once for a batch, before it is saved. One that is there and equal is not
written again: it is read and compared, which may take as long as writing did.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mofa_usage.errors import ConstraintError, SerializationError
from mofa_usage.importing.columns import look_up
from mofa_usage.importing.content import DamagedError
from mofa_usage.importing.identity import DerivedIds, named_id
from mofa_usage.importing.rejects import Rejections
from mofa_usage.importing.repeats import SAID_AGAIN, Repeats
from mofa_usage.importing.rows import CallBuilder, NoCallError, RowRefusedError
from mofa_usage.importing.source import Identity, RowSource, SourceRow
from mofa_usage.pricing import keep_price, with_price
from mofa_usage.records import LLMApiCall

if TYPE_CHECKING:
    from uuid import UUID

    from mofa_usage.pricing import PriceBook
    from mofa_usage.stores import Store

__all__ = ["Job", "Tally"]

_MOST_COLUMNS = 200  # that are remembered of JSON, where every row can bring new ones
_SURVEYED_AT_ONCE = 20_000  # rows
_T = TypeVar("_T")


class Tally:
    """What became of the rows of an import, over all of its sources."""

    def __init__(self) -> None:
        self.stored = 0
        self.replaced = 0
        self.unchanged = 0
        self.unknown_tokens = 0
        self.priced = 0
        self.left_out: Counter[str] = Counter()
        self.start: datetime | None = None
        self.end: datetime | None = None

    def add(self, calls: list[LLMApiCall], found: Mapping["UUID", LLMApiCall]) -> None:
        """Count calls that were saved, or were there already as `found` has them."""
        known = dict(found)
        for call in calls:
            before = known.get(call.id)
            self.stored += before is None
            self.replaced += before is not None
            self.unchanged += before == call
            self.unknown_tokens += call.token_source in ("none", "partial", "completion_only")
            known[call.id] = call
        times = [call.create_time for call in calls]
        self.start = min(times if self.start is None else (self.start, *times))
        self.end = max(times if self.end is None else (self.end, *times))


class _Accepted(NamedTuple):
    row: SourceRow
    call: LLMApiCall


class Job:
    """The import of one source; what it finds out is shared with those of the other ones."""

    def __init__(
        self,
        store: "Store",
        source: RowSource,
        builder: CallBuilder,
        *,
        repeats: Repeats,
        refused: Rejections,
        tally: Tally,
        prices: "PriceBook | None" = None,
    ) -> None:
        self.name = source.name
        self.format = source.format
        self.size = source.size
        self._store = store
        self._source = source
        self._builder = builder
        self._repeats = repeats
        self._refused = refused
        self._tally = tally
        self._prices = prices
        self._unread: Iterator[SourceRow] = iter(())
        self._unseen = set(source.columns or ())  # columns without any value so far
        self._columns = dict.fromkeys(source.columns or ())

    async def survey(self, advance: Callable[[int, str], None]) -> None:
        """The first pass, where one is needed."""
        if not self._builder.needs_survey:
            return
        rows = iter(self._source)
        while await _in_thread(self._survey, islice(rows, _SURVEYED_AT_ONCE)):
            advance(self._source.position(), "")
        self._source.pause()

    def _survey(self, rows: Iterable[SourceRow]) -> bool:
        any_read = False
        try:
            for row in rows:
                any_read = True
                if row.values is None or row.problem is not None:
                    continue
                if row.identity is not None:
                    self._repeats.add(row, row.identity)
                self._builder.survey(row.values)
        except DamagedError:
            return False  # what is before the damage is stored; then the second pass says it
        return any_read

    async def store(self, batch_size: int, advance: Callable[[int, str], None]) -> None:
        """The second pass."""
        self._unread = iter(self._source)
        ids = DerivedIds()
        try:
            while (accepted := await _in_thread(self._read, batch_size, ids)) is not None:
                await self._save(accepted)
                advance(self._source.position(), f"{self._tally.stored + self._tally.replaced:,} calls")
        finally:
            ids.close()
            self._source.pause()

    def _read(self, size: int, ids: DerivedIds) -> list[_Accepted] | None:
        """The valid calls of the next rows; None when there were no rows left."""
        accepted: list[_Accepted] = []
        any_read = False
        for row in islice(self._unread, size):
            any_read = True
            if row.left_out is not None:
                self._tally.left_out[row.left_out] += 1
                continue
            if row.values is None or row.problem is not None:
                self._refused.add(self._source, row, row.problem or "", row.problem or "")
                continue
            if row.file is None:
                self._look_at(row.values)
            try:
                call = self._call(row, ids) if row.identity is None else self._named_call(row, row.identity)
            except NoCallError as refusal:
                self._leave_out(row, refusal)
                continue
            except RowRefusedError as refusal:
                self._refused.add(self._source, row, refusal.kind, str(refusal))
                continue
            if call is None:
                self._tally.left_out[SAID_AGAIN] += 1
            else:
                accepted.append(_Accepted(row, self._priced(call)))
        return accepted if any_read else None

    def _priced(self, call: LLMApiCall) -> LLMApiCall:
        """The call with a price, where one was asked for and is known."""
        if self._prices is None or call.total_price is not None:
            return call
        priced = with_price(call, self._prices)
        self._tally.priced += priced.total_price is not None
        return priced

    def _leave_out(self, row: SourceRow, refusal: NoCallError) -> None:
        """In a tool's log there is more than calls; in a file that somebody says holds calls it is a mistake."""
        if row.file is None:
            self._refused.add(self._source, row, refusal.kind, str(refusal))
        else:
            self._tally.left_out[refusal.kind] += 1

    def _call(self, row: SourceRow, ids: DerivedIds) -> LLMApiCall:
        values = row.values or {}
        return self._builder.build(values, lambda tenant_id: ids.id_of(values, tenant_id))

    def _named_call(self, row: SourceRow, identity: Identity) -> LLMApiCall | None:
        """The call of a row that says which one it is; None where another row says more of it."""
        if (began := self._repeats.began(row, identity)) is None:
            return None
        values = {**(row.values or {}), "create_time": began} if began else row.values or {}
        return self._builder.build(values, lambda tenant_id: named_id(identity.key, tenant_id))

    def _look_at(self, values: Mapping[str, Any]) -> None:
        """Note which columns have values."""
        if self._source.columns is None and len(self._columns) < _MOST_COLUMNS:
            new = [name for name in values if name not in self._columns]
            self._columns.update(dict.fromkeys(new))
            self._unseen.update(new)
        if self._unseen:
            self._unseen -= {name for name in self._unseen if look_up(values, name) not in (None, "")}

    async def _save(self, accepted: list[_Accepted], found: dict["UUID", LLMApiCall] | None = None) -> None:
        if not accepted:
            return
        calls = [call for _, call in accepted]
        if found is None:
            found = await self._find(calls)
        # What was priced since (`backfill_prices`) stays so: a file that says no price does not say that there is none.
        calls = [keep_price(call, found.get(call.id, call)) for call in calls]
        latest = {call.id: call for call in calls}
        try:
            await self._store.save_api_calls([call for call in latest.values() if found.get(call.id) != call])
        except (ConstraintError, SerializationError) as error:
            if len(accepted) > 1:
                middle = len(accepted) // 2
                await self._save(accepted[:middle], found)
                await self._save(accepted[middle:], found)
                return
            kind = f"the database refused it ({type(error).__name__})"
            self._refused.add(self._source, accepted[0].row, kind, f"{kind}: {error}")
            return
        self._tally.add(calls, found)
        found.update(latest)

    async def _find(self, calls: Iterable[LLMApiCall]) -> dict["UUID", LLMApiCall]:
        """Those of the calls that the store has, as it has them."""
        # A store of somebody else's may only be able to save; to it everything is new.
        find = getattr(self._store, "_find_api_calls", None)
        return {} if find is None else {call.id: call for call in await find([call.id for call in calls])}

    @property
    def columns_by_field(self) -> Mapping[str, str]:
        """field -> the column that its values came from."""
        return self._builder.used

    def tokens_read(self) -> tuple[str, ...]:
        """How token counts were read where that was a question, a sentence each."""
        return self._builder.tokens_read()

    def unused_columns(self) -> Iterator[str]:
        """The columns that have values of which none was used."""
        used = self._builder.columns_used
        # A struct of which a part was used is used, and so are the parts of a struct that was used whole.
        tops = {name.partition(".")[0] for name in used}
        for name in self._columns:
            if name and name not in used | tops and name.partition(".")[0] not in used and name not in self._unseen:
                yield name


async def _in_thread(work: Callable[..., _T], *arguments: Any) -> _T:
    """Run work in a thread, since reading and parsing must not hold up the event loop; to its end, when cancelled."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})  # the thread still uses the file that is closed next
        raise
