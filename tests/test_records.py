"""Words that all rooms use."""

from __future__ import annotations

import re
from pathlib import Path

import raybench
from raybench.records import count, in_percent


def test_one_of_a_thing_is_singular() -> None:
    assert [count(number, "visit") for number in (0, 1, 2, 1_000)] == [
        "0 visits",
        "1 visit",
        "2 visits",
        "1,000 visits",
    ]


def test_a_share_is_written_with_a_blank_before_the_sign() -> None:
    assert [in_percent(share) for share in (0.02, 0.07, 0.995, 1, 0)] == ["2 %", "7 %", "99.5 %", "100 %", "0 %"]
    assert [in_percent(0.8249, digits) for digits in (".0f", ".1f", "+.2f")] == ["82 %", "82.5 %", "+82.49 %"]


def test_no_percentage_is_written_in_another_way() -> None:
    """Python's own format of a share has no blank; what is multiplied by 100 on the spot is easily written so too."""
    spelled = re.compile(r"\{[^{}]*:[^{}]*%\}|\* 100:|\}%[^%]")
    found = [
        f"{path.name}: {line.strip()}"
        for path in Path(raybench.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if spelled.search(line) and not re.search("%[HMd]", line)  # a time of day
    ]
    assert found == ['records.py: return f"{share * 100:{digits}} %"']
