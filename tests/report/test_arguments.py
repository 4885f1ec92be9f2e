"""How a word of a command line becomes a value: of numbers and places, and what is said where it does not."""

from __future__ import annotations

import pytest

from command_lines import told
from raybench import cli
from raybench.report.arguments import whole_number

Capture = pytest.CaptureFixture[str]


def test_a_whole_number_is_one_of_its_range() -> None:
    number = whole_number(1, 10)
    assert [number(text) for text in ("1", " 7 ", "10")] == [1, 7, 10]
    for text in ("0", "11", "2.5", "1e1", "", "x", "0x1"):
        with pytest.raises(ValueError, match=f"expected a number from 1 to 10, got '{text}'"):
            number(text)
    with pytest.raises(ValueError, match=r"expected a few, got 'x{40}'$"):
        whole_number(1, 3, "a few")("x" * 50)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--rounds", "3"], "rounds", 3),
        (["--order-seed", "0"], "order_seed", 0),
        (["--until-halfwidth", "1%"], "until_halfwidth", 0.01),
        (["--until-halfwidth", "0.02"], "until_halfwidth", 0.02),
        (["--wait", "90"], "wait", 90.0),
        (["--wait", "90s"], "wait", 90.0),
        (["--wait", "15min"], "wait", 900.0),
        (["--wait=1.5h"], "wait", 5400.0),
        (["--batch", "8,1,8"], "batch", (1, 8)),
        (["--rate", "2,0.5"], "rate", (0.5, 2.0)),
        (["--adapter", "a=x", "--adapter", "b=y,z"], "adapter", ["a=x", "b=y,z"]),
        ([], "adapter", None),
        (["--rounds", "3", "--rounds", "4"], "rounds", 4),
        (["--batch", "1", "--batch", "2,4"], "batch", (2, 4)),
        (["--resume", "--resume"], "resume", True),
    ],
)
def test_what_a_sweep_is_told(words: list[str], name: str, value: object) -> None:
    assert getattr(told(["sweep", *words]), name) == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "2.5"], "--rounds: expected a number from 1 to 1000000, got '2.5'"),
        (["--order-seed", "-1"], "--order-seed: expected a number from 0 to 2^62, got '-1'"),
        (
            ["--until-halfwidth", "1"],
            "--until-halfwidth: expected a share between 0 and 1, such as 1% or 0.01, got '1'",
        ),
        (
            ["--until-halfwidth", "x%"],
            "--until-halfwidth: expected a share between 0 and 1, such as 1% or 0.01, got 'x%'",
        ),
        (["--wait", "long"], "--wait: expected a time of at most a week, such as 90s or 15min, got 'long'"),
        (["--wait", "nan"], "--wait: expected a time of at most a week, such as 90s or 15min, got 'nan'"),
        (["--batch", "[1,2]"], "--batch: expected numbers from 1 to 4096, such as 8 or 1,8, got '[1'"),
        (["--batch", "1,x"], "--batch: expected numbers from 1 to 4096, such as 8 or 1,8, got 'x'"),
        (["--results", "gs://x"], "--results: 'gs://x': names no bucket; give gs://BUCKET/PREFIX"),
    ],
)
def test_what_is_no_value_is_told_with_its_option_and_what_is_expected(
    words: list[str], said: str, capsys: Capture
) -> None:
    assert cli.main(["sweep", *words]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err) == (
        "",
        f"raybench: {said}; raybench sweep --help says what it takes\n",
    )
