"""Arrivals: drawn as said, and traces read or refused with their line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raybench.records import InputError
from raybench.serve import arrivals
from raybench.serve.arrivals import gamma_arrivals, poisson_arrivals, trace_arrivals


def test_a_poisson_process_is_that_of_the_seed() -> None:
    found = poisson_arrivals(100.0, 5, 0)
    expected = np.cumsum(np.random.default_rng(0).gamma(1.0, 0.01, 5))
    assert found.dtype == np.int64
    assert found.tolist() == np.rint(expected * 1e9).astype(int).tolist()
    assert poisson_arrivals(100.0, 5, 0).tolist() == found.tolist()
    assert poisson_arrivals(100.0, 5, 1).tolist() != found.tolist()
    assert poisson_arrivals(100.0, 0, 0).tolist() == []


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_the_mean_is_kept_and_the_spread_is_that_of_the_shape(burstiness: float) -> None:
    intervals_s = np.diff(gamma_arrivals(50.0, burstiness, 100_001, 3), prepend=0) / 1e9
    # The seed is fixed; a gamma distribution has a coefficient of variation of 1 / sqrt(shape).
    assert intervals_s.mean() == pytest.approx(0.02, rel=0.01)
    assert intervals_s.std() / intervals_s.mean() == pytest.approx(burstiness**-0.5, rel=0.02)
    assert intervals_s.min() >= 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((0.0, 1.0, 1), "rate of arrivals: expected a number above 0, found 0"),
        ((float("inf"), 1.0, 1), "rate of arrivals: expected a number above 0, found inf"),
        ((float("nan"), 1.0, 1), "rate of arrivals"),
        ((1.0, -1.0, 1), "burstiness of arrivals: expected a number above 0, found -1"),
        ((1.0, 1.0, 1_000_001), "expected at most 1000000, found 1000001"),
        ((1.0, 1.0, -1), "expected at most 1000000, found -1"),
        ((1e-6, 1.0, 100), "last longer than a week"),
        ((1e-320, 1.0, 100), "last longer than a week"),
    ],
)
def test_what_cannot_be_drawn_is_refused(asked: tuple[float, float, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gamma_arrivals(*asked, seed=0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "seconds\n0\n0.5\n0.5\n2e0\n"),
        ("t.csv", "\ufeffid,seconds\r\na,0\r\n\r\nb,0.5\r\nc,.5\r\nd,2"),
        ("t.jsonl", "0\n0.5\n\n0.5\n2.0\n"),
        ("t.jsonl", '{"seconds": 0, "x": 1}\n{"seconds": 0.5}\r\n0.5\n{"seconds": 2}'),
    ],
)
def test_traces_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert trace_arrivals(tmp_path / name).tolist() == [0, 500_000_000, 500_000_000, 2_000_000_000]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "expected a header with one column 'seconds', found"),
        ("t.csv", b"a,b\n1,2\n", "expected a header with one column 'seconds', found"),
        ("t.csv", b"seconds,seconds\n1,2\n", "expected a header with one column 'seconds', found"),
        ("t.csv", b"seconds\n", "it has no arrivals"),
        ("t.csv", b"seconds\n1\nx\n", "line 3: expected seconds from the start"),
        ("t.csv", b"a,seconds\n1\n", "line 2: expected seconds from the start"),
        ("t.csv", b"seconds\n1\nnan\n", "line 3: expected seconds from the start"),
        ("t.csv", b"seconds\n-1\n", "line 2: expected seconds from the start"),
        ("t.csv", b"seconds\n604801\n", "line 2: expected seconds from the start"),
        ("t.csv", b"seconds\n2\n1\n", "line 3: it comes before the one above it"),
        ("t.csv", b'seconds\n"1\n', "line 2: no CSV: "),
        ("t.csv", b"seconds\n\xff\n", "cannot be read: 'utf-8' codec"),
        ("t.jsonl", b"\n\n", "it has no arrivals"),
        ("t.jsonl", b"1\n{\n", "line 2: no JSON: "),
        ("t.jsonl", b"[" * 100_000, "line 1: no JSON: "),
        ("t.jsonl", b"true\n", "line 1: expected seconds from the start"),
        ("t.jsonl", b'"1"\n', "line 1: expected seconds from the start"),
        ("t.jsonl", b"Infinity\n", "line 1: expected seconds from the start"),
        ("t.jsonl", b'{"second": 1}\n', "line 1: expected seconds from the start"),
        ("t.txt", b"1\n", "expected a trace that ends with .csv or .jsonl"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        trace_arrivals(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("folder.csv", "none.csv"):
        with pytest.raises(InputError, match="no such file, or not a regular one"):
            trace_arrivals(tmp_path / name)


def test_traces_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("1\n" * 5)
    monkeypatch.setattr(arrivals, "MOST_ARRIVALS", 4)
    with pytest.raises(InputError, match="it has more than 4 arrivals"):
        trace_arrivals(path)
    monkeypatch.setattr(arrivals, "MOST_FILE_BYTES", 9)
    with pytest.raises(InputError, match="it has 10 bytes; a trace has at most 9"):
        trace_arrivals(path)
