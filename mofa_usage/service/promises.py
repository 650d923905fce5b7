"""What a service promises of each call, and what of it a call kept.

A call is **good** where it succeeded and was within every limit that was asked for: goodput counts such calls, and not
those that were within one of them. It is **bad** where it did not succeed, took longer, or had its first token later.
A call that succeeded and lacks a value that has a limit is **unknown**, which is neither, even if another value is
above its limit: if such calls could only be bad, the share of the good would be too low. A call that was not streamed
has no first token, so it is unknown where one was promised. The level is a share of the calls that can be judged, and
says how many these are.

The error budget is what an objective leaves: of 10,000 calls with an objective of 99%, 100 may be bad. The burn rate is
how many times faster than allowed it is used: 1 uses up exactly the budget. See Google, The Site Reliability Workbook,
chapters 2 and 5.

>>> promise = Promise.of(latency_ms=2000, ttft_ms=500, objective="99%")
>>> promise.title, str(promise.allowed)
('Within 2.00 s, first token 500 ms', '1/100')
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Condition, Dimension

__all__ = ["FAILED", "GOOD", "LATE", "OUTCOME", "SLOW", "UNKNOWN", "Promise"]

OUTCOME = "kept promise"
"""The dimension of what became of calls; no column is called so."""

GOOD, FAILED, SLOW, LATE, UNKNOWN = "good", "failed", "slow", "late", "unknown"
"""What becomes of a call. One that is several of it is the first that it is."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Limits in milliseconds, None where there is none, and the share of calls that shall be within them."""

    latency_ms: float | None
    ttft_ms: float | None
    objective: Fraction

    @classmethod
    def of(cls, latency_ms: float | None, ttft_ms: float | None, objective: float | str) -> "Promise":
        """The promise that somebody wrote down: an objective is a fraction such as 0.99, or text such as "99.9%".

        Raises:
            UsageError: a limit that is no number above 0, an objective that is not between 0 and 1.
        """
        for name, limit in (("latency_ms", latency_ms), ("ttft_ms", ttft_ms)):
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if limit is not None and not (is_number and math.isfinite(limit) and limit > 0):
                raise UsageError(f"{name} = {limit!r}; a limit is a number of milliseconds above 0")
        return cls(latency_ms, ttft_ms, _objective(objective))

    @property
    def allowed(self) -> Fraction:
        """The share of calls that may be bad."""
        return 1 - self.objective

    @property
    def title(self) -> str:
        """What is promised, in words."""
        parts = [f"within {wording.duration(self.latency_ms)}"] if self.latency_ms is not None else []
        parts += [f"first token {wording.duration(self.ttft_ms)}"] if self.ttft_ms is not None else []
        text = ", ".join(parts) or "successful"
        return text[0].upper() + text[1:]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What can make a call bad, the first first."""
        slow = [SLOW] if self.latency_ms is not None else []
        return (FAILED, *slow, *([LATE] if self.ttft_ms is not None else []))

    @property
    def limits(self) -> dict[str, float]:
        """The columns that have a limit, each with it."""
        limits = {"latency_ms": self.latency_ms, "time_to_first_token_ms": self.ttft_ms}
        return {column: limit for column, limit in limits.items() if limit is not None}

    @property
    def outcome(self) -> Dimension:
        """What became of a call."""
        asked = self.limits
        succeeded = Condition("status", "==", "success")
        cases = [
            (GOOD, [succeeded, *(Condition(column, "<=", limit) for column, limit in asked.items())]),
            (FAILED, [Condition("status", "!=", "success")]),
            (FAILED, [Condition("status", "unknown")]),
        ]
        cases += [(UNKNOWN, [Condition(column, "unknown")]) for column in asked]
        words = {"latency_ms": SLOW, "time_to_first_token_ms": LATE}
        cases += [(words[column], [Condition(column, ">", limit)]) for column, limit in asked.items()]
        return Dimension(OUTCOME, cases=cases)


def _objective(given: float | str) -> Fraction:
    text = str(given).strip()
    try:
        share = Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if isinstance(given, bool) or not 0 < share < 1:
        raise UsageError(f"objective = {given!r}; it is a share of calls between 0 and 1, such as 0.99 or '99%'")
    return share
