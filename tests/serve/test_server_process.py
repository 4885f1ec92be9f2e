"""Servers as processes: awaited, watched, ended with all that they started, and told of in one line when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from raybench.records import InputError
from raybench.serve import server_process
from raybench.serve.ports import answers, free_port, is_free
from raybench.serve.server_errors import ServerError
from raybench.serve.server_process import Command, ServerProcess
from serve.servers import get, gone_within, made, nothing_left, runs, watch, words


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test leaves no process and no temporary file."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with nothing_left(folder):
        yield folder


def test_inside_it_is_ready_and_afterwards_gone(temporary: Path) -> None:
    port = free_port()
    with made("--ready-after", 0.3, "--touch", port=port) as server:
        assert get(port, "/anything") == "hello"
        assert server.startup_ns >= 300_000_000
        assert server.exit_code is None
        assert server.has_to_itself(port)
        assert not server.has_to_itself(free_port())
        server.check_alive()
        assert [path.name for path in (server.folder / "tmp").iterdir()] == ["left"]
        pid = server.pid
    assert not runs(pid)
    assert is_free(port)
    assert server.exit_code == -signal.SIGTERM
    server.end()  # once more does nothing


def test_it_has_a_session_a_folder_and_cores_of_its_own_and_not_raybenchs_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KEPT", "as it is")
    port, core = free_port(), min(os.sched_getaffinity(0))
    command = Command(words(port), {"GIVEN": "to it", "KEPT": "changed"}, (core,), {"note": "text"})
    with ServerProcess("small", command, lambda: answers(port, "/health")) as server:
        seen = dict(line.split("=", 1) for line in get(port, "/environment").splitlines())
        assert seen["GIVEN"] == "to it"
        assert seen["KEPT"] == "changed"
        assert "PYTHONPATH" not in seen
        assert "OMP_NUM_THREADS" not in seen
        assert seen["TMPDIR"] == str(server.folder / "tmp")
        assert seen["cwd"] == str(server.folder)
        assert seen["cores"] == f"[{core}]"
        assert int(seen["session"]) not in (os.getsid(0), server.pid)
        assert (server.folder / "note").read_text() == "text"
        assert (server.folder / "note").stat().st_mode & 0o777 == 0o600
        assert server.folder.stat().st_mode & 0o777 == 0o700


def test_one_that_is_never_ready_is_told_with_the_end_of_its_log() -> None:
    with pytest.raises(ServerError) as caught, made("--message", "still loading", "--never-bind", ready_within_s=0.5):
        pytest.fail("it is not ready")
    assert str(caught.value) == "small: not ready in 0.5 s; its log ends: still loading"
    assert caught.value.kind == "timeout"


def test_one_that_exits_at_once_is_told_with_its_exit_code_and_message() -> None:
    with pytest.raises(ServerError) as caught, made("--message", r"no such model:\n\x1b[31mxyz\x1b[0m", "--exit", 3):
        pytest.fail("it has exited")
    assert str(caught.value) == "small: did not start: exit code 3; its log ends: no such model: xyz"
    assert caught.value.kind == "crashed"
    assert caught.value.log_tail == "no such model:\nxyz\n"


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGSEGV, "crashed"), (signal.SIGKILL, "killed")])
def test_one_that_a_signal_ends_at_its_start_is_told_with_the_signal(signum: signal.Signals, kind: str) -> None:
    with pytest.raises(
        ServerError, match=f"^small: did not start: signal {signum.name}; it printed nothing$"
    ) as caught:
        made("--signal", int(signum)).__enter__()
    assert caught.value.kind == kind


def test_one_that_has_no_memory_is_told_as_such() -> None:
    with pytest.raises(ServerError) as caught:
        made("--message", "torch.OutOfMemoryError: CUDA out of memory", "--exit", 1).__enter__()
    assert caught.value.kind == "out_of_memory"


def test_a_program_that_is_not_there_is_told_without_a_log() -> None:
    server = ServerProcess("small", Command(("no-such-program", "x")), lambda: True)
    with pytest.raises(ServerError) as caught:
        server.__enter__()
    assert str(caught.value) == "small: cannot be started: no-such-program: No such file or directory"
    assert caught.value.kind == "error"


def test_words_are_never_read_by_a_shell(tmp_path: Path) -> None:
    server = ServerProcess("small", Command(("echo", f"$(touch {tmp_path}/made); a  b")), lambda: False)
    with pytest.raises(ServerError) as caught:
        server.__enter__()
    assert caught.value.log_tail == f"$(touch {tmp_path}/made); a  b\n"
    assert not (tmp_path / "made").exists()


def test_one_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    with made("--ignore-term", grace_s=0.2) as server:
        pid = server.pid
    assert not runs(pid)
    assert server.exit_code == -signal.SIGKILL


def test_a_daemon_that_it_started_ends_with_it(tmp_path: Path) -> None:
    """It has left the server's session and group, its parent is gone, and it ignores SIGTERM."""
    with made("--fork", tmp_path / "pid", "--allocate", 2**25) as server:
        daemon = int((tmp_path / "pid").read_text())
        assert runs(daemon)
        assert os.getsid(daemon) != os.getsid(server.pid)
        memory = server.memory()
        assert 2**25 < memory.resident_bytes < memory.peak_bytes < 2**28
    assert not runs(daemon)


