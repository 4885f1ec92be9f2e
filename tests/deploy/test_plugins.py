"""Strategies from outside: found by their entry points, imported when used, refused in one line where wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import raybench
from deploy.shapes import read_from, rows, save_adapter_of, save_shape, up, weights_of
from model.small_checkpoints import deploying
from raybench.deploy import gate, plugins, strategies, strategy_class, strategy_source
from raybench.deploy.strategies import Deployment, LoadCosts, all_traits
from raybench.model.prompts import Prompts
from raybench.model.weights import Weights
from raybench.plan.plan import Configuration
from raybench.records import InputError, RaybenchError, StrategyTraits

SOUND = """
from raybench.deploy import Deployment, Strategy, StrategyTraits

class Found(Strategy):
    traits = StrategyTraits("found", "Found outside", 0, 1)

    def load(self, configuration, weights, costs):
        with costs.time("load"):
            model = weights.base(configuration)
        return Deployment(model, model)
"""
PLAN = """
name = "p"
[[configurations]]
name = "one"
strategy = "found"
seed = 1
task = "mrpc"
[[configurations]]
name = "two"
strategy = "full_ft"
seed = 1
task = "mrpc"
"""

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with a module of this text; what its errors begin with."""
    monkeypatch.setattr(strategies, "STRATEGIES", dict(strategies.STRATEGIES))
    monkeypatch.setattr(strategies, "_SOURCES", {})
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def installed(text: str = SOUND, entry: str = "found", distribution: str = "outside", reference: str = "") -> str:
        module = f"{distribution}_of_{tmp_path.name}".replace("-", "_")
        (folder / f"{module}.py").write_text(text)
        reference = reference or f"{module}:Found"
        info = folder / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{entry} = {reference}\n")
        return f"strategy {entry}: {distribution} 1.2 (entry point {entry} = {reference})"

    return installed


def test_one_is_known_by_its_name_and_imported_when_its_traits_are_asked_for(install: Install) -> None:
    install()
    traits = all_traits()
    assert "found" in traits
    assert list(traits)[-1] == "found"
    assert len(traits) == 7
    assert not any(name.startswith("outside_of_") for name in sys.modules)
    assert traits["found"] == StrategyTraits("found", "Found outside", 0, 1)
    assert any(name.startswith("outside_of_") for name in sys.modules)
    assert strategy_class("found").traits is traits["found"]
    assert strategy_source("found") == "outside 1.2"
    assert strategy_source("full_ft") is None


def test_a_name_that_nothing_has(install: Install) -> None:
    assert "found" not in all_traits()
    with pytest.raises(KeyError):
        all_traits()["found"]
    with pytest.raises(InputError, match=r"^strategy found: not installed here; install the distribution that has it$"):
        strategy_class("found")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_this_name", "does not import: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(3)", "does not import: SystemExit: 3"),
        ("1 +", "does not import: SyntaxError: invalid syntax"),
        ("Other = 1", "does not import: AttributeError: module"),
        ("Found = 1", "is no strategy: it must be a class that derives from raybench.deploy.Strategy"),
        ("class Found: pass", "is no strategy: it must be a class that derives from raybench.deploy.Strategy"),
        ("from raybench.deploy import Strategy\nclass Found(Strategy): pass", "has no load: define it"),
        (
            SOUND.replace('    traits = StrategyTraits("found", "Found outside", 0, 1)\n', ""),
            "has traits 'None': they must be a raybench.deploy.StrategyTraits",
        ),
        (
            SOUND.replace('"found"', '"other"'),
            "has traits.name 'other': it must be that of the entry point, of [A-Za-z0-9._-]",
        ),
        (SOUND.replace('"Found outside"', '""'), "has traits.label '': it must be a text of 1 to 100 characters"),
        (
            SOUND.replace("0, 1)", "2, 1)"),
            "takes 2 to 1 adapters: it must be from 0 to 10000, the lesser number first",
        ),
        (
            SOUND.replace("0, 1)", "True, 1)"),
            "takes True to 1 adapters: it must be from 0 to 10000, the lesser number first",
        ),
        (SOUND.replace("0, 1)", "0, 1, 1)"), "has traits.mixes '1': it must be True or False"),
        (SOUND.replace("0, 1)", "0, 1, True)"), "has traits.mixes and takes at most 1 adapter: to mix takes 2"),
        (
            SOUND.replace("    traits", "    adapter_alone = True\n    traits"),
            "has adapter_alone and takes 0 to 1 adapters: one alone is 1",
        ),
        (
            SOUND.replace("    traits", "    reproduces_adapters = None\n    traits"),
            "has reproduces_adapters 'None': it must be True or False",
        ),
        (
            SOUND.replace('"Found outside"', '"LoRA Merged"'),
            "has the label 'LoRA Merged', which is that of lora_merged: one row of the tables would be of both; "
            "relabel it there",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_distribution_and_entry_point(
    install: Install, text: str, told: str
) -> None:
    begins = install(text)
    for ask in (lambda: all_traits()["found"], lambda: strategy_class("found")):
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value).startswith(f"{begins} {told}")
        assert caught.value.exit_code == 2


