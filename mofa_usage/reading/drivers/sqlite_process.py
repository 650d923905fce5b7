"""The program that reads SQLite files with an Arrow driver, in a process of its own.

Arrow drivers (ADBC, connectorx) bring their own copy of SQLite. Two copies in one process cannot see each other's locks
on a file, and when one of them closes it, the locks of both are gone: the one that reads takes itself for the last user
of the database and deletes the write-ahead log under the feet of a store that is writing in the same process, with the
rows in it. (See "Multiple copies of SQLite linked into the same application" in https://sqlite.org/howtocorrupt.html.)
Between processes locks work.

Each line of standard input is a task as JSON: path, statement, batch (rows). The driver takes the types of columns from
the first row, so the statement begins with one that is made up; it is left out of the answer, an Arrow IPC stream on
standard output. The first failure is said on standard error and ends the program. It imports nothing of `mofa_usage`.
"""

import json
import os
import sys
from typing import Any
from urllib.parse import quote

__all__ = ["main"]


def main() -> None:
    """Work through the tasks on standard input."""
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)  # whatever else is printed stays out of the answers
    try:
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


def _answer(task: dict[str, Any], answers: Any) -> None:
    # Not adbc_driver_sqlite.dbapi, which would load pandas where it is installed.
    import adbc_driver_manager as adbc
    import adbc_driver_sqlite
    from pyarrow import RecordBatchReader, ipc

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
        with ipc.new_stream(answers, batches.schema) as stream:
            made_up = 1
            for batch in batches:
                stream.write_batch(batch.slice(made_up))
                made_up = 0


if __name__ == "__main__":
    main()
