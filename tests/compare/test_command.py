"""Two runs whose latencies are known, compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import scipy.stats

from command_lines import bound
from compare.compared_runs import USUAL, Edit, Make, close, compared, of, opened
from raybench import cli
from raybench.compare import command as module
from raybench.compare.command import RunComparison, compare
from raybench.compare.pairing import measured
from raybench.records import InputError

STRATEGY = {"fullft": "full_ft", "lora_merged": "lora_merged", "lora": "lora_separate", "multi_lora": "multi_lora"}


BY_NOISE = 1e-5
"""How far the noise of `make` moves what would be exact."""


def strategy_of(configuration: str) -> str:
    return next(STRATEGY[k] for k in ("fullft", "lora_merged", "multi_lora", "lora") if configuration.startswith(k))


@pytest.fixture(autouse=True, scope="module")
def _open_and_compare_once() -> Iterator[None]:
    """`run` opens a run once, and compares two once: neither changes a run, which a test below holds it to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Views", opened)
        patch.setattr(module, "compare", compared)
        yield


def command(*argv: object) -> int:
    _, found = bound(["compare", *map(str, argv)])
    return module.run(found["before"], found["after"], found["options"])


def verdicts(found: RunComparison) -> dict[str, tuple[str, str | None]]:
    return {r.name: (r.absolute.verdict, r.relative and r.relative.verdict) for r in found.configurations}


def test_equal_runs_are_equivalent_both_ways(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d.update(run_id="again")))
    assert [r.name for r in found.deployments] == ["Full FT", "LoRA Separate", "LoRA Merged", "Multi-adapter (2)"]
    assert [r.name for r in found.configurations] == [
        "fullft_mrpc_seed42",
        "fullft_sst2_seed42",
        "lora_mrpc_seed42",
        "lora_sst2_seed42",
        "lora_merged_mrpc_seed42",
        "lora_merged_sst2_seed42",
        "multi_lora_2_adapters",
    ]
    assert set(verdicts(found).values()) == {("equivalent", "equivalent"), ("equivalent", None)}
    for row in (*found.deployments, *found.configurations):
        for change in (row.absolute, *([row.relative] if row.relative else [])):
            assert (change.estimate.ratio, change.estimate.interval(), change.p_holm) == (1.0, (1.0, 1.0), 1.0)
        assert row.a_ms == row.b_ms == pytest.approx(USUAL[strategy_of(row.configurations[0])])
    assert (found.differences, found.notes, found.left_out) == ((), (), ())


def test_a_noisy_run_compared_with_itself_is_equivalent(make: Make) -> None:
    """Visits differ by a quarter, by noise and by the lengths of their requests; unpaired that would be uncertainty."""
    root = make(noise=0.4, per_token=0.05, rounds=4)
    found = of(root, root)
    assert set(verdicts(found).values()) == {("equivalent", "equivalent"), ("equivalent", None)}
    assert {r.absolute.estimate.ratio for r in found.configurations} == {1.0}
    levels = [v.log for v in measured(opened(root), None).absolute["lora_mrpc_seed42", "end_to_end"].values()]
    assert scipy.stats.sem(levels) > 0.05
    assert found.notes == ("A and B are the same run.",)


def test_all_slower_alike_shows_absolute_and_not_relative(make: Make) -> None:
    found = of(make(), make({name: 1.1 * ms for name, ms in USUAL.items()}))
    assert set(verdicts(found).values()) == {("slower", "equivalent"), ("slower", None)}
    for row in (*found.deployments, *found.configurations):
        assert close([row.absolute.estimate.ratio, *row.absolute.estimate.interval()], 1.1, BY_NOISE)
        if row.relative is not None:
            assert close([row.relative.estimate.ratio, *row.relative.estimate.interval()], 1.0, BY_NOISE)
        assert row.b_ms / row.a_ms == pytest.approx(1.1, rel=BY_NOISE)


def test_one_strategy_slower_makes_no_other_one_faster(make: Make) -> None:
    found = of(make(), make({"lora_separate": 5.5}))
    by_name = verdicts(found)
    assert by_name["lora_mrpc_seed42"] == by_name["lora_sst2_seed42"] == ("slower", "slower")
    assert by_name["lora_merged_mrpc_seed42"] == by_name["multi_lora_2_adapters"] == ("equivalent", "equivalent")
    assert by_name["fullft_mrpc_seed42"] == ("equivalent", None)
    rows = {r.name: r for r in found.deployments}
    slower = rows["LoRA Separate"]
    assert slower.relative is not None
    assert close([slower.relative.estimate.ratio, *slower.relative.estimate.interval()], 1.1, BY_NOISE)
    # Its counterparts became slower as the links of its chain say: 5.5 / 5.5 times 5.5 / 4, as 5.5 / 5 times 5 / 4.
    multi = rows["Multi-adapter (2)"]
    assert multi.relative is not None
    assert close([multi.relative.estimate.ratio], 1.0, BY_NOISE)


