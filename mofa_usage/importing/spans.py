"""Traces: which spans are calls of a model.

A trace holds more than calls: the agent, the tools, the chains around them. Many tools write the sum of the calls
beneath it to such a span, so that adding up a trace counts every token twice. A span is no call when it says so (an
`AGENT` or `CHAIN` of OpenInference, an `invoke_agent` of OpenTelemetry), and also when its tokens are exactly those of
the spans beneath it, whatever it says it is: a framework and the client that it uses both report the same call.

The second needs all spans of a source (`scratch.py`).
"""

from collections.abc import Mapping
from typing import Any

from mofa_usage.importing.scratch import MOST, scratch_database, storable
from mofa_usage.names import NO_CALLS

__all__ = ["Spans", "why_no_call"]

_CACHE_KIB = 16 * 1024
_DEEPEST = 200  # spans above a span that are looked at

ROLL_UP = "a roll-up of its children: its tokens are those of the spans beneath it"


def why_no_call(said: Mapping[str, Any]) -> str | None:
    """Why a span is no call by what it says it is, in its fields of `names.py`; None when it may be one."""
    for field, kinds in NO_CALLS.items():
        kind = said.get(field)
        if isinstance(kind, str) and kind.strip().casefold() in kinds:
            return f"no call of a model but a span of kind {kind.strip()}"
    return None


class Spans:
    """The spans of one import, and which of them repeat what is beneath them; used by one thread at a time."""

    def __init__(self) -> None:
        self._spans = scratch_database(
            "span (id TEXT PRIMARY KEY, parent TEXT, prompt INTEGER, completion INTEGER)",
            "sums (id TEXT PRIMARY KEY, prompt INTEGER, completion INTEGER)",
            cache_kib=_CACHE_KIB,
        )
        self._is_summed = True

    def add(self, span: object, parent: object, tokens: tuple[int, int] | None) -> None:
        """Take note of a span, with its prompt and completion tokens if it has any."""
        # Counts that no integer holds are no tokens; the row is refused when it is built.
        prompt, completion = tokens if tokens is not None and max(tokens) <= MOST else (None, None)
        row = (storable(str(span)), None if parent is None else storable(str(parent)), prompt, completion)
        self._spans.execute("INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?)", row)
        self._is_summed = False

    def is_roll_up(self, span: object, tokens: tuple[int, int]) -> bool:
        """Whether a span has the tokens of the nearest spans with tokens beneath it. All spans must have been added."""
        if not self._is_summed:
            self._sum()
        found = self._spans.execute(
            "SELECT prompt, completion FROM sums WHERE id = ?", (storable(str(span)),)
        ).fetchone()
        return found == tokens and tokens != (0, 0)

    def _sum(self) -> None:
        """For every span the tokens of those beneath it, each counted for the nearest one above it that has any."""
        counted = self._spans.execute("SELECT parent, prompt, completion FROM span WHERE prompt IS NOT NULL")
        for parent, prompt, completion in counted:
            above = self._nearest(parent)
            if above is not None:
                self._spans.execute(
                    "INSERT INTO sums VALUES (:above, :prompt, :completion) ON CONFLICT DO UPDATE "
                    "SET prompt = prompt + :prompt, completion = completion + :completion",
                    {"above": above, "prompt": prompt, "completion": completion},
                )
        self._is_summed = True

    def _nearest(self, span: str | None) -> str | None:
        """The nearest span with tokens, from `span` upwards."""
        for _ in range(_DEEPEST):
            if span is None:
                return None
            found = self._spans.execute("SELECT parent, prompt FROM span WHERE id = ?", (span,)).fetchone()
            if found is None or found[1] is not None:
                return None if found is None else span
            span = found[0]
        return None

    def close(self) -> None:
        """Forget the spans."""
        self._spans.close()
