"""The data dictionary is that of the code, and every query in it runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fake_device import make_known
from generated_runs import batched, even_cost, generated, load_generated
from loaded_runs import FULL, HEAD, at, load_loaded, loaded
from raybench.analysis.schemas import SCHEMAS
from raybench.analysis.shipped import table_names
from raybench.analysis.tables import LATER_VIEW_FILES, VIEW_FILES, Tables, shipped_sql, write_derived
from runs import measure
from small_plans import load_small

DOCS = Path(__file__).parents[2] / "docs" / "sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
MS = 1_000_000


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("classified")
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4, "multi_lora": 5.5}
    known = {name: lambda tokens, calls, ms=ms: (MS, int(ms * MS), None) for name, ms in costs.items()}
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, known, switch_ns=MS)
        found = Tables(measure(load_small(folder, rounds=3), folder))
    write_derived(found)
    return found


@pytest.fixture(scope="module")
def generated_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Of a language model, at two batches; merging changes what it answers."""
    folder = tmp_path_factory.mktemp("generated")
    plan = load_generated(folder, batched([1, 8]))
    merged = {"gate_error": 0.013, "gate_tolerance": 0.05, "argmax_agreement": 0.99, "kl_divergence": 4e-4}
    done = dict.fromkeys(("flops", "weight_bytes", "activation_bytes", "operations", "instructions"), 9)
    steps = [{"step": step, "tokens": 5, **done} for step in ("prefill", "decode")]
    found = Tables(generated(plan, folder, even_cost, loads={"lora_merged": merged}, counts=lambda c: steps))
    write_derived(found)
    return found


@pytest.fixture(scope="module")
def loaded_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Of servers, under a load."""
    folder = tmp_path_factory.mktemp("loaded")
    found = Tables(loaded(load_loaded(folder, HEAD + at(FULL, 2)), folder))
    write_derived(found)
    return found


def test_the_dictionary_has_every_view_and_column_with_its_type(tables: Tables) -> None:
    documented = {}
    for section in DOCS.read_text("utf-8").split("### `")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section, flags=re.MULTILINE)
        documented[section.partition("`")[0]] = [(name, kind) for name, kind, meaning in rows if meaning.strip()]
    names = tables.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_name NOT LIKE 'raybench_%'"
    )
    actual = {
        row["name"]: [(c[0], c[1]) for c in tables.connection.execute(f"DESCRIBE {row['name']}").fetchall()]
        for row in names
    }
    assert documented == actual


@pytest.mark.parametrize("name", [*VIEW_FILES[1:], *LATER_VIEW_FILES, *SCHEMAS])
def test_the_header_of_a_query_file_has_its_question_and_every_column(tables: Tables, name: str) -> None:
    header, _, _ = shipped_sql(name).partition("CREATE")
    assert header.startswith("-- Question: ")
    columns = {row[0] for row in tables.connection.execute(f"DESCRIBE {name}").fetchall()}
    assert columns - set(re.findall(r"\w+", header)) == set()


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_every_worked_query_runs_and_finds_something(
    tables: Tables, generated_tables: Tables, loaded_tables: Tables, query: str
) -> None:
    """Each finds something in a run of its kind, and is no error in one of another."""
    found = [
        bool(run.connection.execute(query.replace("../OTHER_RUN", str(run.root))).fetchall())
        for run in (tables, generated_tables, loaded_tables)
    ]
    assert any(found)
    assert found[1] or "phase" in query or "goodput" in query  # no openers, warm-ups and loads were made for it


def test_there_are_a_dozen_queries() -> None:
    assert len(QUERIES) >= 12


def test_the_overhead_by_length_is_the_one_that_was_put_in(tables: Tables) -> None:
    (query,) = [q for q in QUERIES if "tokens_from" in q]
    rows = tables.connection.execute(query).fetchall()
    assert {row[2] for row in rows} == {25.0}
    assert sum(row[1] for row in rows) == 2 * 3 * 4


def test_the_names_of_all_tables_are_known_without_a_run(tables: Tables) -> None:
    there = tables.rows("SELECT name FROM (SHOW TABLES) WHERE name NOT LIKE 'raybench_%' ORDER BY name")
    assert table_names() == [row["name"] for row in there]