def test_a_name_of_two_distributions(install: Install) -> None:
    first = install()
    install(distribution="elsewhere")
    with pytest.raises(InputError) as caught:
        all_traits()["found"]
    second = first.replace("outside 1.2", "elsewhere 1.2").replace("outside_of_", "elsewhere_of_")
    assert str(caught.value) in {
        f"{first} and elsewhere 1.2 both have that name: uninstall one of them",
        f"{second} and outside 1.2 both have that name: uninstall one of them",
    }


def test_a_name_of_raybenchs_own_is_refused_where_it_is_used_and_never_means_the_other(install: Install) -> None:
    begins = install(SOUND.replace('"found"', '"full_ft"'), entry="full_ft")
    with pytest.raises(InputError) as caught:
        all_traits()["full_ft"]
    assert str(caught.value) == f"{begins} has the name of raybench's own: rename it there"
    assert strategy_class("full_ft") is strategies.FullFineTune
    assert all_traits()["lora_merged"].label == "LoRA Merged"


def test_plans_take_it_and_tell_what_is_wrong_with_it_among_their_other_problems(
    install: Install, tmp_path: Path
) -> None:
    from raybench.plan.file import load_plan

    path = tmp_path / "p.toml"
    path.write_text(PLAN)
    begins = install(SOUND.replace("0, 1)", "2, 1)"))
    path.write_text(PLAN.replace('strategy = "full_ft"', 'strategy = "fulft"'))
    with pytest.raises(RaybenchError) as caught:
        load_plan(str(path), all_traits(), ("mrpc",))
    assert caught.value.lines == (
        f"{begins} takes 2 to 1 adapters: it must be from 0 to 10000, the lesser number first",
        f"{path}: configurations[1].strategy: unknown strategy 'fulft'; expected one of base_beside_lora, delay, "
        "found, full_ft, lora_merged, lora_separate, multi_lora; did you mean 'full_ft'?",
    )


class OfItself(strategies.LoraSeparate):
    """Says of the bare base that it is the adapter alone, and that its answers are the adapter's."""

    traits = StrategyTraits("of_itself", "Of itself", 1, 1)
    reproduces_adapters = True

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        model = weights.base(configuration)
        return Deployment(model, model)


def test_one_from_outside_is_never_what_others_or_itself_are_checked_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(strategies, "STRATEGIES", strategies.STRATEGIES | {"of_itself": OfItself})
    monkeypatch.setattr(strategies, "_SOURCES", {"of_itself": "outside 1.2"})
    monkeypatch.setattr(gate, "STRATEGIES", strategies.STRATEGIES)
    base = save_shape("llama", tmp_path / "base")
    path = save_adapter_of("llama", base, tmp_path / "a", target_modules=["q_proj"])
    weights = weights_of(base, "llama")
    configurations = [deploying(read_from(path, "a"), strategy=s) for s in ("of_itself", "lora_merged")]
    loaded = {c.strategy: (c, up(c, base, "llama")) for c in configurations}
    checked = gate.Gate(weights, {"a": [Prompts(rows(), ("a",) * 4, 0)]}, loaded)
    with torch.inference_mode():
        with pytest.raises(gate.GateError, match="logits differ from adapter a alone"):
            checked.check(*loaded["of_itself"])
        assert (checked.check(*loaded["lora_merged"]).error or 1) < 1e-5


def test_the_commands_end_with_2_and_the_line(install: Install, tmp_path: Path) -> None:
    begins = install("raise ValueError('not today')")
    path = tmp_path / "p.toml"
    path.write_text(PLAN)
    found = [str(Path(raybench.__file__).parents[1]), str(tmp_path / "site")]
    ended = subprocess.run(
        [sys.executable, "-m", "raybench", "plan", str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(found)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    line = f"{begins} does not import: ValueError: not today; mend or uninstall it"
    assert line in " ".join(ended.stderr.split()), json.dumps(ended.stderr)
