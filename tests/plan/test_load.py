"""How requests come to servers: what plans say of it, configurations and names that come of it, and goodput."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from plan.test_servers import HEAD, SERVERS, plan_of
from raybench.deploy.strategies import all_traits
from raybench.plan.load import Goodput, Load
from raybench.plan.rows import rows
from raybench.plan.schema import PlanTable
from raybench.records import InputError
from raybench.sweep.describe import deployment

ONE = """
[[configurations]]
name = "{strategy}_{load}"
strategy = "{strategy}"
task = "t"
seed = 1
adapters = {adapters}
"""


def one(strategy: str, adapters: str, further: str) -> str:
    return ONE.replace("{strategy}", strategy).replace("{adapters}", adapters) + further + "\n"


def test_loads_have_names_words_and_json() -> None:
    loads = [
        Load(concurrency=8),
        Load(rate_per_s=2.5),
        Load(rate_per_s=2.0, burstiness=0.5),
        Load(rate_per_s=1_000_000.0),
        Load(trace="a/b.csv", offsets_ns=(1, 2, 3)),
    ]
    assert [load.name for load in loads] == ["c8", "r2.5", "r2", "r1000000", "trace"]
    assert [load.words() for load in loads] == [
        "8 at once",
        "2.5 a second",
        "2 a second, burstiness 0.5",
        "1000000 a second",
        "as traced in b",
    ]
    assert [load.describe() for load in loads] == [
        {"concurrency": 8},
        {"rate_per_s": 2.5, "burstiness": 1.0},
        {"rate_per_s": 2.0, "burstiness": 0.5},
        {"rate_per_s": 1_000_000.0, "burstiness": 1.0},
        {"trace": "a/b.csv", "requests": 3, "digest": hashlib.sha256(b"1,2,3").hexdigest()[:12]},
    ]
    moved = Load(trace="a/b.csv", offsets_ns=(1, 2, 4)).describe()
    assert moved["digest"] != loads[-1].describe()["digest"]


def test_each_load_of_a_table_is_a_configuration_and_what_has_the_same_is_compared(tmp_path: Path) -> None:
    text = HEAD + SERVERS + one("full_ft", "[]", "concurrency = [1, 8]")
    text += one("lora_separate", '["a1"]', "concurrency = [1, 8, 16]")
    plan = plan_of(tmp_path, text)
    assert {c.name: c.load for c in plan.configurations} == {
        "full_ft_c1": None,
        "full_ft_c8": Load(concurrency=8),
        "lora_separate_c1": None,
        "lora_separate_c8": Load(concurrency=8),
        "lora_separate_c16": Load(concurrency=16),
    }
    assert [[c.name for c in block.members] for block in plan.blocks] == [[c.name for c in plan.configurations]]
    assert [(c.configuration, c.references[0].configuration) for c in plan.comparisons] == [
        ("lora_separate_c1", "full_ft_c1"),
        ("lora_separate_c8", "full_ft_c8"),
    ]


def test_a_role_has_its_load_filled_in(tmp_path: Path) -> None:
    text = HEAD + SERVERS + one("full_ft", "[]", 'rate_per_s = [1, 2.5]\nburstiness = 0.25\nrole = "full_{load}"')
    plan = plan_of(tmp_path, text.replace('references = ["full_ft"]', 'references = ["full_r1"]'))
    assert [(c.name, c.role, c.load) for c in plan.configurations] == [
        ("full_ft_r1", "full_r1", Load(rate_per_s=1.0, burstiness=0.25)),
        ("full_ft_r2.5", "full_r2.5", Load(rate_per_s=2.5, burstiness=0.25)),
    ]


def test_a_trace_is_beside_its_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, HEAD + SERVERS + one("full_ft", "[]", 'trace = "monday.csv"'))
    assert [(c.name, c.load) for c in plan.configurations] == [
        ("full_ft_trace", Load(trace=str(tmp_path / "monday.csv")))
    ]


@pytest.mark.parametrize(
    ("loads", "called"),
    [
        (('trace = "a/monday.csv"', 'trace = "b/monday.jsonl"'), "as traced in monday"),
        (("rate_per_s = 1.0", "rate_per_s = 1.00000000001"), "1 a second"),
        (("rate_per_s = 2\nburstiness = 0.5", "rate_per_s = 2\nburstiness = 0.50000001"), "2 a second, burstiness 0.5"),
    ],
)
def test_loads_that_tables_could_not_tell_apart_are_told(tmp_path: Path, loads: tuple[str, str], called: str) -> None:
    text = (
        HEAD + SERVERS + "".join(one("full_ft", "[]", load).replace("_{load}", f"_{i}") for i, load in enumerate(loads))
    )
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, text)
    assert caught.value.lines == (
        f"{tmp_path}/plan.toml: configurations: 'full_ft_0' and 'full_ft_1' have other loads that tables would both "
        f"call {called!r}; give one trace's file another name, or take rates that differ more",
    )


def test_two_traces_are_two_loads(tmp_path: Path) -> None:
    days = ("monday", "tuesday")
    text = (
        HEAD + SERVERS + "".join(one("full_ft", "[]", f'trace = "{d}.csv"').replace("_{load}", f"_{d}") for d in days)
    )
    plan = plan_of(tmp_path, text)
    assert [deployment(c, all_traits()) for c in plan.configurations] == [
        "Full FT (as traced in monday)",
        "Full FT (as traced in tuesday)",
    ]


def test_loads_are_axes_as_batches_are() -> None:
    table = {"name": "x", "strategy": "full_ft", "tasks": ["a", "b"], "seeds": [0], "rate_per_s": [1, 2]}
    parsed = PlanTable.model_validate({"name": "p", "matrix": [table]})
    assert [(row.task, row.fill("{task}-{load}-{batch}")) for row in rows(parsed)] == [
        ("a", "a-r1-1"),
        ("b", "b-r1-1"),
        ("a", "a-r2-1"),
        ("b", "b-r2-1"),
    ]


@pytest.mark.parametrize(
    ("servers", "further", "message"),
    [
        (
            SERVERS,
            "concurrency = 8\nrate_per_s = 2.0",
            "configurations[0]: concurrency and rate_per_s: requests come in one way at a time; keep one of them",
        ),
        (
            SERVERS,
            'rate_per_s = 2.0\ntrace = "x.csv"',
            "configurations[0]: rate_per_s and trace: requests come in one way at a time; keep one of them",
        ),
        (
            SERVERS,
            "burstiness = 0.5",
            "configurations[0].burstiness: goes with rate_per_s, of whose intervals it is; give that, or leave it out",
        ),
        (
            "",
            "concurrency = 8",
            "configurations[0].concurrency: is how requests come to servers, and there are none; add [[servers]], or "
            "leave it out",
        ),
        (
            "",
            'trace = "x.csv"',
            "configurations[0].trace: is how requests come to servers, and there are none; add [[servers]], or leave "
            "it out",
        ),
        (SERVERS, 'concurrency = "8"', "configurations[0].concurrency: expected a whole number or a list of them, got"),
        (SERVERS, 'rate_per_s = "8"', "configurations[0].rate_per_s: expected a number or a list of them, got"),
        (SERVERS, "rate_per_s = 0", "configurations[0].rate_per_s: input should be greater than 0, got '0'"),
        (
            SERVERS,
            "rate_per_s = nan",
            "configurations[0].rate_per_s: input should be less than or equal to 1000000, got 'nan'",
        ),
        (
            SERVERS,
            "concurrency = [8, 901]",
            "configurations[0].concurrency[1]: input should be less than or equal to 900, got '901'",
        ),
        (
            SERVERS,
            "concurrency = [8, 8]",
            "configurations[0].name: duplicate configuration 'full_ft_c8'; every name must be its own ({task}, {seed}, "
            "{batch}, {resident}, {load})",
        ),
    ],
)
def test_a_load_that_cannot_be_is_told(tmp_path: Path, servers: str, further: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, HEAD + servers + one("full_ft", "[]", further))
    assert any(line.startswith(f"{tmp_path}/plan.toml: {message}") for line in caught.value.lines), caught.value.lines


def test_goodput_is_one_limit_or_both(tmp_path: Path) -> None:
    text = HEAD + SERVERS + one("full_ft", "[]", "")
    assert plan_of(tmp_path, text).goodput is None
    assert plan_of(tmp_path, text + "[goodput]\nttft_ms = 500\n").goodput == Goodput(500.0, None)
    both = "[goodput]\nttft_ms = 500.0\ntpot_ms = 50.5\n"
    assert plan_of(tmp_path, text + both).goodput == Goodput(500.0, 50.5)
