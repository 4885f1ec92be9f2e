"""What is told of a server's log: its end, the first error further up, and nothing that is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.serve.server_errors import Log, ServerError, how_it_ended


def log_of(folder: Path, text: str | bytes, *hidden: str) -> Log:
    path = folder / "log"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Log(path, hidden)


def test_no_log_and_an_empty_one_say_so(tmp_path: Path) -> None:
    assert Log(tmp_path / "none").tail() == ""
    assert log_of(tmp_path, "").told() == "it printed nothing"


def test_the_first_error_is_told_where_the_end_does_not_have_it(tmp_path: Path) -> None:
    text = "start\n  File x\nValueError: head size 16 is not supported\n" + "line\n" * 1000 + "see above\n"
    told = log_of(tmp_path, text).told()
    assert told.startswith("the first error in its log: ValueError: head size 16 is not supported ... its end: ")
    assert told.endswith("line see above")
    warned = "WARNING 11-29 [x.py:1] limits may lead to OSError: [Errno 24] and the like\n" + text
    assert log_of(tmp_path, warned).told() == told
    assert log_of(tmp_path, "ValueError: short\n").told() == "its log ends: ValueError: short"


def test_leaks_that_bindings_tell_of_at_the_end_are_left_out(tmp_path: Path) -> None:
    leaks = ["nanobind: leaked 514 functions!", *(f' - leaked function "create_{n}"' for n in range(300))]
    leaks += [" - ... skipped remainder", "nanobind: this is likely caused by a reference counting issue"]
    text = "\n".join(["ValueError: no such head", "it was told above", *leaks, ""])
    assert log_of(tmp_path, text).told() == "its log ends: ValueError: no such head it was told above"


def test_what_is_no_text_is_shown_as_far_as_it_can_be(tmp_path: Path) -> None:
    assert log_of(tmp_path, b"a\xff\x00b\x1b[2J\rc").tail() == "a� b c"


def test_a_secret_at_the_cut_is_hidden_too(tmp_path: Path) -> None:
    text = "x" * 100 + "topsecret" + "y" * 4090
    tail = log_of(tmp_path, text, "topsecret").tail()
    assert "secret" not in tail
    assert tail.endswith("y" * 4090)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1, ("crashed", "exit code 1")), (-9, ("killed", "signal SIGKILL")), (-11, ("crashed", "signal SIGSEGV"))],
)
def test_how_a_process_ended(code: int, expected: tuple[str, str]) -> None:
    assert how_it_ended(code) == expected


def test_an_error_is_one_line_with_its_kind(tmp_path: Path) -> None:
    error = ServerError("crashed", "vllm: died", log_of(tmp_path, "a\nb\n"))
    assert (str(error), error.kind, error.exit_code) == ("vllm: died; its log ends: a b", "crashed", 1)