def test_what_it_and_its_daemon_compute_is_told_in_processor_time(tmp_path: Path) -> None:
    port = free_port()
    with made("--fork", tmp_path / "pid", port=port) as server:
        of_all = [psutil.Process(pid) for pid in (server.pid, int((tmp_path / "pid").read_text()))]
        before = server.cpu_ns()
        assert before >= 10_000_000  # both have started Python
        used = sum(sum(one.cpu_times()[:2]) for one in of_all)
        while sum(sum(one.cpu_times()[:2]) for one in of_all) < used + 0.05:
            get(port, "/anything")
        assert server.cpu_ns() - before >= 50_000_000
    assert server.cpu_ns() == 0


def test_a_daemon_of_one_that_died_by_itself_is_gone_too(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="exit code 3"):
        made("--fork", tmp_path / "pid", "--exit", 3).__enter__()
    assert not runs(int((tmp_path / "pid").read_text()))


def test_the_shared_memory_of_one_that_was_killed_is_removed(tmp_path: Path) -> None:
    """By Python's resource tracker, a process that the server started, which must outlive it for that."""
    with made("--share", tmp_path / "name", "--ignore-term", grace_s=0.1):
        block = Path("/dev/shm", (tmp_path / "name").read_text())
        assert block.exists()
    assert not block.exists()


def test_one_that_is_killed_while_it_is_measured_is_dead_in_one_line() -> None:
    with made("--message", "serving") as server:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError) as caught:
            watch(server)
    assert str(caught.value) == "small: died: signal SIGKILL; its log ends: serving"
    assert caught.value.kind == "killed"


def test_all_of_it_ends_when_raybench_is_killed(tmp_path: Path) -> None:
    port = free_port()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from serve.servers import made\nimport time\n"
        f"with made('--fork', {str(tmp_path / 'pid')!r}, '--ignore-term', port={port}) as server:\n"
        "    print(server.pid, server._keeper.pid, flush=True)\n    time.sleep(60)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as raybench:
        assert raybench.stdout is not None
        pids = [int(word) for word in raybench.stdout.readline().split()]
        pids.append(int((tmp_path / "pid").read_text()))
        assert all(map(runs, pids))
        raybench.kill()
    assert all(gone_within(pid, 10) for pid in pids)
    assert is_free(port)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("raybench")] == []


def test_all_of_it_ends_when_its_keeper_is_killed(tmp_path: Path) -> None:
    with made("--fork", tmp_path / "pid") as server:
        assert server._keeper is not None
        server._keeper.kill()
        with pytest.raises(ServerError, match=r"^small: died: its keeper ended: signal SIGKILL; "):
            watch(server)
    assert not runs(int((tmp_path / "pid").read_text()))


def test_the_end_does_not_wait_for_a_keeper_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "_ENDING_S", 0.3)
    with made("--fork", tmp_path / "pid", grace_s=0.1) as server:
        assert server._keeper is not None
        psutil.Process(server._keeper.pid).suspend()
        pids = [server.pid, int((tmp_path / "pid").read_text())]
    assert not any(map(runs, pids))


def test_what_a_body_raises_is_what_is_told(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), made("--fork", tmp_path / "pid"):
        1 / 0  # noqa: B018


def test_of_a_log_of_megabytes_the_end_is_kept() -> None:
    with made("--say", 3_000_000, "--message", "the end") as server:
        assert server.log.path.stat().st_size > 3_000_000
        tail = server.log.tail()
        assert len(tail) == 4096
        assert tail.endswith(f"{29_999:099d}\nthe end\n")


def test_secrets_are_not_shown_where_it_prints_them() -> None:
    command = Command(words(free_port(), "--message", "key is s3cret-word!", "--exit", 1), hidden=("s3cret-word",))
    with pytest.raises(ServerError) as caught:
        ServerProcess("small", command, lambda: False).__enter__()
    assert str(caught.value).endswith("its log ends: key is ***!")
    assert "s3cret" not in caught.value.log_tail
    assert "s3cret" not in repr(Command(("true",), {"KEY": "s3cret"}, (), {"key": "s3cret"}, ("s3cret",)))


@pytest.mark.parametrize("words", [(), ("",), ("a\0b",)])
def test_a_command_is_words(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="must be words"):
        Command(words)


def test_an_environment_has_names() -> None:
    with pytest.raises(InputError, match="a name 'a=b'"):
        Command(("true",), {"a=b": "c"})