def test_a_faster_baseline_makes_the_others_slower_relative_to_it_and_is_named(make: Make) -> None:
    found = of(make(), make({"full_ft": 3.6}, seed=1))
    assert {(r.name, r.absolute.verdict, r.relative and r.relative.verdict) for r in found.deployments} == {
        ("Full FT", "faster", None),
        ("LoRA Separate", "equivalent", "slower"),
        ("LoRA Merged", "equivalent", "slower"),
        ("Multi-adapter (2)", "equivalent", "slower"),
    }


def test_noise_is_inconclusive_and_tells_how_many_rounds_more(make: Make) -> None:
    found = of(make(noise=0.3, seed=1), make(noise=0.3, seed=2))
    for row in found.configurations:
        assert row.absolute.verdict == "inconclusive"
        if row.relative is not None:
            assert row.relative.verdict == "inconclusive"
            assert row.relative.more_rounds is not None
            assert row.relative.more_rounds > 0


def test_where_a_single_device_stands_against_others_nothing_is_judged(
    make: Make, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make(), make({"lora_separate": 8.0}, devices=3)
    found = of(a, b)
    assert found.notes[0].startswith("All: measured on different devices, in one run on a single one: nothing tells")
    assert set(verdicts(found).values()) == {("inconclusive", "inconclusive"), ("inconclusive", None)}
    separate = next(r for r in found.configurations if r.name == "lora_mrpc_seed42")
    assert separate.relative is not None
    assert separate.relative.unknown == "one device"
    assert close([separate.relative.estimate.ratio], 8 / 5, BY_NOISE)
    assert separate.relative.estimate.interval() == (0.0, math.inf)
    assert command(a, b) == 0
    assert "Nothing can be judged: nothing tells how far devices differ; compare" in capsys.readouterr().out
    assert command(a, b, "--fail-on", "slower", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed_because"] == ["nothing can be judged"]
    assert {row["absolute"]["unknown"] for row in printed["deployments"]} == {"one device"}
    assert of(b, make(devices=3, noise=0.01)).notes == ()
    assert of(a, edit(a, lambda d: None)).notes == ()


def test_a_block_that_was_on_one_device_in_each_run_is_not_judged_though_the_runs_used_the_same(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when a GPU comes late: 5 % in the block of mrpc may be the one GPU's, in that of sst2 it is not."""
    a = make(noise=0.001, on={"mrpc_seed42": 0, "sst2_seed42": 1})
    b = make({"lora_separate": 5.25}, noise=0.001, seed=1, on={"mrpc_seed42": 1, "sst2_seed42": 1})
    found = of(a, b)
    rows = {row.name: row for row in found.configurations}
    assert found.notes[0].startswith("fullft_mrpc_seed42, lora_mrpc_seed42, lora_merged_mrpc_seed42: measured on diff")
    for name, unknown, verdict in (("mrpc", "one device", "inconclusive"), ("sst2", None, "slower")):
        relative = rows[f"lora_{name}_seed42"].relative
        assert relative is not None
        assert (relative.unknown, relative.verdict) == (unknown, verdict)
    assert command(a, b, "--fail-on", "faster", "--each") == 1
    assert "Failed on cannot be judged: lora_mrpc_seed42, lora_merged_mrpc_seed42" in capsys.readouterr().out


def test_devices_are_taken_as_alike_where_that_is_asked_for(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    how = {"noise": 0.01, "rounds": 6}
    a, b, same = make(**how, seed=1), make(**how, seed=2, devices=2), make(**how, seed=2)
    assert command(a, b, "--devices-alike") == 0
    assert "Devices are taken as alike, as asked: all count as one." in capsys.readouterr().out
    alike = compare(opened(a), opened(b), devices_alike=True)
    # As it would be had all been measured on one.
    assert [(r.absolute, r.relative) for r in alike.rows()] == [(r.absolute, r.relative) for r in of(a, same).rows()]
    assert {row.absolute.method for row in alike.rows()} == {"paired"}
    c = make({"lora_separate": 8.0}, devices=3)
    assert command(make(), c, "--fail-on", "slower", "--devices-alike") == 1
    assert "LoRA Separate is slower in B, relative to Full FT: +60.0 %" in capsys.readouterr().out


def test_the_margin_is_that_of_a(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d["plan"].update(margin=0.05)))
    assert found.margin == 0.02


def test_one_launch_each_is_inconclusive(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make(design="independent", rounds=1), make({"lora_separate": 50.0}, design="independent", rounds=1)
    found = of(a, b)
    assert set(verdicts(found).values()) == {("inconclusive", "inconclusive"), ("inconclusive", None)}
    assert found.notes[0].startswith("A configuration and the baseline were measured in different visits")
    assert command(a, b, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["configurations"]
    row = next(r for r in rows if r["name"] == "lora_mrpc_seed42")
    assert row["relative"] == {
        "ratio": pytest.approx(10),
        "low": None,
        "high": None,
        "visits": 1,
        "method": "paired",
        "unknown": "one visit",
        "p": None,
        "p_holm": None,
        "p_equivalence": None,
        "verdict": "inconclusive",
        "more_rounds": None,
    }
    assert command(a, b, "--fail-on", "slower") == 1
    assert capsys.readouterr().out.endswith("Failed on nothing can be judged\n")


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
    assert printed.endswith("Failed on slower: LoRA Merged\n")
    assert "LoRA Merged is slower in B, relative to Full FT: +11.9 %" in printed
    assert command(base, slow_strategy, "--fail-on", "faster,inconclusive") == 0
    assert command(slow_strategy, base, "--fail-on", "faster") == 1
    capsys.readouterr()
    assert command(base, slow_strategy, "--fail-on", "slower", "--each", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == ["lora_merged_mrpc_seed42", "lora_merged_sst2_seed42"]
    assert found["failed_because"] == ["slower: lora_merged_mrpc_seed42, lora_merged_sst2_seed42"]
    row = next(r for r in found["deployments"] if r["name"] == "LoRA Merged")
    assert (row["a_ms"], row["b_ms"]) == pytest.approx((4.02, 4.5), rel=BY_NOISE)
    assert found["baseline"] == "full_ft"
    assert row["relative"]["ratio"] == pytest.approx(4.5 / 4.02, rel=BY_NOISE)


def test_what_is_no_longer_complete_fails_whatever_is_failed_on(
    make: Make, incomplete_pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = incomplete_pair[1]
    assert command(make(), broken) == 0
    assert command(make(), broken, "--fail-on", "faster") == 1
    lost = "complete in A and not in B: lora_mrpc_seed42, lora_sst2_seed42"
    assert f"Failed on {lost}\n" in capsys.readouterr().out
    assert command(broken, make(), "--fail-on", "faster") == 0  # more than there was


def test_without_a_baseline_only_the_absolute_change_can_be_failed_on(
    make: Make, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make(), make({name: 1.1 * ms for name, ms in USUAL.items()})
    a, b = (edit(root, lambda d: d.update(comparisons=[])) for root in (a, b))
    assert command(a, b) == 0
    assert "Nothing was measured beside Full FT in both runs" in capsys.readouterr().out
    assert command(a, b, "--fail-on", "slower", "--by", "absolute") == 1
    with pytest.raises(InputError, match="--by absolute"):
        command(a, b, "--fail-on", "slower")


def test_noise_fails_on_inconclusive_only(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    assert command(a, b, "--fail-on", "slower,faster") == 0
    assert command(a, b, "--fail-on", "inconclusive") == 1


def test_equal_runs_fail_as_seldom_as_promised(make: Make) -> None:
    """Visits of either run differ by noise alone: of 16 gates at 5 % one is to be expected, five in one of 1,000."""
    runs = [make(noise=0.1, seed=seed, rounds=4, requests=4) for seed in range(100, 108)]
    failed = sum(
        command(a, b, "--fail-on", "slower,faster", "--json")
        for k in (1, 3)
        for a, b in zip(runs, runs[k:] + runs[:k], strict=True)
    )
    assert failed <= 4


def test_damaged_runs_are_bad_input(make: Make, edit: Edit) -> None:
    root = make()
    nothing = lambda d: None  # noqa: E731
    torn, impossible = edit(root, nothing), edit(root, lambda d: d["plan"].update(margin=0))
    with next((torn / "samples").iterdir()).open("r+b") as file:
        file.truncate(100)
    strange = edit(root, lambda d: d.pop("plan"))
    for damaged, why in ((torn, "bytes"), (impossible, "margin"), (strange, "run.json")):
        for pair in ((root, damaged), (damaged, root)):
            with pytest.raises(InputError, match=why) as raised:
                command(*pair)
            assert raised.value.exit_code == 2


def test_bad_input_is_refused(make: Make, edit: Edit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make()
    with pytest.raises(InputError, match="no run here"):
        command(root, tmp_path)
    assert cli.main(["compare", str(root), str(root), "--fail-on", "slower,equivalent"]) == 2
    assert "--fail-on: 'equivalent' is none of slower, faster, inconclusive" in capsys.readouterr().err
    other = edit(root, lambda d: d["plan"].update(requests=99))
    with pytest.raises(InputError, match="no configuration is complete both there and in") as none_complete:
        command(root, other)
    renamed = [{**c, "name": f"other_{c['name']}"} for c in opened(root).document["configurations"]]
    other = edit(root, lambda d: d.update(comparisons=[], configurations=renamed))
    with pytest.raises(InputError, match="no configuration in common with") as none_common:
        command(root, other)
    for raised in (none_complete, none_common):
        assert raised.value.exit_code == 2
        assert "\n" not in str(raised.value)


def test_the_runs_are_left_as_they_were(make: Make) -> None:
    a, b = opened(make()), opened(make(noise=0.05, seed=6, rounds=4, requests=4))
    before = [run.rows("SELECT configuration, n, mean_ms FROM by_configuration") for run in (a, b)]
    assert compare(a, b).configurations
    assert [run.rows("SELECT configuration, n, mean_ms FROM by_configuration") for run in (a, b)] == before
