"""The program that reads SQLite files with an Arrow driver, in a process of its own.

Arrow drivers (ADBC, connectorx) bring their own copy of SQLite. Two copies in one process cannot see each other's locks
on a file, and when one of them closes it, the locks of both are gone: the one that reads takes itself for the last user
of the database and deletes the write-ahead log under the feet of a store that is writing in the same process, with the
rows in it. (See "Multiple copies of SQLite linked into the same application" in https://sqlite.org/howtocorrupt.html.)
Between processes locks work.

It says `READY` when it can begin. Each line of standard input is a task as JSON: path, statement, batch (rows), and the
columns that are only looked at and not kept (`passing`). The answer on standard output are Arrow IPC messages, each
behind its length in 8 bytes: the schemas of the kept and of the passing columns, then one message of each for every
batch, and the length 0. A message is one block of memory for whoever reads it: as long as a column of it lives, so do
all others, which is why those that pass come apart.

The driver takes the types of columns from the first row, so the statement begins with one that is made up; it is left
out of the answer. The first failure is said on standard error and ends the program. It imports nothing of `mofa_usage`.
"""

import json
import os
import sys
from typing import IO, Any
from urllib.parse import quote

__all__ = ["READY", "main"]

READY = b"ready\n"


def main() -> None:
    """Work through the tasks on standard input."""
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)  # whatever else is printed stays out of the answers
    # pyarrow would load NumPy where it is installed, which takes four times as long as all else here.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    try:
        # Not adbc_driver_sqlite.dbapi, which would load pandas where it is installed.
        import adbc_driver_manager  # noqa: F401 (whether it can be used, before somebody relies on it)
        import adbc_driver_sqlite  # noqa: F401
        import pyarrow  # noqa: F401

        answers.write(READY)
        answers.flush()
        for line in sys.stdin.buffer:
            _answer(json.loads(line), answers)
            answers.flush()
    except BrokenPipeError:
        os._exit(0)  # nobody wants the rest
    except BaseException as error:
        sys.stderr.write(f"\n{' '.join(str(error).split())}")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _answer(task: dict[str, Any], answers: IO[bytes]) -> None:
    import adbc_driver_manager as adbc
    import adbc_driver_sqlite
    from pyarrow import RecordBatchReader, schema

    # mode=rw: unlike the default it makes no new file.
    with (
        adbc_driver_sqlite.connect(f"file:{quote(task['path'])}?mode=rw") as database,
        adbc.AdbcConnection(database) as connection,
        adbc.AdbcStatement(connection) as statement,
    ):
        statement.set_options(**{"adbc.sqlite.query.batch_rows": str(task["batch"])})
        statement.set_sql_query(task["statement"])
        handle, _ = statement.execute_query()
        batches = RecordBatchReader.from_stream(handle)
        passing = task["passing"]
        parts = [[name for name in batches.schema.names if (name in passing) == wanted] for wanted in (False, True)]
        for names in parts:
            _say(answers, schema([batches.schema.field(name) for name in names]).serialize())
        made_up = 1
        for batch in batches:
            for names in parts:
                _say(answers, batch.slice(made_up).select(names).serialize())
            made_up = 0
        _say(answers, b"")


def _say(answers: IO[bytes], message: Any) -> None:
    answers.write(len(message).to_bytes(8, "little"))
    answers.write(message)


if __name__ == "__main__":
    main()
