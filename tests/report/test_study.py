"""What a person reads of a language model's run, and of what merging changes of its answers."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generated_runs import EVEN_MS, MS, Took, batched, even_cost, generated, load_generated
from raybench.analysis.tables import Tables
from raybench.model.weights import ModelSpec
from raybench.plan.plan import Configuration
from raybench.report import Screen
from raybench.report import tables as report

ROUNDED = "answers as each adapter's alone, but for rounding."
MERGED = {"gate_error": 0.0131, "gate_tolerance": 0.05, "argmax_agreement": 0.99999, "kl_divergence": 4.2e-4}


def shown(show: Callable[[Screen], object]) -> str:
    out = io.StringIO()
    show(Screen(file=out, width=180))
    return out.getvalue()


def rows_of(text: str) -> list[list[str]]:
    """The lines of a table, as cells."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("generated")
    return Tables(generated(load_generated(folder), folder, even_cost, loads={"lora_merged": MERGED}))


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("batches")
    return Tables(generated(load_generated(folder, batched([1, 8])), folder, even_cost, loads={"lora_merged": MERGED}))


def test_the_study_table_is_there_for_each_part_of_a_request(tables: Tables) -> None:
    text = shown(lambda console: report.study_table(tables, console))
    assert text.startswith("generated on fake device: micro-lm, paired design\n")
    titles = (
        "TTFT, time to first token",
        "TPOT, time per output token after the first",
        "End to end, from the request to its last token",
    )
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    rows = [row for row in rows_of(text) if row and row[0] == "LoRA Separate"]
    assert [row[2] for row in rows] == ["12.000 ms", "2.600 ms", "19.80 ms"]
    assert rows[0][3] == "12.000 / 10.000 ms: +20.0 % [+20.0 %, +20.0 %] slower"
    assert rows[1][3] == "2.600 / 2.000 ms: +30.0 % [+30.0 %, +30.0 %] slower"
    assert rows[2][3:5] == ["202.0", "19.80 / 16.00 ms: +23.7 % [+23.7 %, +23.8 %] slower"]
    assert text.count("tokens/s") == 1
    assert text.count("Each percentage is of the two means before it") == 1
    assert "Each against the reference of its own batch" not in text


def test_the_verdicts_of_all_parts_are_one_line(tables: Tables) -> None:
    lines = report.verdict_lines(tables)
    assert lines[1] == (
        "LoRA Separate against Full FT: TTFT +20.0 % [+20.0 %, +20.0 %] slower; "
        "TPOT +30.0 % [+30.0 %, +30.0 %] slower; end to end +23.7 % [+23.7 %, +23.8 %] slower"
    )
    merged = next(line for line in lines if line.startswith("LoRA Merged against Full FT"))
    assert "TPOT +0.5 % [+0.5 %, +0.5 %] equivalent (within ±2 %)" in merged
    assert len(lines) == 6 + 1


def test_what_is_inconclusive_says_what_would_settle_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        return Took(int(10 * MS * rng.lognormal(0, 0.2)), [int(EVEN_MS[c.strategy][1] * MS) + round_index * 99] * 3)

    tables = Tables(generated(load_generated(tmp_path), tmp_path, cost))
    tables.connection.execute("UPDATE by_strategy SET more_rounds = 12 WHERE more_rounds IS NOT NULL")
    lines = report.verdict_lines(tables)
    line = next(line for line in lines if line.startswith("LoRA Merged against Full FT"))
    assert "] inconclusive (about " in line
    assert " more rounds); TPOT +0.5 %" in line
    assert "Rounds in brackets: so many more would settle it, if ratio and spread stay as they are." in lines


def test_what_no_sensible_number_of_rounds_settles_says_what_would(tmp_path: Path) -> None:
    tables = Tables(generated(load_generated(tmp_path), tmp_path, even_cost))
    tables.connection.execute(
        "UPDATE by_strategy SET verdict = 'inconclusive', more_rounds = 8546, disputed = false "
        "WHERE verdict IS NOT NULL AND strategy = 'lora_merged' AND reference_strategy = 'full_ft' AND measure = 'tpot'"
    )
    lines = report.verdict_lines(tables)
    line = next(line for line in lines if line.startswith("LoRA Merged against Full FT"))
    assert "TPOT +0.5 % [+0.5 %, +0.5 %] inconclusive (not to be settled by more rounds on this machine); end" in line
    would = "visits differ by more than their requests do, so a quieter machine would, or a wider margin."
    assert f"Not to be settled by more rounds on this machine: {would}" in lines
    assert not any(line.startswith("Rounds in brackets") for line in lines)


