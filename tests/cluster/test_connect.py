"""What keeps Ray from starting here is said in one line, before it is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ray._common.utils import get_default_ray_temp_dir
from ray._private.utils import validate_socket_filepath

from raybench.cluster import connect
from raybench.cluster.connect import check_can_start, ray_folder, socket_path
from raybench.records import InputError, RaybenchError

PID = 12345


@pytest.mark.parametrize(
    "environment",
    [{}, {"TMPDIR": "/a"}, {"TMPDIR": "/a", "RAY_TMPDIR": "/b"}, {"TMPDIR": "/a/"}, {"TMPDIR": "", "RAY_TMPDIR": "/b"}],
)
def test_the_folder_is_the_one_that_ray_takes(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(ray_folder(os.environ)[1]) == get_default_ray_temp_dir()


def test_a_folder_may_be_as_long_as_the_sockets_in_it_can_be() -> None:
    """Bytes count, not letters."""
    longest = "/tmp/" + "x" * 36
    validate_socket_filepath(socket_path(Path(longest, "ray"), PID))
    with pytest.raises(OSError, match="cannot exceed 107 bytes"):
        validate_socket_filepath(socket_path(Path(longest + "x", "ray"), PID))
    for name, excess in ((longest + "x", 1), (longest[:-1] + "ß", 1), (longest + "x" * 60, 60)):
        with pytest.raises(
            InputError, match=rf"^TMPDIR={name}: {excess} bytes too long: .* 107 bytes .*RAY_TMPDIR=/tmp"
        ):
            check_can_start({"TMPDIR": name}, PID)
    with pytest.raises(InputError, match="1 bytes too long"):
        check_can_start({"TMPDIR": longest}, 10 * PID)


def test_at_the_limit_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    room = 107 - len(socket_path(Path("/proc/self/cwd/ray"), PID)) - 1
    Path("x" * room).mkdir()
    check_can_start({"TMPDIR": f"/proc/self/cwd/{'x' * room}"}, PID)
    with pytest.raises(InputError, match="too long"):
        check_can_start({"TMPDIR": f"/proc/self/cwd/{'x' * (room + 1)}"}, PID)


@pytest.mark.parametrize("value", ["", "tmp", "./tmp"])
def test_a_relative_folder_is_refused(value: str) -> None:
    """Ray's own processes would look for it elsewhere, and time out."""
    with pytest.raises(InputError, match=r"^RAY_TMPDIR='.*': Ray needs an absolute path; set RAY_TMPDIR"):
        check_can_start({"RAY_TMPDIR": value, "TMPDIR": "/tmp"}, PID)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("/proc/nowhere", "No such file or directory"),
        ("/dev/null", "Not a directory"),
        ("/dev/full/x", "Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(folder: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^TMPDIR={folder}: Ray cannot write there: {reason}; set RAY_TMPDIR"):
        check_can_start({"TMPDIR": folder}, PID)


def test_too_little_room_for_the_object_store_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"/dev/shm": 64 * 10**6, "/tmp/ray": 10**6}
    monkeypatch.setattr(connect, "_free_bytes", free.__getitem__)
    with pytest.raises(InputError, match=r"needs 268 MB: /dev/shm has 64 MB and /tmp/ray has 1 MB; free some, or"):
        check_can_start({}, PID)
    free["/tmp/ray"] = 300 * 10**6  # slower, and enough
    check_can_start({}, PID)


def test_what_ray_fails_of_all_the_same_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connect.ray, "init", init)
    with pytest.raises(
        RaybenchError, match=r"^Ray did not start here: The current node timed out during startup\.; what it says"
    ):
        connect.connect("local")
