"""What can be asked, and how it is typed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from decide.advising import NEEDS
from raybench.decide import needs
from raybench.records import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24 * 10**9), ("24GiB", 24 * 2**30), ("1.5 GB", 1_500_000_000), ("512MiB", 2**29), ("1e3KB", 10**6)],
)
def test_sizes(text: str, size: int) -> None:
    assert needs.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "0GB", "-1GB", "nanGB", "infGB", "24gb", "24Gb", "1e-12KB", "", "2 4GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="--gpu-memory: expected a size above 0 with its unit, as 24GB"):
        needs.parse_bytes(text, "--gpu-memory")


@pytest.mark.parametrize(("text", "seconds"), [("40ms", 0.04), ("0.04s", 0.04), ("250us", 0.00025), ("2 s", 2.0)])
def test_times(text: str, seconds: float) -> None:
    assert needs.parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["40", "ms", "0ms", "1e-9ms", "-40ms", "nanms", "infs", "40m", "1e999s", "40 GB", "", "٤ms"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="--slo-p95: expected a time with its unit"):
        needs.parse_seconds(text, "--slo-p95")


def test_shares_and_numbers() -> None:
    assert [needs.parse_share(text, "x") for text in ("0", "30%", "0.3", "1", "100 %")] == [0, 0.3, 0.3, 1, 1]
    assert (needs.parse_positive("12.5", "x"), needs.parse_tasks("40")) == (12.5, 40)
    for text in ("1.1", "101%", "-1", "nan", "%", "x"):
        with pytest.raises(InputError, match="--switches: expected a share"):
            needs.parse_share(text, "--switches")
    for text in ("0", "-3", "nan", "inf", "1e400", "12rps"):
        with pytest.raises(InputError, match="--gpu-price: expected a number above 0"):
            needs.parse_positive(text, "--gpu-price")
    for text in ("0", "-1", "1.5", "nan", "1e3", "99999999999"):
        with pytest.raises(InputError, match="--tasks: expected a whole number"):
            needs.parse_tasks(text, "--tasks")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": 0},
        {"tasks": 1.5},
        {"gpu_memory_bytes": -1},
        {"gpu_memory_bytes": 1.5},
        {"slo_p95_s": math.nan},
        {"slo_p95_s": 1e-12},
        {"requests_per_second": math.inf},
        {"switches": 1.01},
        {"switches": math.nan},
        {"gpu_price": 0.0},
    ],
)
def test_needs_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(wrong))} must be"):
        dataclasses.replace(NEEDS, **wrong)


def test_whole_numbers_that_came_as_floats_are_ints_from_then_on() -> None:
    asked = dataclasses.replace(NEEDS, tasks=3.0, gpu_memory_bytes=2.2e9)  # type: ignore[arg-type]
    assert asked == NEEDS
    assert (type(asked.tasks), type(asked.gpu_memory_bytes)) == (int, int)
    one = dataclasses.replace(NEEDS, tasks=1.0)  # type: ignore[arg-type]
    assert one.switch_share == 0
