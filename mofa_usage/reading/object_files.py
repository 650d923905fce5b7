"""Calls in Parquet files of an object store, which DuckDB reads through Arrow: columns and row groups as needed.

DuckDB's own way to S3 is an extension that has to be downloaded; Arrow comes with S3 built in.

Where an export left manifests, only the files that they name are read: one that is being written, or was killed, has
none yet.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.exact import Leeway
from mofa_usage.reading.object_stores import StorageOptions, object_store, told_of
from mofa_usage.reading.places import LOG, table_refused
from mofa_usage.reading.relation import (
    NO_TABLES,
    RelationCalls,
    Tables,
    clocked_cursor,
    columns_of_ours,
)

require("duckdb", extra="analysis")
require("pyarrow", extra="analysis")
import duckdb  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.dataset as ds  # noqa: E402
import pyarrow.fs as fs  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

__all__ = ["open_objects"]

_READERS = 16
_MANIFEST = "/manifest.json"


def open_objects(
    url: str, leeway: Leeway, mapping: Mapping[str, str | None], options: StorageOptions | None
) -> RelationCalls:
    """The calls in one Parquet file, or in all below a prefix: `s3://bucket/calls.parquet`, `s3://bucket/lake`.

    Raises:
        UsageError: there is none, one is no Parquet, or the object store does not let us in.
    """
    files, path = object_store(url, options)
    with told_of(f"read {url}"):
        names = sorted(_names(files, path))
        if not names:
            raise UsageError(f"there is no Parquet file in {url}")
        try:
            with ThreadPoolExecutor(_READERS) as readers:
                schemas = list(readers.map(lambda name: pq.read_schema(files.open_input_file(name)), names))
            canonical, left_out = columns_of_ours([schema.metadata or {} for schema in schemas])
            dataset = ds.dataset(names, pa.unify_schemas(schemas, promote_options="permissive"), "parquet", files)
        except pa.ArrowException as error:
            raise UsageError(f"cannot read {url}: {error}") from error
    return RelationCalls(_Dataset(dataset, left_out), leeway, mapping, canonical=canonical)


def _names(files: Any, path: str) -> Iterator[str]:
    if files.get_file_info(path).type == fs.FileType.File:
        yield path
        return
    found = files.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    paths = [one.path for one in found if one.type == fs.FileType.File]
    if logs := sorted(name for name in paths if f"/{LOG}/" in name):
        raise table_refused(logs[0].partition(f"/{LOG}/")[0])
    manifests = [name for name in paths if name.endswith(_MANIFEST)]
    if not manifests:
        yield from (name for name in paths if name.endswith(".parquet"))
    for name in manifests:
        try:
            said = json.loads(files.open_input_stream(name).read())
            yield from (f"{name.removesuffix(_MANIFEST)}/{file['name']}" for file in said["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{name} is no manifest of an export") from error


class _Dataset:
    """The relation of an Arrow dataset, each with a cursor of its own."""

    def __init__(self, dataset: Any, left_out: tuple[str, ...]) -> None:
        self._dataset = dataset
        self._columns = [name for name in dataset.schema.names if name not in left_out]
        self._database = duckdb.connect()

    def __call__(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        cursor = clocked_cursor(self._database, tz)
        for name, table in beside.items():
            cursor.register(name, table)
        relation = cursor.from_arrow(self._dataset)
        return relation.project(duckdb.StarExpression(exclude=list(set(relation.columns) - set(self._columns))))
