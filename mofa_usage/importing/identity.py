"""Ids for rows that have none: the same row gets the same id, every time.

The id is made of what the row says (its column names and values, blank ones left out), of the tenant whose call it is,
and of how many rows equal to it came before. So importing a file again replaces the same calls, also when the file was
renamed, compressed or sorted, or when the mapping was corrected; two equal rows of one file are two calls; and rows of
two tenants never replace each other.

Counting equal rows needs a table of all rows seen (`scratch.py`).
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from mofa_usage.importing.scratch import scratch_database, storable

__all__ = ["DerivedIds", "named_id"]

_NAMESPACE = uuid5(NAMESPACE_URL, "https://pypi.org/project/mofa-usage/imported-call")
_CACHE_KIB = 32 * 1024

_COUNT = """
    INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times
"""


def named_id(key: str, tenant_id: UUID) -> UUID:
    """The id of the call of a tenant that a log calls `key`."""
    return uuid5(_NAMESPACE, storable(f"{key}@{tenant_id}"))


class DerivedIds:
    """Gives ids to the rows of one import; used by one thread at a time."""

    def __init__(self) -> None:
        self._rows = scratch_database("seen (row BLOB PRIMARY KEY, times INTEGER NOT NULL)", cache_kib=_CACHE_KIB)

    def id_of(self, row: Mapping[str, Any], tenant_id: UUID) -> UUID:
        """The id of `row`, a call of the tenant: UUID version 5."""
        said = {name: value for name, value in row.items() if value is not None and value != ""}
        content = json.dumps(said, sort_keys=True, default=str, ensure_ascii=True) + str(tenant_id)
        digest = blake2b(content.encode(), digest_size=16).digest()
        (times,) = self._rows.execute(_COUNT, (digest,)).fetchone()
        return uuid5(_NAMESPACE, f"{content}#{times}")

    def close(self) -> None:
        """Forget the rows."""
        self._rows.close()
