"""``raybench rm``: a run is removed, after asking, and nothing that is none, or is driven, or is another's."""

from __future__ import annotations

import os
import pty
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raybench import cli
from raybench.store.location import Location
from raybench.store.store import RunStore
from store.stored_runs import Hands, copy_run
from store.test_run_list import begin

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(results: Location, three_commits: Path) -> Location:
    """A run with commits, beside another."""
    begin(results, "other", "2026-01-01T00:00:00+00:00")
    root = copy_run(three_commits, results / "mine")
    Hands(root).write("views.sql", b"SELECT 1")
    Hands(root).write("tables/by_strategy.parquet", b"x")
    return root


def typed(answer: str, monkeypatch: pytest.MonkeyPatch, command: Callable[[], int]) -> int:
    """What ``command`` returns on a terminal on which ``answer`` is typed."""
    leading, following = pty.openpty()
    os.write(leading, f"{answer}\n".encode())
    with os.fdopen(following, "r") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", terminal)
        code = command()
    os.close(leading)
    return code


def test_it_is_removed_and_named_and_nothing_beside_it(results: Location, root: Location, capsys: Capture) -> None:
    other = Hands(results / "other").names()
    assert cli.main(["rm", str(root), "--yes"]) == 0
    assert capsys.readouterr().out.startswith(f"Removed {root}: ")
    assert Hands(root).names() == set()
    assert Hands(results / "other").names() == other
    assert not isinstance(root, Path) or not root.exists()
    assert cli.main(["rm", str(root), "--yes"]) == 2
    assert "no run of raybench" in capsys.readouterr().err


def test_by_its_name_where_results_says(results: Location, root: Location, capsys: Capture) -> None:
    assert cli.main(["rm", "other", "--results", str(results), "--yes"]) == 0
    assert f"Removed {results / 'other'}: smoke of micro, begun 2026-01-01 00:00, " in capsys.readouterr().out
    assert RunStore.open(root).committed()
    assert cli.main(["rm", "../mine", "--results", str(results), "--yes"]) == 2
    assert RunStore.open(root).committed()


def test_it_asks_on_a_terminal_and_elsewhere_wants_to_be_told(
    root: Location, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before = Hands(root).names()
    with Path(os.devnull).open() as nothing, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", nothing)
        assert cli.main(["rm", str(root)]) == 2
    assert "--yes: missing; there is no terminal" in capsys.readouterr().err
    for answer in ("", "n", "yess"):
        assert typed(answer, monkeypatch, lambda: cli.main(["rm", str(root)])) == 1
        out = capsys.readouterr().out
        assert out.startswith(f"Remove {root}: ")
        assert out.endswith("? [y/N] Nothing is removed.\n")
    assert Hands(root).names() == before
    assert typed("y", monkeypatch, lambda: cli.main(["rm", str(root)])) == 0
    assert Hands(root).names() == set()


def test_one_that_is_driven_is_refused(root: Location, capsys: Capture) -> None:
    before = Hands(root).names()
    with RunStore.resume(root):
        assert cli.main(["rm", str(root), "--yes"]) == 2
        said = capsys.readouterr().err
        assert f"process {os.getpid()} on " in said
        assert said.endswith("; it is not removed: stop it first\n")
    assert Hands(root).names() == before
    assert cli.main(["rm", str(root), "--yes"]) == 0


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/run.json").write_text("{}")
    (tmp_path / "some/notes.txt").write_text("mine")
    for place in (tmp_path / "some", tmp_path, tmp_path / "nowhere", tmp_path / "some/notes.txt"):
        assert cli.main(["rm", str(place), "--yes"]) == 2
        assert capsys.readouterr().err.startswith(f"raybench: {place}: no run of raybench")
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["notes.txt", "run.json"]


def test_what_is_not_its_own_is_left_and_named(tmp_path: Path, three_commits: Path, capsys: Capture) -> None:
    root = tmp_path / "mine"
    shutil.copytree(three_commits, root)
    (root / "notes.txt").write_text("mine")
    (root / "plots").mkdir()
    assert cli.main(["rm", str(root), "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Left there, for it is not the run's: notes.txt, plots"
    assert sorted(path.name for path in root.iterdir()) == ["notes.txt", "plots"]


def test_a_damaged_one_can_be_removed_and_a_link_is_not_followed(
    tmp_path: Path, three_commits: Path, capsys: Capture
) -> None:
    root = tmp_path / "mine"
    shutil.copytree(three_commits, root)
    (root / "run.json").chmod(0o644)
    (root / "run.json").write_text("{")
    (tmp_path / "link").symlink_to("mine")
    assert cli.main(["rm", str(tmp_path / "link"), "--yes"]) == 2
    assert "a link; name the run that it leads to" in capsys.readouterr().err
    assert cli.main(["rm", str(root), "--yes"]) == 0
    assert "a run whose description cannot be read" in capsys.readouterr().out
    assert not root.exists()


def test_latest_is_no_name_of_what_is_removed(root: Location, capsys: Capture) -> None:
    assert cli.main(["rm", "latest", "--yes"]) == 2
    assert "latest is not taken, so that none is meant by mistake" in capsys.readouterr().err
    assert "run.json" in Hands(root).names()
