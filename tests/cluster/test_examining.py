"""The nodes of a real Ray cluster are asked what would spoil a measurement there."""

from __future__ import annotations

import json

import pytest

from docs.pages import typed_words
from raybench import cli
from raybench.cluster import examine_nodes
from raybench.records import InputError


def test_each_node_says_what_is_found_there(address: str) -> None:
    first, second = examine_nodes(address)
    names = [one.name for one in first.findings]
    assert names[:10] == [
        *("load", "steal", "governor", "boost", "smt", "cores", "quota", "priority", "swap", "huge_pages"),
    ]
    assert [one.name for one in second.findings] == names
    assert {one.state for one in first.findings} <= {"ok", "caution", "unknown"}
    assert all(one.found and bool(one.remedy) == (one.state == "caution") for one in first.findings)


def test_the_command_tells_of_each_node(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = typed_words("docs/doctor.md", "raybench doctor --address")
    words[words.index("HOST:6379")] = address
    assert cli.main([*words[1:], "--json"]) in (0, 1)
    first, second, here = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in first["findings"]] == [one["name"] for one in second["findings"]]
    assert [one["name"] for one in here["findings"]] == ["disk"]


def test_where_no_cluster_answers_it_is_said() -> None:
    with pytest.raises(InputError, match=r"Ray cluster at 127\.0\.0\.1:9 cannot be reached"):
        examine_nodes("127.0.0.1:9")
