"""Proofs: tests that try one thing many times over, and find a rare fault only if they try often enough.

A test marked `proof` says how often it tries, by `trials(few, full)`: few times whenever the tests run, in full with
`pytest --proof` (or MOFA_TEST_PROOF=1), as in `.ci/run`.

    @pytest.mark.proof
    @settings(max_examples=trials(20, 200))
    def test_...
"""

import os

__all__ = ["PROOF", "trials"]

PROOF = "MOFA_TEST_PROOF"
"""The environment variable that asks for full proofs; `--proof` sets it, also for the processes that tests start."""


def trials(few: int, full: int) -> int:
    """How often to try."""
    return full if os.environ.get(PROOF, "0") not in {"", "0"} else few
