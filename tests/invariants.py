"""What must be there of a run, whatever befell it: told from its plan and its files."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from raybench.plan.plan import Plan
from raybench.schemas import SCHEMAS
from raybench.store.location import Location
from raybench.store.store import RunStore
from store.stored_runs import Hands

Request = tuple[Any, ...]
"""(block, configuration, round, task, request)."""


def expected_requests(plan: Plan) -> set[Request]:
    """The timed requests of a complete run of ``plan``."""
    return {
        (block.name, c.name, r, task, request)
        for block in plan.blocks
        for r in range(plan.rounds)
        for c in block.configurations
        for task, request in block.requests(c, r * plan.requests, plan.requests)
    }


def timed_requests(root: Location) -> Counter[Request]:
    """How often each timed request is committed."""
    rows = RunStore.open(root).read("samples").to_pylist()
    return Counter(
        (r["block"], r["configuration"], r["round"], r["task"], r["request"]) for r in rows if r["phase"] == "timed"
    )


def committed_rows(root: Location) -> set[str]:
    """Every row that counts, and the description: in whichever files they are, for commits are compacted."""
    store = RunStore.open(root)
    store.verify()
    found = {f"{table}: {row!r}" for table in SCHEMAS for row in store.read(table).to_pylist()}
    return found | {f"run.json: {hashlib.sha256(Hands(root).read('run.json')).hexdigest()}"}