def test_rows_of_other_batches_stand_beside_each_other(batches: Tables) -> None:
    text = shown(lambda console: report.print_everything(batches, console))
    assert "\\n" not in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if " against " not in line) <= 180
    assert "vs Full FT (95 % interval)" in text
    assert "Each against the reference of its own batch, data type, cache and load." in text
    assert "LoRA Separate (batch 8) against Full FT (batch 8): TTFT +20.0 %" in text
    along = text[text.index("By batch (wall time, milliseconds)") : text.index("Percentiles of TTFT")]
    rows = [row for row in rows_of(along) if row and row[0] == "lora_separate"]
    assert [row[1:6] for row in rows] == [
        ["1", "end to end", "19.800", "202.0", "full_ft"],
        ["8", "end to end", "19.800", "1616.1", "full_ft"],
        ["1", "TTFT", "12.000", "202.0", "full_ft"],
        ["8", "TTFT", "12.000", "1616.1", "full_ft"],
        ["1", "TPOT", "2.600", "202.0", "full_ft"],
        ["8", "TPOT", "2.600", "1616.1", "full_ft"],
    ]
    for title in ("Percentiles of TTFT", "Percentiles of TPOT", "Percentiles of end to end", "Tokens a second (change"):
        assert title in text
    tokens = text[text.index("Tokens a second") :]
    assert next(row for row in rows_of(tokens) if row and row[0] == "LoRA Separate")[:4] == [
        "LoRA Separate",
        "202.0",
        "Full FT",
        "-19.2 %",
    ]


def test_a_run_of_one_batch_has_no_table_along_it(tables: Tables) -> None:
    assert "By batch" not in shown(lambda console: report.print_everything(tables, console))


def fidelity(folder: Path, loads: Mapping[str, Mapping[str, Any]], **given: Any) -> list[str]:
    return report.fidelity_lines(Tables(generated(load_generated(folder), folder, even_cost, loads=loads, **given)))


def test_what_merging_changes_stands_under_the_study_table(tables: Tables, batches: Tables) -> None:
    line = "logits differ by 1.3 %, 99.9 % of greedy tokens agree, KL 0.00042, against each adapter alone."
    assert report.fidelity_lines(tables) == [f"LoRA Merged: {line}"]
    assert report.fidelity_lines(batches) == [f"LoRA Merged, LoRA Merged (batch 8): {line}"]
    text = shown(lambda console: report.print_summary(tables, console))
    assert text.index("Each percentage is of") < text.index(line) < text.index("LoRA Separate against Full FT")


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ({}, []),
        ({"gate_error": 9e-6, "argmax_agreement": 1.0, "kl_divergence": 1e-12}, [ROUNDED]),
        (
            {"gate_error": 1e-5, "argmax_agreement": 1.0, "kl_divergence": 0.0},
            ["logits differ by 0.001 %, 100 % of greedy tokens agree, KL 0, against each adapter alone."],
        ),
        (
            {"gate_error": 0.0, "argmax_agreement": 0.5, "kl_divergence": 1e-9},
            ["logits differ by 0 %, 50 % of greedy tokens agree, KL 1e-09, against each adapter alone."],
        ),
        ({"gate_error": 0.2}, ["logits differ by 20 %, against each adapter alone."]),
        (
            {"gate_error": 1e-7, "untied_bytes": 131_072_000},
            [ROUNDED, "131.1 MB more, for a copy of embeddings that were tied."],
        ),
        (
            {"gate_error": 1e-7, "untied_bytes": 4096},
            [ROUNDED, "4.1 KB more, for a copy of embeddings that were tied."],
        ),
    ],
    ids=["no gate", "rounding", "above rounding", "another token", "before version 4", "untied", "untied, small"],
)
def test_what_merging_changes_is_told_and_that_it_changes_nothing(
    tmp_path: Path, row: dict[str, Any], lines: list[str]
) -> None:
    assert fidelity(tmp_path, {"lora_merged": row}) == [f"LoRA Merged: {line}" for line in lines]


def test_of_a_classifier_labels_agree(tmp_path: Path) -> None:
    (line,) = fidelity(tmp_path, {"lora_merged": MERGED}, model=ModelSpec("micro", "preset_device"))
    assert "99.9 % of labels agree" in line
