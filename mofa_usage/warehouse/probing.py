"""Whether an object store keeps two writers apart: it has to refuse to write what is there already.

A commit is a file of the log that nobody may have written before. S3 has a condition for that (`If-None-Match: *`), but
there are stores that take the condition and do not heed it: of two commits of one version the later one would replace
the earlier one, whose rows were gone, and nobody would be told. deltalake looks before it writes, which hides that from
all but those who write in the same moment. So before a process commits for the first time it does just that: two
writers make one small table beside the others at once, until one of them is refused, or both were let.

Who is sure that nobody else writes at the same time says so with an option that deltalake has for it,
`aws_s3_allow_unsafe_rename=true`; then nothing is tried. It is believed once for each process: whoever writes has to
promise it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.delta import StorageOptions, delta_told, filesystem, is_local

__all__ = ["Precaution"]

_PROMISE = "aws_s3_allow_unsafe_rename"
_ROUNDS = 20  # in most of them both look before the other writes


class Precaution:
    """What is to be done once before the first commit of a process.

    Args:
        root: the warehouse.
        options: of its object store.
    """

    def __init__(self, root: str, options: StorageOptions) -> None:
        self._root = root
        self._options = dict(options)
        self._is_safe = is_local(root) or _promised(options)

    def take(self) -> None:
        """Try whether two writers are safe, unless that is known.

        Raises:
            UsageError: they are not, or the object store cannot be written.
        """
        if self._is_safe:
            return
        with delta_told(f"write the warehouse {self._root}"):
            self._is_safe = self._refuses_second_writer()
        if not self._is_safe:
            raise UsageError(
                f"the object store of {self._root} does not heed conditional writes (If-None-Match): of two syncs at "
                "once one would be lost, and nobody told. Use a store that does, or see to it that there is only ever "
                f"one writer, and promise it with the storage option {_PROMISE}=true"
            )

    def _refuses_second_writer(self) -> bool:
        for _ in range(_ROUNDS):
            outcomes = self._raced()
            if outcomes == ["made", "made"]:
                return False
            if "refused" in outcomes:
                return True
        raise UsageError(f"the object store of {self._root} is too slow to try whether two writers are safe; try again")

    def _raced(self) -> list[str]:
        """Let two writers make one table at the same moment; both look first, and then one has to be refused.

        Who looks after the other one has written is late, and has tried nothing.
        """
        deltalake, errors = (require(name, extra="warehouse") for name in ("deltalake", "deltalake.exceptions"))
        name, start = f"probe-{uuid4()}", Barrier(2)
        place, schema = f"{self._root}/{name}", deltalake.Schema([deltalake.Field("id", "string")])
        once = deltalake.CommitProperties(max_commit_retries=0)

        def outcome(_: int) -> str:
            start.wait()
            try:
                deltalake.DeltaTable.create(place, schema, storage_options=self._options, commit_properties=once)
            except errors.CommitFailedError:
                return "refused"
            except errors.DeltaError:
                if deltalake.DeltaTable.is_deltatable(place, self._options):
                    return "late"
                raise
            return "made"

        try:
            with ThreadPoolExecutor(2) as writers:
                return list(writers.map(outcome, range(2)))
        finally:
            filesystem(self._root, self._options, local=False).delete_dir(name)


def _promised(options: StorageOptions) -> bool:
    said = {name.lower(): value for name, value in (*os.environ.items(), *options.items())}
    return said.get(_PROMISE, "").strip().lower() in ("true", "1", "yes", "on")
