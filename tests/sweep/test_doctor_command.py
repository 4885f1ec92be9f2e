"""``raybench doctor``: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raybench import cli
from raybench.machine import Examined, Finding
from raybench.sweep import doctor_command
from raybench.sweep.doctor_command import doctor_lines

SOUND = (Finding("swap", "ok", "0 MB"), Finding("disk", "ok", "9 GB"))
SWAPPED = Finding("swap", "caution", "312 MB in use", "swapoff -a")
UNREAD = Finding("boost", "unknown", "not there")


def test_cautions_come_first_each_with_its_remedy_then_what_is_unknown_then_a_count() -> None:
    assert doctor_lines([Examined("here", (SOUND[1], UNREAD, SWAPPED))]) == [
        "caution: swap: 312 MB in use. To do: swapoff -a",
        "unknown: boost: not there",
        "1 check fine: disk.",
    ]


def test_without_a_caution_it_is_said() -> None:
    assert doctor_lines([Examined("here", SOUND)]) == [
        "2 checks fine: swap, disk.",
        "Nothing that was seen stands in the way of measuring.",
    ]


def test_of_several_nodes_a_finding_names_them() -> None:
    a, b = Examined("a", (SWAPPED, UNREAD, SOUND[1])), Examined("b", (SOUND[0], UNREAD, SOUND[1]))
    assert doctor_lines([a, b, Examined("c", (SWAPPED,))]) == [
        "caution: a, c: swap: 312 MB in use. To do: swapoff -a",
        "unknown: a, b: boost: not there",
        "3 checks on 3 nodes fine: disk, swap.",
    ]


def test_the_disk_of_who_drives_is_no_node_s() -> None:
    here = Examined("c (this machine)", (SOUND[1],))
    assert doctor_lines([Examined("a", SOUND), Examined("b", SOUND)], here) == [
        "4 checks on 2 nodes fine: swap, disk.",
        "1 check on c (this machine), which is to keep the runs, fine: disk.",
        "Nothing that was seen stands in the way of measuring.",
    ]
    full = Finding("disk", "caution", "1 GB", "free 1 GB")
    lines = doctor_lines([Examined("a", SOUND)], Examined("c (this machine)", (full,)))
    assert lines == [
        "caution: c (this machine): disk: 1 GB. To do: free 1 GB",
        "2 checks on 1 node fine: swap, disk.",
        "0 checks on c (this machine), which is to keep the runs, fine: none.",
    ]


@pytest.mark.parametrize(("findings", "code"), [(SOUND, 0), ((*SOUND, UNREAD), 0), ((*SOUND, SWAPPED, UNREAD), 1)])
def test_it_ends_with_1_where_something_stands_in_the_way(
    findings: tuple[Finding, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []
    monkeypatch.setattr(doctor_command, "examine", lambda results: asked.append(results) or findings)
    assert cli.main(["doctor", "--json", "--results", str(tmp_path)]) == code
    (machine,) = json.loads(capsys.readouterr().out)
    assert machine["findings"] == [one.as_json() for one in findings]
    assert asked == [tmp_path]
    assert cli.main(["doctor", "--results", "s3://bucket/runs"]) == code
    assert asked[1] is None


def test_names_of_processes_act_on_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bad = Finding("load", "caution", "others compute: \x1b[31mroot\u202e (1) 1.00", "end them")
    monkeypatch.setattr(doctor_command, "examine", lambda results: [bad])
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.startswith("caution: load: others compute: \\x1b[31mroot\\u202e (1) 1.00. To do: ")


def test_this_machine_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    (machine,) = json.loads(capsys.readouterr().out)
    found = {one["name"]: one["state"] for one in machine["findings"]}
    assert {"load", "steal", "governor", "quota", "swap", "disk", "versions"} <= found.keys()
    assert code == int("caution" in found.values())


def test_the_help_says_how_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--help"]) == 0
    assert "Ends with 0 where nothing stands in the way of measuring, with 1" in " ".join(
        capsys.readouterr().out.split()
    )
