"""Folders of the cache: written once, whole or not at all, beside others that want the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from raybench.records import InputError
from raybench.serve.written_once import file_identity, written_once


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "served"


def visible(cache: Path) -> list[str]:
    """What is there besides locks."""
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_what_is_there_is_not_written_again(cache: Path) -> None:
    written = []

    def write(folder: Path) -> None:
        written.append(folder)
        (folder / "file").write_text("text")

    folders = [written_once("thing", {"a": 1}, write) for _ in range(2)]
    assert folders[0] == folders[1]
    assert len(written) == 1
    assert (folders[0] / "file").read_text() == "text"
    assert visible(cache) == [folders[0].name]
    assert folders[0].stat().st_mode & 0o777 == 0o755
    assert written_once("thing", {"a": 2}, write) != folders[0]


def test_what_fails_leaves_nothing(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("text")
        raise InputError("no such weights")

    with pytest.raises(InputError, match=r"^no such weights$"):
        written_once("thing", {}, fail)
    assert visible(cache) == []


def test_something_else_in_its_place_is_left_alone(cache: Path) -> None:
    folder = written_once("thing", {}, lambda folder: None)
    (folder / "raybench-served.json").write_text("another")
    with pytest.raises(InputError, match="exists and is not what raybench wrote there; remove it"):
        written_once("thing", {}, lambda folder: None)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written: .*; set RAYBENCH_CACHE"):
        written_once("thing", {}, lambda folder: None)


def _write_slowly(log: Path) -> None:
    def write(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        (folder / "file").write_text("text")

    assert (written_once("thing", {}, write) / "file").read_text() == "text"


def _write_for_ever(log: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("text")
        log.write_text("begun")
        time.sleep(60)

    written_once("thing", {}, write)


def test_of_several_at_once_one_writes_and_the_others_wait(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [multiprocessing.get_context("fork").Process(target=_write_slowly, args=(log,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(log.read_text().split()) == 1
    assert len(visible(cache)) == 1


def test_what_a_killed_process_left_is_removed_by_the_next(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(log,))
    process.start()
    while not log.exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    assert len(visible(cache)) == 1
    folder = written_once("thing", {}, lambda folder: None)
    assert visible(cache) == [folder.name]
    assert not (folder / "half").exists()


def test_a_files_identity_changes_with_the_file_and_follows_links(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("abc")
    link.symlink_to(file)
    before = file_identity([link])
    assert before == file_identity([link])
    assert before[0][:2] == ["link", str(file)]
    stat = file.stat()
    file.write_text("xyz")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the same size and time of change
    assert file_identity([link]) != before
