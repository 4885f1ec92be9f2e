"""Two runs whose latencies are known, compared."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from compared_runs import USUAL, Edit, Make, close, compared, of, opened
from raybench import compare as module
from raybench.compare import RunComparison, compare
from raybench.records import InputError
from raybench.run_pairing import measured

STRATEGY = {"fullft": "full_ft", "lora_merged": "lora_merged", "lora": "lora_separate", "multi_lora": "multi_lora"}


def strategy_of(configuration: str) -> str:
    return next(STRATEGY[k] for k in ("fullft", "lora_merged", "multi_lora", "lora") if configuration.startswith(k))


@pytest.fixture(autouse=True, scope="module")
def _open_and_compare_once() -> Iterator[None]:
    """`run` opens a run once, and compares two once: neither changes a run, which a test below holds it to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Tables", opened)
        patch.setattr(module, "compare", compared)
        yield


def command(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(a) for a in argv]))


def verdicts(found: RunComparison) -> dict[str, tuple[str, str | None]]:
    return {r.configuration: (r.absolute.verdict, r.relative and r.relative.verdict) for r in found.rows}


def test_equal_runs_are_equivalent_both_ways(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d.update(run_id="again")))
    assert [r.configuration for r in found.rows] == [
        "fullft_mrpc_seed42",
        "fullft_sst2_seed42",
        "lora_mrpc_seed42",
        "lora_sst2_seed42",
        "lora_merged_mrpc_seed42",
        "lora_merged_sst2_seed42",
        "multi_lora_2_adapters",
    ]
    assert set(verdicts(found).values()) == {("equivalent", "equivalent")}
    for row in found.rows:
        for change in (row.absolute, row.relative):
            assert change is not None
            assert (change.estimate.ratio, change.estimate.interval(), change.p_holm) == (1.0, (1.0, 1.0), 1.0)
        assert row.a_ms == row.b_ms == pytest.approx(USUAL[strategy_of(row.configuration)])
    assert (found.differences, found.notes, found.left_out) == ((), (), ())


def test_a_noisy_run_compared_with_itself_is_equivalent(make: Make) -> None:
    """Visits differ by a quarter, by noise and by the lengths of their requests; unpaired that would be uncertainty."""
    root = make(noise=0.3, per_token=0.05, rounds=4)
    found = of(root, root)
    assert set(verdicts(found).values()) == {("equivalent", "equivalent")}
    assert {r.absolute.estimate.ratio for r in found.rows} == {1.0}
    levels = [v.log for v in measured(opened(root), everything(root)).absolute["lora_mrpc_seed42"].values()]
    assert scipy.stats.sem(levels) > 0.05
    assert found.notes == ("A and B are the same run.",)


def everything(root: Path) -> Any:
    return opened(root).query("SELECT DISTINCT configuration, task, request FROM timed")


def test_all_slower_alike_shows_absolute_and_not_relative(make: Make) -> None:
    found = of(make(), make({name: 1.1 * ms for name, ms in USUAL.items()}))
    assert set(verdicts(found).values()) == {("slower", "equivalent")}
    for row in found.rows:
        assert row.relative is not None
        assert close([row.absolute.estimate.ratio, *row.absolute.estimate.interval()], 1.1)
        assert close([row.relative.estimate.ratio, *row.relative.estimate.interval()], 1.0)
        assert row.b_ms / row.a_ms == pytest.approx(1.1, rel=1e-9)


def test_one_strategy_slower_shows_relative_too(make: Make) -> None:
    found = of(make(), make({"lora_separate": 5.5}))
    by_name = verdicts(found)
    assert by_name["lora_mrpc_seed42"] == by_name["lora_sst2_seed42"] == ("slower", "slower")
    assert by_name["lora_merged_mrpc_seed42"] == ("equivalent", "equivalent")
    # Their reference is the separate adapter, which became slower.
    assert by_name["fullft_mrpc_seed42"] == by_name["multi_lora_2_adapters"] == ("equivalent", "faster")
    rows = {r.configuration: r for r in found.rows}
    slower = rows["lora_mrpc_seed42"]
    assert slower.reference == "full_ft"
    assert slower.relative is not None
    assert close([slower.relative.estimate.ratio, *slower.relative.estimate.interval()], 1.1)
    multi = rows["multi_lora_2_adapters"]
    assert multi.reference == "lora_separate"  # measured beside it; full fine-tuning was not
    assert multi.relative is not None
    assert close([multi.relative.estimate.ratio], 1 / 1.1)


def test_noise_is_inconclusive_and_tells_how_many_rounds_more(make: Make) -> None:
    found = of(make(noise=0.3, seed=1), make(noise=0.3, seed=2))
    for row in found.rows:
        assert row.relative is not None
        assert row.absolute.verdict == row.relative.verdict == "inconclusive"
        assert row.relative.more_rounds is not None
        assert row.relative.more_rounds > 0


