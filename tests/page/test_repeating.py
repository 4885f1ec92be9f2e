"""The command that a page says measures its run again: for a stranger, who has other folders."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from command_lines import told
from page.reading import opened
from raybench.analysis import Tables
from raybench.page.repeating import repeat_command, repeat_notes, repeat_words

WHERE = "PYTHON is the Python of an environment that has vllm, such as VENV/bin/python."
PATHS = "Paths are those of the machine that began the run: put where yours are."


def of_vllm(run: Path, plan: str = "served", python: str | None = None, **changes: Any) -> Tables:
    """The run as one of servers that vLLM's preset started."""
    tables = copy.copy(opened(run))  # which is every test's
    told = tables.description
    environment = told.environment.model_copy(update={"engine_python": python})
    named = told.plan.model_copy(update={"name": plan, "servers": ({"name": "servers", "preset": "vllm"},)})
    tables.description = told.model_copy(update={"plan": named, "environment": environment, **changes})
    return tables


def test_it_has_the_run_s_own_options(of_a_language_model: Path) -> None:
    tables = opened(of_a_language_model)
    words = ["--model", "micro-lm", "--plan", "FILE.toml", "--rounds", "4", "--requests", "4"]
    assert repeat_words(tables) == words
    assert repeat_command(tables) == f"raybench sweep {' '.join(words)}"
    assert repeat_notes(tables) == [f"FILE.toml is the file of the plan {tables.description.plan.name}."]


@pytest.mark.parametrize("python", [None, "/home/me/vllm/bin/python"])
def test_a_shipped_plan_of_an_engine_says_which_python_goes_there(of_servers: Path, python: str | None) -> None:
    tables = of_vllm(of_servers, python=python)
    asked = ["--plan", "served", "--engine-python", "PYTHON", "--rounds", "3", "--requests", "8"]
    assert repeat_words(tables) == ["--model", "micro-lm", *asked]
    assert repeat_notes(tables) == [WHERE]


def test_a_plan_s_own_file_says_its_python_unless_the_command_line_did(of_servers: Path) -> None:
    name = "FILE.toml is the file of the plan mine."
    assert "--engine-python" not in repeat_words(of_vllm(of_servers, "mine"))
    assert repeat_notes(of_vllm(of_servers, "mine")) == [name]
    told = of_vllm(of_servers, "mine", "vllm/bin/python")
    assert repeat_words(told)[4:6] == ["--engine-python", "PYTHON"]
    assert repeat_notes(told) == [name, WHERE]
    assert repeat_notes(of_vllm(of_servers, "mine"), told) == [name, WHERE]


def test_a_plan_written_from_adapters_names_no_python_s_path(of_servers: Path) -> None:
    own = ("--adapter", "chat=/home/me/chat", "--engine", "vllm")
    told = of_vllm(of_servers, "chat", written_from=(*own, "--engine-python", "/home/me/vllm/bin/python"))
    assert repeat_words(told)[2:10] == [*own, "--engine-python", "PYTHON", "--rounds", "3"]
    assert repeat_notes(told) == [WHERE, PATHS]
    without = of_vllm(of_servers, "chat", written_from=own)
    assert "--engine-python" not in repeat_words(without)
    assert repeat_notes(without) == [PATHS]


def test_it_is_a_command_line_of_a_sweep(of_servers: Path) -> None:
    options = told(["sweep", *repeat_words(of_vllm(of_servers))])
    assert (options.plan, options.engine_python, options.rounds, options.requests) == ("served", "PYTHON", 3, 8)
