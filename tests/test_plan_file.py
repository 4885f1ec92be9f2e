"""Plans are checked before anything runs, and a problem is told in one line with its place and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench import plan_file
from raybench.plan import Plan
from raybench.plan_file import Overrides, WorkloadFile
from raybench.records import InputError
from raybench.strategies import all_traits
from raybench.workload import glue_tasks

HEAD = 'name = "mine"\n'
ADAPTERS = """
[[adapters]]
name = "{task}_s{seed}"
tasks = ["mrpc", "sst2"]
seeds = [1]
alpha = 8
"""
MATRIX = """
[[matrix]]
name = "x_{task}_{seed}"
strategy = "lora_separate"
tasks = ["mrpc", "sst2"]
seeds = [1]
adapters = ["{task}_s{seed}"]
"""
MULTI = """
[[configurations]]
name = "both"
strategy = "multi_lora"
seed = 1
adapters = ["mrpc_s1", "sst2_s1"]
"""
GOOD = HEAD + ADAPTERS + MATRIX + MULTI


def read(path: Path, text: str | bytes) -> tuple[Plan, WorkloadFile | None]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return plan_file.load(str(path), all_traits(), glue_tasks())


def refusal(path: Path, text: str | bytes) -> str:
    """The message that ``text`` is refused with, which is one line and begins with the file."""
    with pytest.raises(InputError) as caught:
        read(path, text)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(message.splitlines()) == 1, message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


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
        ["configurations[0].routing", "'round_robin' or 'blocked'", "did you mean 'round_robin'"],
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
    message = refusal(path, GOOD.replace(old, new, 1))
    assert [part for part in parts if part not in message] == []


VALUES = [
    ("rounds = 0", "rounds", "greater than or equal to 1"),
    ("rounds = -3", "rounds", "'-3'"),
    ("requests = 0", "requests", "greater than or equal to 1"),
    ("turn_requests = -1", "turn_requests", "greater than or equal to 1"),
    ("warmups = -1", "warmups", "greater than or equal to 0"),
    ("requests = 3.0", "requests", "integer"),
    ("requests = true", "requests", "integer"),
    ('requests = "3"', "requests", "integer"),
    ('requests = "3\\n4"', "requests", "integer"),
    ("rounds = 1000001", "rounds", "less than or equal to 1000000"),
    ("margin = 0.0", "margin", "greater than 0"),
    ("margin = 1.0", "margin", "less than 1"),
    ("margin = nan", "margin", "got 'nan'"),
    ("visit_timeout_s = inf", "visit_timeout_s", "86400"),
    ("description = 3", "description", "string"),
    ("references = []", "references", "at least 1"),
    ("workload_seed = -1", "workload_seed", "greater than or equal to 0"),
    ("order_seed = -1", "order_seed", "greater than or equal to 0"),
    ("adapters = 3", "adapters", "list"),
]


@pytest.mark.parametrize(("line", "key", "expected"), VALUES, ids=[line for line, _, _ in VALUES])
def test_a_value_of_the_wrong_type_or_size_is_refused(path: Path, line: str, key: str, expected: str) -> None:
    text = HEAD + line + ("\n" if line.startswith("adapters") else ADAPTERS + MATRIX)
    message = refusal(path, text)
    assert message.startswith(f"{key}: ")
    assert expected in message


NESTED_VALUES = [
    ("alpha = 8", "alpha = 0", "adapters[0].alpha"),
    ("alpha = 8", "alpha = -8", "adapters[0].alpha"),
    ("alpha = 8", "alpha = 8\nr = 0", "adapters[0].r"),
    ("alpha = 8", "alpha = 8\ntarget_modules = []", "adapters[0].target_modules"),
    ("seeds = [1]", 'seeds = ["1"]', "adapters[0].seeds[0]"),
    ("seeds = [1]", "seeds = []", "adapters[0].seeds"),
    ("seeds = [1]", "seeds = [-1]", "adapters[0].seeds[0]"),
    ("seed = 1", "seed = -1", "configurations[0].seed"),
]


@pytest.mark.parametrize(("old", "new", "key"), NESTED_VALUES, ids=[new for _, new, _ in NESTED_VALUES])
def test_a_value_inside_a_table_is_refused_with_the_tables_place(path: Path, old: str, new: str, key: str) -> None:
    assert old in GOOD
    assert refusal(path, GOOD.replace(old, new, 1)).startswith(f"{key}: ")


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
    message = refusal(path, text)
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
        assert refusal(path, in_adapter).startswith("adapters[0].name: ")


def test_a_placeholder_that_is_not_one_is_a_bad_name(path: Path) -> None:
    assert "'x_{tsk}_1' is not a name" in refusal(path, GOOD.replace("x_{task}", "x_{tsk}"))


@pytest.mark.parametrize(
    ("text", "key", "part"),
    [
        ("full_ft", "matrix[0].adapters", "full_ft takes 0 adapters, got 1"),
        ("multi_lora", "matrix[0].adapters", "multi_lora takes 2 to 64 adapters, got 1"),
    ],
)
def test_a_strategy_takes_its_number_of_adapters(path: Path, text: str, key: str, part: str) -> None:
    assert refusal(path, GOOD.replace("lora_separate", text)) == f"{key}: {part}"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('["mrpc_s1", "sst2_s1"]', '["mrpc_s1", "mrpc_s1"]', "adapter 'mrpc_s1' is named twice"),
        ('["mrpc_s1", "sst2_s1"]', '["mrpc_s1", "more"]', "each adapter must serve a task of its own"),
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


def test_a_plan_that_multiplies_beyond_reason_is_refused(path: Path) -> None:
    many = MATRIX.replace("lora_separate", "full_ft").replace('adapters = ["{task}_s{seed}"]', "")
    for seeds in (5_001, 50_000):  # times two tasks
        much = many.replace("seeds = [1]", f"seeds = {list(range(seeds))}")
        assert refusal(path, HEAD + much) == "matrix[0]: more than 10000 configurations; split the plan"


def test_what_is_no_file_of_a_size_is_not_read_for_ever(path: Path) -> None:
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="larger than 1000000 bytes"):
        plan_file.load(str(path), {}, ())


def test_the_first_problem_is_told_and_the_others_are_counted(path: Path) -> None:
    message = refusal(path, HEAD + "rounds = 0\nrequests = 0\nwarmups = -1\n" + ADAPTERS + MATRIX)
    assert message.startswith("rounds: ")
    assert message.endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("rq3", ["'rq3'", "rq2, smoke", "did you mean 'rq2'"]),
        ("", ["no such shipped plan", "rq2, smoke"]),
        ("{tmp}", ["no such shipped plan", ".toml"]),
        ("{tmp}/none.toml", ["no such plan file", "rq2, smoke"]),
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
        plan_file.load(source.format(tmp=tmp_path), all_traits(), glue_tasks())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert [part for part in parts if part not in message] == []


def test_shipped_plans_are_known_by_name() -> None:
    assert plan_file.shipped_plans() == ("aa", "delays", "rq2", "smoke")


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
    assert (found.text_column, found.task_column, found.max_tokens) == ("text", "kind", 384)
    assert "adapters[0].tasks" in refusal(path, mine)
    message = refusal(path, mine.replace('"emails"', '"e/mails"').replace("{task}_s{seed}", "a") + workload)
    assert message.startswith("adapters[0]")


def test_a_workload_file_is_parquet_or_jsonl(path: Path) -> None:
    message = refusal(path, GOOD + '[workload]\ntexts = "texts.csv"\n')
    assert message == "workload.texts: expected a .parquet or .jsonl file, got 'texts.csv'"


def test_overrides_reach_a_plan_file(path: Path) -> None:
    path.write_text(GOOD)
    plan, _ = plan_file.load(str(path), all_traits(), glue_tasks(), Overrides(design="independent", rounds=2))
    assert (plan.design, plan.rounds, plan.requests, len(plan.blocks)) == ("independent", 2, 50, 3)


def test_the_aa_plan_compares_each_configuration_with_itself_under_another_name() -> None:
    plan, _ = plan_file.load("aa", all_traits(), glue_tasks())
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
    plan, _ = plan_file.load("delays", all_traits(), glue_tasks())
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


def test_rq2_claims_what_the_study_claims() -> None:
    plan, _ = plan_file.load("rq2", all_traits(), glue_tasks())
    assert {(c.role, c.reference) for c in plan.claims} == {
        ("lora_separate", "full_ft"),
        ("lora_merged", "full_ft"),
        ("multi_lora", "lora_separate"),
    }


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
    text = plan_file.resources.files("raybench").joinpath("plans", "smoke.toml").read_text()
    path.write_text(f"{text}\n[[claims]]\n{claim}\n")
    with pytest.raises(InputError, match="claims") as caught:
        plan_file.load(str(path), all_traits(), glue_tasks())
    assert said in str(caught.value)


def test_only_the_delay_strategy_delays(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    text = plan_file.resources.files("raybench").joinpath("plans", "smoke.toml").read_text()
    path.write_text(text.replace('strategy = "full_ft"', 'strategy = "full_ft"\ndelay_share = 0.1'))
    with pytest.raises(InputError, match="only the strategy delay takes it"):
        plan_file.load(str(path), all_traits(), glue_tasks())


def test_a_run_until_its_intervals_are_narrow_has_a_most_of_rounds() -> None:
    traits, tasks = all_traits(), glue_tasks()
    plan, _ = plan_file.load("smoke", traits, tasks, Overrides(until_halfwidth=0.01))
    assert (plan.rounds, plan.until_halfwidth) == (50, 0.01)
    plan, _ = plan_file.load("smoke", traits, tasks, Overrides(until_halfwidth=0.01, max_rounds=25))
    assert plan.rounds == 25
    with pytest.raises(InputError, match="--max-rounds goes with --until-halfwidth"):
        plan_file.load("smoke", traits, tasks, Overrides(max_rounds=25))
