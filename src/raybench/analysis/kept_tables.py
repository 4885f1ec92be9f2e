"""The tables that a sweep kept beside its run when it ended, read without making them anew. Nothing is looked up in
the run: what is not as it was written is taken for not there."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.records import RaybenchError
from raybench.store import Location, open_storage

_MANIFEST = "tables/manifest.json"


def kept_table(root: Location, name: str) -> pa.Table | None:
    """The table ``name`` of those that `write_derived` kept; None where there is none, or not as it was written."""
    storage, path = open_storage(root), f"tables/{name}.parquet"
    try:
        if not storage.exists(_MANIFEST):
            return None
        (listed,) = [one for one in json.loads(storage.read(_MANIFEST))["files"] if one["path"] == path]
        data = storage.read(path, listed["bytes"])
        if hashlib.sha256(data).hexdigest() != listed["sha256"]:
            return None
        return pq.read_table(pa.BufferReader(data))
    except (RaybenchError, ValueError, TypeError, KeyError, RecursionError, pa.ArrowException):
        return None
