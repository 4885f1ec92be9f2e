"""Which runs a place holds, and whether it can be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raybench.records import InputError
from raybench.store import local_storage
from raybench.store.location import Location, ObjectUri, parse_location
from raybench.store.results import check_writable, run_ids, validate_run_id
from raybench.store.store import RunStore, StoreError
from store.object_server import ObjectServer
from store.stored_runs import Hands


@pytest.mark.parametrize("run_id", ["a", "2025-06-01T12.00_x", "0", "x" * 100, "a..b"])
def test_a_run_id_names_a_run_anywhere(run_id: str) -> None:
    assert validate_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "/tmp/x", "a/b", "a\\b", "a\0b", "a\n", "\na", "-rf", ".hidden", "é", "x" * 101]
)
def test_a_run_id_that_could_lead_elsewhere_is_refused_in_one_line(run_id: str) -> None:
    with pytest.raises(InputError, match="--run-id") as caught:
        validate_run_id(run_id)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_runs_are_found_by_name(results: Location) -> None:
    assert list(run_ids(results)) == []
    for name in ("one", "two"):
        RunStore.create(results, name, {}).close()
    Hands(results).write(".hidden/x", b"")
    assert sorted(run_ids(results)) == ["one", "two"]


def test_a_place_that_can_be_written_is_left_as_it_was(results: Location) -> None:
    check_writable(results)
    check_writable(results / "deeper")
    assert Hands(results).names() == set()
    assert not isinstance(results, Path) or not results.exists()


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for results in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InputError, match=r"--results .*cannot be written: .*Not a directory.*another folder"):
            check_writable(results)


def test_a_results_folder_may_be_a_link_and_a_run_in_it_may_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    check_writable(tmp_path / "results")
    with RunStore.create(tmp_path / "results", "one", {}) as store:
        assert store.root == tmp_path / "disk/one"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "disk/one").rename(tmp_path / "elsewhere/one")
    (tmp_path / "disk/one").symlink_to(tmp_path / "elsewhere/one")
    with pytest.raises(InputError, match="leads outside"):
        RunStore.resume(tmp_path / "results/one")


@pytest.mark.parametrize(("call", "error"), [("link", errno.EPERM), ("flock", errno.EOPNOTSUPP)])
def test_a_file_system_without_hard_links_or_locks_is_refused(
    call: str, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(local_storage.os if call == "link" else local_storage.fcntl, call, refuse)
    with pytest.raises(InputError, match=rf"{os.strerror(error)}; .*on a file system with hard links and locks$"):
        check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused_before_anything_is_begun(small_disk: Path) -> None:
    disk = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes((disk.f_bavail - 1) * disk.f_bsize))
    with pytest.raises(InputError, match=r"No space left on device; choose another folder, with free space"):
        check_writable(small_disk / "results")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_place_that_cannot_be_read_is_bad_input_and_one_that_fails_is_not(
    bucket: ObjectUri, s3: ObjectServer, quick: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = parse_location("s3://no-such-bucket/x")
    with pytest.raises(InputError, match=r"^s3://no-such-bucket/x: cannot be listed: there is no such bucket; create"):
        RunStore.open(absent)
    for refused, error in (("403 Forbidden:AccessDenied", InputError), ("503 Service Unavailable", StoreError)):
        fault = s3.inject(refuse=refused, times=10**6)
        with pytest.raises(error, match=rf"^{bucket}/run: cannot be listed: {refused.partition(':')[0]}") as caught:
            RunStore.open(bucket / "run")
        assert caught.value.exit_code == (2 if error is InputError else 1)
        fault.times = 0
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=r"cannot be opened: .*Missing SecretAccessKey; check the credentials"):
        RunStore.open(bucket / "run")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InputError, match=r"no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        RunStore.open(bucket / "run")
