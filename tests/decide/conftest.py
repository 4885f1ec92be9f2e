"""Runs to advise from."""

from __future__ import annotations

from pathlib import Path

import pytest

from decide.advising import LATENCIES_MS, make_run, with_memory
from raybench.analysis.tables import Tables


@pytest.fixture(scope="session")
def known_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A run of known latencies and memory, long enough for advice."""
    return with_memory(make_run(tmp_path_factory.mktemp("known"), LATENCIES_MS, rounds=3, requests=44))


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same latencies, too short for a p95, its memory not known."""
    return make_run(tmp_path_factory.mktemp("short"), LATENCIES_MS, rounds=1)