def test_the_margin_is_that_of_a(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d["plan"].update(margin=0.05)))
    assert found.margin == 0.02


def test_one_launch_each_is_inconclusive(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make(design="independent", rounds=1), make({"lora_separate": 50.0}, design="independent", rounds=1)
    found = of(a, b)
    assert set(verdicts(found).values()) == {("inconclusive", "inconclusive")}
    assert found.notes[0].startswith("A configuration and its reference were measured in different visits")
    assert command(a, b, "--json") == 0
    row = next(r for r in json.loads(capsys.readouterr().out)["rows"] if r["configuration"] == "lora_mrpc_seed42")
    assert row["relative"] == {
        "ratio": pytest.approx(10),
        "low": None,
        "high": None,
        "visits": 1,
        "method": "paired",
        "p": None,
        "p_holm": None,
        "p_equivalence": None,
        "verdict": "inconclusive",
        "more_rounds": None,
    }


def test_fail_on_is_the_exit_code(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    base = make()
    slow_machine = make({name: 1.1 * ms for name, ms in USUAL.items()})
    slow_strategy = make({"lora_merged": 4.5})
    assert command(base, slow_machine) == 0
    assert command(base, slow_machine, "--fail-on", "slower,faster,inconclusive") == 0
    assert command(base, slow_machine, "--fail-on", "slower", "--by", "absolute") == 1
    assert command(slow_machine, base, "--fail-on", "slower", "--by", "absolute") == 0
    assert command(slow_machine, base, "--fail-on", "slower", "--fail-on", "faster", "--by", "absolute") == 1
    assert command(base, slow_strategy) == 0
    capsys.readouterr()
    assert command(base, slow_strategy, "--fail-on", "slower") == 1
    printed = capsys.readouterr().out
    assert printed.endswith("Failed on slower: lora_merged_mrpc_seed42, lora_merged_sst2_seed42\n")
    assert "lora_merged_mrpc_seed42 is slower in B, relative to full_ft: +11.9 %" in printed
    assert command(base, slow_strategy, "--fail-on", "faster,inconclusive") == 0
    assert command(slow_strategy, base, "--fail-on", "faster") == 1
    capsys.readouterr()
    assert command(base, slow_strategy, "--fail-on", "slower", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == ["lora_merged_mrpc_seed42", "lora_merged_sst2_seed42"]
    row = next(r for r in found["rows"] if r["configuration"] == "lora_merged_mrpc_seed42")
    assert (row["a_ms"], row["b_ms"], row["reference"]) == (4.02, 4.5, "full_ft")
    assert row["relative"]["ratio"] == pytest.approx(4.5 / 4.02, rel=1e-9)


def test_without_a_reference_the_absolute_change_counts(
    make: Make, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make(), make({name: 1.1 * ms for name, ms in USUAL.items()})
    a, b = (edit(root, lambda d: d.update(comparisons=[])) for root in (a, b))
    assert command(a, b, "--fail-on", "slower") == 1
    assert "Only the absolute change exists" in capsys.readouterr().out


def test_noise_fails_on_inconclusive_only(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    assert command(a, b, "--fail-on", "slower,faster") == 0
    assert command(a, b, "--fail-on", "inconclusive") == 1


def test_bad_input_is_refused(make: Make, edit: Edit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make()
    with pytest.raises(InputError, match="no run here"):
        command(root, tmp_path)
    with pytest.raises(SystemExit) as refused:
        command(root, root, "--fail-on", "slower,equivalent")
    assert refused.value.code == 2
    assert "'equivalent' is none of slower, faster, inconclusive" in capsys.readouterr().err
    other = edit(root, lambda d: d["plan"].update(requests=99))
    with pytest.raises(InputError, match="no configuration is complete both there and in") as none_complete:
        command(root, other)
    renamed = [{**c, "name": f"other_{c['name']}"} for c in opened(root).description["configurations"]]
    other = edit(root, lambda d: d.update(comparisons=[], configurations=renamed))
    with pytest.raises(InputError, match="no configuration in common with") as none_common:
        command(root, other)
    for raised in (none_complete, none_common):
        assert raised.value.exit_code == 2
        assert "\n" not in str(raised.value)


def test_the_runs_are_left_as_they_were(make: Make) -> None:
    a, b = opened(make()), opened(make(noise=0.05, seed=6, rounds=4, requests=4))
    before = [run.rows("SELECT configuration, n, mean_ms FROM by_configuration") for run in (a, b)]
    assert compare(a, b).rows
    assert [run.rows("SELECT configuration, n, mean_ms FROM by_configuration") for run in (a, b)] == before
