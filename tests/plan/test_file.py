"""Plans are checked before anything runs, and a problem is told in one line with its place and its remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plan.plan_texts import ADAPTERS, GOOD, HEAD, MATRIX, MULTI, read, refusal, refusals
from raybench.deploy.strategies import all_traits
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan import source
from raybench.records import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def test_the_plan_that_the_errors_below_are_made_from_is_good(path: Path) -> None:
    plan, workload = read(path, GOOD)
    assert [c.name for c in plan.configurations] == ["x_mrpc_1", "x_sst2_1", "both"]
    assert (plan.rounds, plan.requests, plan.warmups, plan.turn_requests) == (10, 50, 10, 1)
    assert workload is None


# One bad plan a row: what is put in place of what, and each thing that the message must say.
SPELLING = [
    pytest.param(HEAD, HEAD + "round = 3\n", ["round:", "unknown key 'round'", "did you mean 'rounds'"], id="top"),
    pytest.param("alpha = 8", "alpha = 8\nalpa = 8", ["adapters[0].alpa", "did you mean 'alpha'"], id="adapters"),
    pytest.param("alpha = 8", "alpa = 8", ["adapters[0].alpa", "did you mean 'alpha'"], id="required"),
    pytest.param("seed = 1\n", "sede = 1\n", ["configurations[0].sede", "did you mean 'seed'"], id="required-single"),
    pytest.param(MULTI, MULTI + 'rutting = "blocked"\n', ["[0].rutting", "did you mean 'routing'"], id="configuration"),
    pytest.param(
        '"lora_separate"',
        '"lora_seperate"',
        ["matrix[0].strategy", "full_ft, lora_merged, lora_separate, multi_lora", "did you mean 'lora_separate'"],
        id="strategy",
    ),
    pytest.param(
        'tasks = ["mrpc", "sst2"]', 'tasks = ["mrpc", "sts2"]', ["adapters[0].tasks", "did you mean 'sst2'"], id="task"
    ),
    pytest.param(
        '["mrpc_s1", "sst2_s1"]',
        '["mrpc_s1", "sst_s1"]',
        ["configurations[0].adapters", "unknown adapter 'sst_s1'", "mrpc_s1, sst2_s1", "did you mean 'sst2_s1'"],
        id="adapter",
    ),
    pytest.param(
        MULTI,
        MULTI + 'routing = "round-robin"\n',
        [
            "configurations[0].routing",
            "'round_robin', 'blocked', 'mixed', ",
            "did you mean 'round_robin'",
        ],
        id="routing",
    ),
    pytest.param(
        MULTI, MULTI + 'dtype = "bfloat"\n', ["[0].dtype", "'float32'", "did you mean 'bfloat16'"], id="dtype"
    ),
    pytest.param(HEAD, HEAD + 'references = ["full"]\n', ["references[0]", "did you mean 'full_ft'"], id="reference"),
    pytest.param(
        MULTI,
        MULTI + '[workload]\ntexts = "t.jsonl"\ntext_colum = "t"\n',
        ["workload.text_colum", "did you mean 'text_column'"],
        id="workload",
    ),
]


@pytest.mark.parametrize(("old", "new", "parts"), SPELLING)
def test_a_misspelling_is_told_with_its_key_what_was_expected_and_the_nearest_spelling(
    path: Path, old: str, new: str, parts: list[str]
) -> None:
    assert old in GOOD
    message = refusals(path, GOOD.replace(old, new, 1))[0]
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(HEAD + "rounds = = 3", id="syntax"),
        pytest.param(HEAD + HEAD, id="duplicate-key"),
        pytest.param(HEAD + "x = " + "[" * 3000 + "]" * 3000, id="nested-lists"),
        pytest.param(HEAD + "x = " + "{a=" * 3000 + "1" + "}" * 3000, id="nested-tables"),
        pytest.param("", id="empty"),
        pytest.param(HEAD, id="nothing-to-run"),
        pytest.param(b"\xff\xfe", id="not-utf8"),
        pytest.param(b"\x00", id="null-byte"),
        pytest.param("# " + "x" * 1_000_000, id="huge"),
        pytest.param(HEAD + "q" * 5000 + " = 1", id="long-key"),
        pytest.param(HEAD + '"a\\nb" = 1\n' + ADAPTERS + MATRIX, id="newline-in-key"),
        pytest.param(GOOD.replace('"lora_separate"', '"lora\\nseparate"'), id="newline-in-strategy"),
    ],
)
def test_whatever_the_file_holds_the_answer_is_one_line(path: Path, text: str | bytes) -> None:
    refusal(path, text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (HEAD + "rounds = = 3", "not valid TOML"),
        ("# " + "x" * 1_000_000, "larger than 1000000 bytes"),
        (f"rounds = {'9' * 100_000}", "not valid TOML"),
        ("a." * 50_000 + "b = 1", "a key of more than 100 parts"),
        ("x = {" + "'a' . " * 10_000 + "b = 1}", "a key of more than 100 parts"),
        ("x = " + "[" * 100_000, "not valid TOML"),
        (HEAD, "configurations: none; add a [[configurations]] or [[matrix]] table"),
        (b"\xff\xfe", "cannot be read"),
        ("", "name: field required"),
    ],
)
def test_the_file_itself_is_named_as_the_problem(path: Path, text: str | bytes, part: str) -> None:
    assert part in refusal(path, text)


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_file_of_a_size_is_not_read_for_ever(path: Path, kind: str) -> None:
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    with pytest.raises(InputError, match="cannot be read: not a regular file"):
        plan_file.load_plan(str(path), {}, ())


def test_all_that_is_wrong_with_the_types_is_told_at_once(path: Path) -> None:
    assert refusals(path, HEAD + "rounds = 0\nrequests = 0\nwarmups = -1\nround = 3\n" + ADAPTERS + MATRIX) == [
        "rounds: input should be greater than or equal to 1, got '0'",
        "requests: input should be greater than or equal to 1, got '0'",
        "warmups: input should be greater than or equal to 0, got '-1'",
        "round: unknown key 'round'; expected one of accelerator_type, adapters, claims, configurations, description, "
        "goodput, margin, matrix, model, name, order_seed, references, ...; did you mean 'rounds'?",
    ]


def test_all_that_does_not_hold_together_is_told_at_once_and_once(path: Path) -> None:
    text = GOOD.replace('"mine"', '"my plan"').replace("lora_separate", "lora_seperate")
    text = text.replace('["mrpc_s1", "sst2_s1"]', '["mrpc_s1", "sst2_s2"]') + 'role = "a b"\n'
    text = text.replace("[[adapters]]", 'references = ["full"]\n[[adapters]]', 1)
    assert refusals(path, text + '[[claims]]\nstrategy = "x"\nreference = "y"\n') == [
        "name: 'my plan' is not a name; use letters, digits, '.', '_' and '-', starting with one of the first two",
        "matrix[0].strategy: unknown strategy 'lora_seperate'; expected one of base_beside_lora, delay, full_ft, "
        "lora_merged, lora_separate, multi_lora; did you mean 'lora_separate'?",
        "configurations[0].adapters: unknown adapter 'sst2_s2'; expected one of mrpc_s1, sst2_s1; did you mean "
        "'sst2_s1'?",
        "configurations[0].role: 'a b' is not a name; use letters, digits, '.', '_' and '-', starting with one of the "
        "first two",
        "references[0]: unknown strategy 'full'; expected one of a b, base_beside_lora, delay, full_ft, lora_merged, "
        "lora_separate, lora_seperate, multi_lora; did you mean 'full_ft'?",
        "claims[0].strategy: unknown strategy 'x'; expected one of a b, lora_seperate",
        "claims[0].reference: unknown reference 'y'; expected one of full",
    ]


def test_a_misspelt_key_is_not_also_told_as_missing(path: Path) -> None:
    lines = refusals(path, GOOD.replace('tasks = ["mrpc", "sst2"]', 'task = ["mrpc", "sst2"]', 1))
    assert [line.partition(";")[0] for line in lines] == ["adapters[0].task: unknown key 'task'"]


@pytest.mark.parametrize("value", ["3", "[3]", "[]", '""', "true"])
def test_target_modules_are_names_or_a_pattern_and_told_in_one_line(path: Path, value: str) -> None:
    line = refusal(path, GOOD.replace("alpha = 8", f"target_modules = {value}", 1))
    assert line.startswith("adapters[0].target_modules")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("rq3", ["'rq3'", "rq2, served, served-llama, ...", "did you mean 'rq2'"]),
        ("", ["no such shipped plan", "rq2, served, served-llama, ..."]),
        ("{tmp}", ["no such shipped plan", ".toml"]),
        ("{tmp}/none.toml", ["no such plan file", "rq2, served, served-llama, "]),
        ("{tmp}/folder.toml", ["cannot be read"]),
        ("{tmp}/a\0b.toml", ["cannot be read"]),
        ("{tmp}/a\nb.toml", ["no such plan file"]),
    ],
)
def test_a_plan_that_is_not_there_is_refused_with_the_plans_that_are(
    tmp_path: Path, source: str, parts: list[str]
) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError) as caught:
        plan_file.load_plan(source.format(tmp=tmp_path), all_traits(), glue_tasks())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert [part for part in parts if part not in message] == []


def test_shipped_plans_are_known_by_name() -> None:
    known = (
        "aa",
        "adapters",
        "batch",
        "delays",
        "execution",
        "execution-cuda",
        "lm",
        "mixed",
        "rank",
        "rq2",
        "served",
        "served-llama",
        "served-load",
        "smoke",
    )
    assert source.shipped_plans() == known


def test_the_aa_plan_compares_each_configuration_with_itself_under_another_name() -> None:
    plan, _ = plan_file.load_plan("aa", all_traits(), glue_tasks())
    assert len(plan.comparisons) == len(plan.blocks) == 20
    for comparison in plan.comparisons:
        (reference,) = comparison.references
        ours, other = (
            next(c for c in plan.configurations if c.name == n)
            for n in (comparison.configuration, reference.configuration)
        )
        assert (ours.name[0], other.name[0], comparison.reference_strategy) == ("b", "a", "A")
        assert (ours.strategy, ours.adapters, ours.seed) == (other.strategy, other.adapters, other.seed)


def test_the_delays_plan_has_the_known_delays() -> None:
    plan, _ = plan_file.load_plan("delays", all_traits(), glue_tasks())
    shares = {c.role: c.delay_share for c in plan.configurations if c.strategy == "delay"}
    assert shares == {
        "delay_0pct": 0.0,
        "delay_0.5pct": 0.005,
        "delay_1pct": 0.01,
        "delay_2pct": 0.02,
        "delay_5pct": 0.05,
        "delay_35pct": 0.35,
    }
    assert {c.reference_strategy for c in plan.comparisons} == {"full_ft"}


def test_the_execution_plan_compares_like_with_like() -> None:
    plan, _ = plan_file.load_plan("execution", all_traits(), glue_tasks())
    (block,) = plan.blocks
    assert len(block.configurations) == len(plan.configurations) == 17
    by_name = {c.name: c for c in plan.configurations}
    pairs = {(c.configuration, r.configuration) for c in plan.comparisons for r in c.references}
    alike = {"separate_peft": "merged", "separate_lean": "merged", "separate_fused": "merged_fused"}
    alike |= {"multi_stacked": "merged_fused", "multi_remerge": "merged"}
    for form, merged in alike.items():
        for end in ("", "_compiled"):
            ours, theirs = f"{form}{end}", f"{merged}{end}"
            assert (ours, theirs) in pairs
            assert by_name[ours].execution == by_name[theirs].execution
    assert {c.form for c in plan.configurations} == {None, "lean", "fused", "stacked", "remerge"}
    compared = {(by_name[a].role, by_name[b].role) for a, b in pairs}
    assert {(claim.role, claim.reference) for claim in plan.claims} <= compared
    # What `raybench decide` tells of each form.
    assert {(c.role, c.strategy) for c in plan.configurations if c.role != c.strategy} <= compared


def test_the_execution_plan_for_gpus_compares_like_with_like() -> None:
    plan, _ = plan_file.load_plan("execution-cuda", all_traits(), glue_tasks())
    (block,) = plan.blocks
    assert len(block.configurations) == len(plan.configurations) == 18
    by_name = {c.name: c for c in plan.configurations}
    pairs = {(c.configuration, r.configuration) for c in plan.comparisons for r in c.references}
    for ours, theirs in {"peft": "merged", "lean": "merged", "fused": "merged_fused"}.items():
        for end in ("", "_graph"):
            assert (f"separate_{ours}{end}", f"{theirs}{end}") in pairs
    compared = {(by_name[a].role, by_name[b].role) for a, b in pairs}
    assert {(claim.role, claim.reference) for claim in plan.claims} <= compared
    assert {(c.role, c.strategy) for c in plan.configurations if c.role != c.strategy} <= compared
    assert {c.execution for c in plan.configurations} == {"eager", "compile", "cudagraph"}


def test_rq2_claims_what_the_study_claims() -> None:
    plan, _ = plan_file.load_plan("rq2", all_traits(), glue_tasks())
    assert {(c.role, c.reference) for c in plan.claims} == {
        ("lora_separate", "full_ft"),
        ("lora_merged", "full_ft"),
        ("multi_lora", "lora_separate"),
    }


def test_the_plan_lm_claims_what_one_asks_of_a_language_model() -> None:
    plan, workload = plan_file.load_plan("lm", all_traits(), glue_tasks())
    assert workload is not None
    assert (plan.task_type, workload.prompt_tokens, workload.output_tokens) == ("CAUSAL_LM", 64, 16)
    assert [(c.role, c.reference) for c in plan.claims] == [
        ("lora_separate", "full_ft"),
        ("lora_merged", "full_ft"),
        ("lora_merged", "lora_separate"),
        ("multi_lora", "lora_separate"),
    ]
    assert {(c.configuration, c.reference_strategy) for c in plan.comparisons if not c.via} == {
        *((f"{way}_{task}", "full_ft") for way in ("separate", "merged") for task in ("support", "sales")),
        *((f"{way}_{task}", "lora_separate") for way in ("full_ft", "merged") for task in ("support", "sales")),
        ("together", "lora_separate"),
    }


def test_the_plan_batch_compares_batches_of_one_size_only() -> None:
    plan, _ = plan_file.load_plan("batch", all_traits(), glue_tasks())
    sizes = {c.name: c.batch for c in plan.configurations}
    assert sorted(set(sizes.values())) == [1, 8, 32]
    assert {c.batch for c in plan.configurations if c.routing == "mixed"} == {8, 32}
    for comparison in plan.comparisons:
        assert {sizes[r.configuration] for r in comparison.references} == {sizes[comparison.configuration]}
    compared = {c.configuration for c in plan.comparisons if c.reference_strategy == "lora_separate"}
    assert compared == {name for name in sizes if not name.startswith("separate")}


def test_the_adapters_plan_has_every_number_in_one_block_on_the_same_requests() -> None:
    plan, _ = plan_file.load_plan("adapters", all_traits(), glue_tasks())
    (block,) = plan.blocks
    stacked = [c for c in plan.configurations if c.form == "stacked" and c.routing == "round_robin"]
    assert [len(c.adapters) for c in stacked] == [1, 2, 3, 8, 32, 128, 512, 1024]
    assert [len(c.adapters) for c in plan.configurations if c.role == "multi_lora"] == [1, 2, 3, 8, 32, 128]
    assert {c.routing: len(c.adapters) for c in plan.configurations if c.form == "stacked"} == {
        "round_robin": 1024,
        "uniform": 1024,
        "zipf": 1024,
        "geometric": 1024,
    }
    assert len({tuple(block.requests(c, 0, plan.requests)) for c in block.members}) == 1
    pairs = {(c.configuration, r.configuration) for c in plan.comparisons for r in c.references}
    assert {
        ("stacked_1024", "merged_fused"),
        ("peft_128", "stacked_128"),
        ("stacked_1024_zipf", "merged_fused"),
    } <= pairs


def test_the_mixed_plan_has_rows_of_as_many_adapters_beside_a_merged_model_of_the_same_batch() -> None:
    plan, _ = plan_file.load_plan("mixed", all_traits(), glue_tasks())
    assert [block.name for block in plan.blocks] == [
        "service_seed1",
        "service_seed1_batch2",
        "service_seed1_batch8",
        "service_seed1_batch32",
    ]
    pairs = {(c.configuration, r.configuration) for c in plan.comparisons for r in c.references}
    for batch in (1, 2, 8, 32):
        assert (f"stacked_b{batch}", f"merged_fused_b{batch}") in pairs
        assert (f"peft_b{batch}", f"stacked_b{batch}") in pairs
    assert {len(c.adapters) for c in plan.configurations if c.strategy == "multi_lora"} == {32}
    assert {(c.batch, c.routing) for c in plan.configurations if c.strategy == "multi_lora"} == {
        (1, "round_robin"),
        *((batch, "mixed") for batch in (2, 8, 32)),
    }


def test_the_rank_plan_has_a_row_for_each_form_rank_and_set_of_targets() -> None:
    plan, _ = plan_file.load_plan("rank", all_traits(), glue_tasks())
    assert [(block.name, len(block.members)) for block in plan.blocks] == [("qv_seed1", 14), ("all_seed1", 14)]
    separate = [c for c in plan.configurations if c.strategy == "lora_separate"]
    assert len({c.role for c in separate}) == len(separate) == 3 * 4 * 2
    assert {(c.adapters[0].r, len(c.adapters[0].target_modules or ())) for c in separate} == {
        (r, targets) for r in (4, 16, 64, 256) for targets in (2, 7)
    }
    pairs = {(c.configuration, r.configuration) for c in plan.comparisons for r in c.references}
    assert all(
        (c.name, f"merged_fused_{c.tasks[0]}") in pairs and (c.name, f"merged_{c.tasks[0]}") in pairs for c in separate
    )
