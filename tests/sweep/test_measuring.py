"""How a sweep ends: its commits are compacted, and where they are not that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.store.store import RunStore, StoreError
from raybench.sweep.measuring import _compact
from store.stored_runs import Hands, commit, key


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    with RunStore.create(tmp_path, "run", {}) as made:
        commit(made, key("a", 0))
        commit(made, key("a", 1))
        yield made


def test_commits_are_compacted_and_nothing_is_said_of_it(store: RunStore) -> None:
    said: list[str] = []
    _compact(store, said.append)
    assert said == []
    assert [entry.sequence for entry in store.entries()] == [2]


def test_what_cannot_be_compacted_or_removed_is_said_in_a_line(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    file = store.entries()[0].files[0]
    hands = Hands(store.root)
    intact = hands.read(file.path)
    hands.write(file.path, intact[:-1] + b"?")
    _compact(store, said.append)
    assert len(store.entries()) == 2
    hands.write(file.path, intact)

    def refuse(self: object, names: object) -> None:
        raise StoreError("403")

    monkeypatch.setattr("raybench.store.local_storage.LocalStorage.remove", refuse)
    _compact(store, said.append)
    assert len(store.entries()) == 1
    assert said[0].startswith(
        f"Not compacted, which loses nothing and makes reading slow: {store.root}/{file.path}: not"
    )
    assert said[1:] == ["Compacted, and some files that do not count any more are left: 403"]
