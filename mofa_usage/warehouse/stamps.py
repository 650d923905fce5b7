"""How fresh a warehouse is: for each source a small file beside the tables says when it was last taken over.

A sync that finds nothing changed makes no version of a table, and yet the warehouse is as fresh as after one that did.
Who watches over that asks here, and opens no table. The files are no part of the data: a sync that was killed leaves
the former one, which says less than is true.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import TIME
from mofa_usage.reading.delta import StorageOptions, delta_told, filesystem, is_local
from mofa_usage.warehouse.sources.changes import TableName

require("pyarrow", extra="analysis")
import pyarrow.fs as pa_fs  # noqa: E402

__all__ = ["leave_stamp", "stamps"]

_FOLDER = "_syncs"
_BUFFER = 2**16  # without one Arrow gives deltalake's stream what it does not take
_COLUMNS = {"source": pl.String(), "table": pl.String(), "synced": TIME}


def leave_stamp(root: str, options: StorageOptions, source: str, synced: Mapping[TableName, datetime]) -> None:
    """Say up to which moment tables of a source are in the warehouse; what was said of other tables stays.

    Raises:
        UsageError: it cannot be written.
    """
    folder = filesystem(root, options, local=is_local(root))
    path = f"{_FOLDER}/{hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}.json"
    with delta_told(f"write {path} of the warehouse {root}"):
        before = _read(folder, path) if folder.get_file_info(path).is_file else {}
        tables = {**before.get("tables", {}), **{name: moment.isoformat() for name, moment in synced.items()}}
        text = json.dumps({"source": source, "tables": tables}).encode()
        if not isinstance(folder, pa_fs.SubTreeFileSystem):
            with folder.open_output_stream(path, buffer_size=_BUFFER) as stream:
                stream.write(text)
            return
        folder.create_dir(_FOLDER)
        with folder.open_output_stream(f"{path}.new") as stream:
            stream.write(text)
        folder.move(f"{path}.new", path)  # in one step, or somebody would read half of it


def stamps(root: str, options: StorageOptions) -> pl.DataFrame:
    """What is said of all sources: `source`, `table`, and the moment up to which it is in the warehouse (`synced`).

    Raises:
        UsageError: it cannot be read.
    """
    folder, rows = filesystem(root, options, local=is_local(root)), []
    with delta_told(f"read the warehouse {root}"):
        for file in folder.get_file_info(pa_fs.FileSelector(_FOLDER, allow_not_found=True)):
            if file.path.endswith(".json"):
                said = _read(folder, file.path)
                rows += [(said["source"], table, datetime.fromisoformat(at)) for table, at in said["tables"].items()]
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row").sort("source", "table")


def _read(folder: Any, path: str) -> Any:
    with folder.open_input_stream(path) as stream:
        text = stream.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} in the warehouse is damaged: remove it, and the next sync writes it anew") from error
