"""Runs that somebody else made: what is called anything in them holds a word that is meant to do something."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from raybench.analysis.tables import write_views
from raybench.schemas import SCHEMAS
from raybench.store.store import RunStore, VisitKey

_COLUMNS = ("visit", "block", "task", "adapter", "host", "device", "device_name", "message")
_KEYS = ("adapters", "block", "cpu", "deployment", "description", "host", "location", "tasks")
_NAMES = ("configuration", "name", "run_id")
"""What has to be a plain name in run.json."""


def hostile_copy(run: Path, results: Path, word: str, *, names: bool) -> Path:
    """The run at ``run``, each of its labels between two ``word``, committed anew in ``results``.

    ``names``: also what has to be a plain name, so that the run is refused.
    """
    source = RunStore.open(run)
    columns, keys = (*_COLUMNS, *_NAMES[:1] * names), (*_KEYS, *_NAMES * names)
    tables = {name: _renamed_table(source.read(name), word, columns) for name in SCHEMAS}
    description = _renamed(json.loads((run / "run.json").read_text()), word, keys)
    description["model"]["name"] = word
    visits = [
        VisitKey(visit=f"{word}{v.visit}{word}", block=f"{word}{v.block}{word}", round=v.round, attempt=v.attempt)
        for entry in source.entries()
        for v in entry.visits
    ]
    with RunStore.create(results, "run", description) as store:
        write_views(store.root)
        store.commit({name: table for name, table in tables.items() if table.num_rows}, visits)
        host, now = f"{word}host{word}", source.entries()[-1].committed_at.isoformat()
        worker = {"state": "busy", "host": host, "device": word, "device_name": word, "visit": word, "for_s": 1.0}
        store.replace_live(
            {"began_at": now, "updated_at": now, "state": "running", "host": host, "pid": 1, "waiting": 1}
            | {"workers": [worker]}
        )
        return Path(str(store.root))


def _renamed(value: Any, word: str, keys: Sequence[str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _renamed(v, word, keys, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(v, word, keys, key) for v in value]
    return f"{word}{value}{word}" if isinstance(value, str) and key in keys else value


def _renamed_table(table: pa.Table, word: str, columns: Sequence[str]) -> pa.Table:
    rows = [
        {k: f"{word}{v}{word}" if k in columns and v is not None else v for k, v in row.items()}
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)
