"""accepted = delivered + waiting + dead, whatever is done in whatever order: by the recorder, and by its files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mofa_usage.errors import RecordingError
from mofa_usage.recording.outbox.backlog import Backlog, Dead, MemoryBacklog, Settled
from mofa_usage.recording.outbox.folder import Outbox
from mofa_usage.recording.outbox.segments import LeftBacklog, OwnBacklog
from mofa_usage.recording.waiting import retry_dead
from tests.proofs import trials

LIMIT = 6_000


class Accounting(RuleBasedStateMachine):
    """A backlog on disk, one in memory, and plain sums of what was done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.folder = Path(self.directory.name) / "outbox"
        self.outbox = Outbox(self.folder)
        self.accepted = self.dead = self.elsewhere = 0
        self.number = 0

    @initialize(segment=st.sampled_from([1, 300, 10_000]))
    def begin(self, segment: int) -> None:
        self.segment = segment
        self.open()

    def open(self) -> None:
        self.disk = OwnBacklog(self.outbox, 2**40, segment_bytes=self.segment)
        self.memory = MemoryBacklog(LIMIT)
        self.taken: list[tuple[Backlog, Any]] = []

    @rule(count=st.integers(1, 3), size=st.integers(2, 800))
    def append(self, count: int, size: int) -> None:
        body = b'"' + b"x" * (size - 2) + b'"'
        self.disk.append(body, count)
        self.accepted += count
        before = self.memory.numbers()
        try:
            self.memory.append(body, count)
        except RecordingError:
            assert self.memory.numbers() == before
        else:
            assert self.memory.numbers().accepted == before.accepted + count

    @rule(records=st.integers(0, 5), size=st.integers(1, 2000), dead=st.sets(st.integers(0, 5)))
    def deliver(self, records: int, size: int, dead: set[int]) -> None:
        for backlog in (self.disk, self.memory):
            batch = backlog.take(records, size)
            if batch is None:
                assert backlog.waiting == 0
                continue
            assert batch.frames
            assert batch.lost == 0
            letters = {
                number: [Dead("calls", {"id": str(number)}, "no")] for number in dead if number < len(batch.frames)
            }
            backlog.settle(batch, Settled(letters))
            if backlog is self.disk:
                self.dead += len(letters)

    @rule()
    def tidy(self) -> None:
        self.disk.tidy()

    @rule()
    def end_and_begin_again(self) -> None:
        self.disk.release()
        self.open()

    @rule()
    def take_over(self) -> None:
        adopted = self.outbox.adopt(self.disk.owner)
        if adopted is not None:
            left = LeftBacklog(self.outbox, *adopted)
            batch = left.take(1, 1)
            if batch is not None:
                left.settle(batch, Settled())
            left.release()

    @precondition(lambda self: self.dead)
    @rule()
    def retry(self) -> None:
        letters = self.outbox.dead()
        assert retry_dead(self.outbox, letters[:2]) == len(letters[:2])
        self.dead -= len(letters[:2])

    @invariant()
    def all_is_accounted_for(self) -> None:
        for backlog in (self.disk, self.memory):
            numbers = backlog.numbers()
            assert numbers.accepted == numbers.delivered + numbers.waiting + numbers.dead
            assert (numbers.oldest_waiting is None) is (numbers.waiting == 0)
        survey = self.outbox.survey()
        assert survey.accepted == survey.delivered + survey.waiting + survey.dead == self.accepted
        assert survey.dead == self.dead

    def teardown(self) -> None:
        self.disk.release()
        self.directory.cleanup()


@pytest.mark.proof
def test_every_record_is_accounted_for_at_every_moment() -> None:
    run_state_machine_as_test(
        Accounting, settings=settings(max_examples=trials(8, 200), stateful_step_count=25, deadline=None)
    )
