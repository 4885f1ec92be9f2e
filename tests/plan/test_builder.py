"""Names, choices, paths and adapters of a plan hold together, or the key that does not is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.plan_texts import ADAPTERS, GOOD, HEAD, MATRIX, MULTI, read, refusal, refusals
from raybench.deploy.strategies import all_traits
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.records import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


@pytest.mark.parametrize(
    ("text", "key", "parts"),
    [
        pytest.param(GOOD + MULTI, "configurations[1].name", ["duplicate configuration 'both'"], id="configuration"),
        pytest.param(GOOD.replace("x_{task}_", "x_"), "matrix[0].name", ["duplicate configuration 'x_1'"], id="matrix"),
        pytest.param(
            HEAD + ADAPTERS + ADAPTERS + MATRIX,
            "adapters[1].name",
            ["duplicate adapter 'mrpc_s1'", "{task} and {seed}"],
            id="adapter",
        ),
        pytest.param(
            GOOD.replace('"both"', '"mrpc_seed1"'), "configurations", ["'mrpc_seed1'", "(task, seed) block"], id="block"
        ),
    ],
)
def test_every_name_is_its_own(path: Path, text: str, key: str, parts: list[str]) -> None:
    message = refusals(path, text)[0]
    assert message.startswith(f"{key}: ")
    assert all(part in message for part in parts)


BAD_NAMES = ['p\\"q', "p'q", "../p", "p/q", "p\\\\q", "p\\nq", "p\\n", "", ".p", "-p", "p q", "pé", "p" * 101, "p;q"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_is_letters_digits_and_little_else(path: Path, name: str) -> None:
    """Names become folders, SQL values and lines of a log."""
    assert refusal(path, GOOD.replace('"mine"', f'"{name}"')).startswith("name: ")
    assert refusal(path, GOOD.replace('"both"', f'"{name}"')).startswith("configurations[0].name: ")
    if len(name) != 101:  # too long only once it is filled in, or not at all
        in_adapter = GOOD.replace('"{task}_s{seed}"', f'"{name}"', 1)
        lines = refusals(path, in_adapter)
        assert lines[0].startswith("adapters[0].name: ")
        assert all(" adapter " in line for line in lines[1:])  # a duplicate, and unknown to the configurations


def test_a_placeholder_that_is_not_one_is_a_bad_name(path: Path) -> None:
    lines = refusals(path, GOOD.replace("x_{task}", "x_{tsk}"))
    assert lines[0].startswith("matrix[0].name: 'x_{tsk}_1' is not a name")
    assert lines[1:] == [
        "matrix[0].name: duplicate configuration 'x_{tsk}_1'; every name must be its own "
        "({task}, {seed}, {batch}, {resident}, {load})"
    ]


@pytest.mark.parametrize(
    ("text", "key", "part"),
    [
        ("full_ft", "matrix[0].adapters", "full_ft takes 0 adapters, got 1"),
    ],
)
def test_a_strategy_takes_its_number_of_adapters(path: Path, text: str, key: str, part: str) -> None:
    assert refusal(path, GOOD.replace("lora_separate", text)) == f"{key}: {part}"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('["mrpc_s1", "sst2_s1"]', '["mrpc_s1", "mrpc_s1"]', "adapter 'mrpc_s1' is named twice"),
        ('["mrpc_s1", "sst2_s1"]', '["mrpc_s1", "sst2_s1", "more"]', "each adapter must serve a task of its own"),
        (
            '["mrpc_s1", "sst2_s1"]',
            '["mrpc_s1", "more"]\ntask = "rte"',
            "adapter 'mrpc_s1' serves mrpc, not rte",
        ),
        ("seed = 1\n", 'seed = 1\ntask = "mrpc"\n', "each adapter must serve a task of its own"),
        (
            '"multi_lora"\nseed = 1\nadapters = ["mrpc_s1", "sst2_s1"]',
            '"full_ft"\nseed = 1',
            "no adapter that would tell",
        ),
        (
            '"multi_lora"\nseed = 1\nadapters = ["mrpc_s1", "sst2_s1"]',
            '"lora_separate"\nseed = 1\ntask = "rte"\nadapters = ["mrpc_s1"]',
            "adapter 'mrpc_s1' serves mrpc, not rte",
        ),
    ],
)
def test_adapters_and_tasks_must_hold_together(path: Path, old: str, new: str, part: str) -> None:
    more = ADAPTERS.replace("{task}_s{seed}", "more").replace('["mrpc", "sst2"]', '["mrpc"]')
    assert old in GOOD
    message = refusal(path, HEAD + more + ADAPTERS + MATRIX + MULTI.replace(old, new))
    assert message.startswith("configurations[0].")
    assert part in message


def test_a_plan_that_multiplies_beyond_reason_is_refused(path: Path) -> None:
    many = MATRIX.replace("lora_separate", "full_ft").replace('adapters = ["{task}_s{seed}"]', "")
    for seeds in (5_001, 50_000):  # times two tasks
        much = many.replace("seeds = [1]", f"seeds = {list(range(seeds))}")
        assert refusal(path, HEAD + much) == "matrix[0]: more than 10000 configurations; split the plan"


def test_a_configuration_says_how_it_is_deployed(path: Path) -> None:
    more = 'dtype = "bfloat16"\nadapter_dtype = "same"\nrouting = "blocked"\n'
    plan, _ = read(path, GOOD + more)
    plain, multi = plan.configurations[0], plan.configurations[2]
    assert (plain.dtype, plain.adapter_dtype, plain.routing, plain.execution) == (
        "auto",
        "float32",
        "round_robin",
        "eager",
    )
    assert (multi.dtype, multi.adapter_dtype, multi.routing) == ("bfloat16", "same", "blocked")


def test_paths_are_relative_to_the_plan_and_filled_in(path: Path) -> None:
    text = GOOD.replace("alpha = 8", 'alpha = 8\npath = "adapters/{task}/{seed}"', 1)
    text += '[[matrix]]\nname = "f_{task}"\nstrategy = "full_ft"\ntasks = ["mrpc"]\nseeds = [1]\n'
    text += 'checkpoint = "/full/{task}/{seed}"\n[workload]\ntexts = "data/texts.jsonl"\ntokenizer = "../tokens"\n'
    plan, workload = read(path, text)
    assert plan.configurations[0].adapters[0].path == str(path.parent / "adapters/mrpc/1")
    assert plan.configurations[2].checkpoint == "/full/mrpc/1"
    assert workload is not None
    assert workload.texts == str(path.parent / "data/texts.jsonl")
    assert workload.tokenizer == str(path.parent / "../tokens")


def test_owner_and_name_are_a_hub_id_unless_there_is_such_a_path(path: Path) -> None:
    text = GOOD.replace("alpha = 8", 'alpha = 8\npath = "owner/{task}-lora"', 1)
    (path.parent / "owner" / "sst2-lora").mkdir(parents=True)
    plan, _ = read(path, text)
    paths = [c.adapters[0].path for c in plan.configurations[:2]]
    assert paths == ["owner/mrpc-lora", str(path.parent / "owner/sst2-lora")]


def test_a_workload_file_brings_its_own_tasks_but_not_any_name(path: Path) -> None:
    workload = '[workload]\ntexts = "texts.parquet"\ntask_column = "kind"\n'
    mine = GOOD.replace('"sst2"', '"emails"').replace("sst2_s1", "emails_s1")
    plan, found = read(path, mine + workload)
    assert plan.tasks() == ("mrpc", "emails")
    assert found is not None
    assert (found.text_column, found.task_column, found.max_tokens) == (None, "kind", None)
    assert [line.partition(": unknown task 'emails'")[0] for line in refusals(path, mine)] == [
        "adapters[0].tasks",
        "matrix[0].task",
    ]
    lines = refusals(path, mine.replace('"emails"', '"e/mails"').replace("{task}_s{seed}", "a") + workload)
    assert lines[0].startswith("adapters[0]")


GLUE_TASKS = "mrpc, rte, sst2"
LM = 'task_type = "CAUSAL_LM"\n'


def workload_of(path: Path, keys: str, *, generates: bool = False, task: str = "sst2") -> list[str]:
    """What a plan with these keys in ``[workload]`` is refused with; nothing where it is good."""
    plan = GOOD.replace('"sst2"', f'"{task}"').replace("sst2_s1", f"{task}_s1")
    plan = plan.replace(HEAD, HEAD + LM) if generates else plan
    try:
        read(path, f"{plan}[workload]\n{keys}\n")
    except InputError as error:
        return [line.removeprefix(f"{path}: ") for line in error.lines]
    return []


@pytest.mark.parametrize(
    "keys",
    [
        "prompt_tokens = 512",
        "prompt_tokens = [16, 32]",
        "prompt_tokens = {median = 64, sigma = 1, max = 512}",
        "prompt_tokens = {median = 64, sigma = 0.5, max = 64}",
        'texts = "t.jsonl"',
        'texts = "t.csv"\ntext_column = "t"\ntask_column = "kind"\nmax_tokens = 10\ntokenizer = "owner/name"',
        'texts = "t.parquet"\nchat_column = "messages"',
    ],
)
def test_requests_are_of_given_lengths_or_of_texts_for_tasks_of_any_name(path: Path, keys: str) -> None:
    assert workload_of(path, keys, task="emails") == []
    for output in ("128", "[16, 32]", "{median = 64, sigma = 1, max = 512}"):
        assert workload_of(path, f"{keys}\noutput_tokens = {output}", generates=True, task="emails") == []


def test_a_language_model_may_answer_prompts_as_long_as_those_of_the_tasks_known(path: Path) -> None:
    assert workload_of(path, "output_tokens = 32", generates=True) == []
    unknown = f"unknown task 'emails'; expected one of {GLUE_TASKS}; for others give [workload] prompt_tokens or texts"
    assert workload_of(path, "output_tokens = 32", generates=True, task="emails") == [
        f"adapters[0].tasks: {unknown}",
        f"matrix[0].task: {unknown}",
    ]


MISSING = "workload.output_tokens: missing; say how many tokens a language model generates (128)"
NONE = 'workload.output_tokens: a classifier generates none; set task_type = "CAUSAL_LM", or leave it out'


@pytest.mark.parametrize(
    ("keys", "generates", "lines"),
    [
        ("prompt_tokens = 8", True, [MISSING]),
        ("", True, [MISSING]),
        ("prompt_tokens = 8\noutput_tokens = 8", False, [NONE]),
        ("output_tokens = 8", False, [NONE]),
        ("", False, ["workload: expected prompt_tokens or texts; give one of them, or leave [workload] out"]),
        (
            'prompt_tokens = 8\ntexts = "t.csv"',
            False,
            ["workload: expected either prompt_tokens or texts; give one of them"],
        ),
        (
            'prompt_tokens = 8\nmax_tokens = 8\nchat_column = "c"',
            False,
            [
                "workload.chat_column: goes with texts; there are none",
                "workload.max_tokens: goes with texts; there are none",
            ],
        ),
        (
            'texts = "t.csv"\nchat_column = "c"\ntext_column = "t"',
            False,
            ["workload.chat_column: expected either text_column or chat_column; leave one out"],
        ),
        (
            'texts = "t.txt"',
            False,
            ["workload.texts: expected a file that ends in one of .csv, .jsonl, .parquet, got 't.txt'"],
        ),
    ],
)
def test_what_requests_cannot_be_is_told_with_its_key(path: Path, keys: str, generates: bool, lines: list[str]) -> None:
    assert workload_of(path, keys, generates=generates) == lines


def test_a_language_model_without_a_workload_is_asked_how_much_it_generates(path: Path) -> None:
    assert refusal(path, GOOD.replace(HEAD, HEAD + LM)) == MISSING


def test_a_run_of_more_prompts_than_can_be_made_is_refused(path: Path) -> None:
    many = GOOD.replace(HEAD, HEAD + "rounds = 20\nrequests = 50000\n")
    assert read(path, many + "batch = 16\n")[0].rounds == 20
    assert refusal(path, many.replace('"both"', '"both_{batch}"') + "batch = [1, 17]\n") == (
        "1,000,000 requests of 17 prompts: more than 16000000 prompts; ask for fewer requests, or for a smaller batch"
    )


def test_overrides_reach_a_plan_file(path: Path) -> None:
    path.write_text(GOOD)
    plan, _ = plan_file.load_plan(str(path), all_traits(), glue_tasks(), Overrides(design="independent", rounds=2))
    assert (plan.design, plan.rounds, plan.requests, len(plan.blocks)) == ("independent", 2, 50, 3)


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ('strategy = "lora_seperate"\nreference = "full_ft"', "did you mean 'lora_separate'?"),
        ('strategy = "lora_separate"\nreference = "multi_lora"', "unknown reference 'multi_lora'"),
        ('strategy = "lora_separate"', "reference: field required"),
    ],
)
def test_a_claim_must_be_of_the_plan(tmp_path: Path, claim: str, said: str) -> None:
    path = tmp_path / "p.toml"
    text = plan_file.read_plan("smoke").text
    path.write_text(f"{text}\n[[claims]]\n{claim}\n")
    with pytest.raises(InputError, match="claims") as caught:
        plan_file.load_plan(str(path), all_traits(), glue_tasks())
    assert said in str(caught.value)


def test_a_language_model_is_not_delayed(tmp_path: Path) -> None:
    text = plan_file.read_plan("delays").text.replace('name = "delays"', 'name = "delays"\ntask_type = "CAUSAL_LM"')
    with pytest.raises(InputError, match="delay is for classifiers: steps of a language model would follow waits"):
        plan_file.parse_plan(plan_file.PlanSource("delays.toml", text), all_traits(), glue_tasks())


def test_only_the_delay_strategy_delays(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    text = plan_file.read_plan("smoke").text
    path.write_text(text.replace('strategy = "full_ft"', 'strategy = "full_ft"\ndelay_share = 0.1'))
    with pytest.raises(InputError, match="only the strategy delay takes it"):
        plan_file.load_plan(str(path), all_traits(), glue_tasks())


def test_a_run_until_its_intervals_are_narrow_has_a_most_of_rounds() -> None:
    traits, tasks = all_traits(), glue_tasks()
    plan, _ = plan_file.load_plan("smoke", traits, tasks, Overrides(until_halfwidth=0.01))
    assert (plan.rounds, plan.until_halfwidth) == (50, 0.01)
    plan, _ = plan_file.load_plan("smoke", traits, tasks, Overrides(until_halfwidth=0.01, max_rounds=25))
    assert plan.rounds == 25
    with pytest.raises(InputError, match="--max-rounds goes with --until-halfwidth"):
        plan_file.load_plan("smoke", traits, tasks, Overrides(max_rounds=25))
