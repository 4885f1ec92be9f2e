"""The pages as a site: every page has its place, links lead somewhere, blocks of other languages are what they say."""

from __future__ import annotations

import re
import tomllib
from typing import Annotated, Any

import pydantic
import pytest
import yaml

import raybench
from docs.pages import PAGES, REPOSITORY, Fence, fences
from raybench.deploy.strategies import all_traits
from raybench.plan.file import PlanSource, parse_plan
from raybench.plan.schema import PlanTable

LANGUAGES = {"text", "toml", "sql", "python"}
A_PART = 'toml title="a part of a plan"'
FENCES = [fence for page in PAGES for fence in fences(page)]


def of(language: str) -> list[Fence]:
    return [fence for fence in FENCES if fence.language == language]


def name(fence: Fence) -> str:
    return f"{fence.page}:{fence.line}"


def test_a_fence_says_its_language() -> None:
    assert [name(fence) for fence in FENCES if fence.language not in LANGUAGES] == []


@pytest.mark.parametrize("fence", of("toml"), ids=name)
def test_toml_is_a_plan_or_a_part_of_one(fence: Fence) -> None:
    if fence.info == A_PART:
        for key, value in tomllib.loads(fence.text).items():
            field: Any = PlanTable.model_fields[key]
            whole = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            adapter: Any = pydantic.TypeAdapter(whole)
            assert adapter.validate_python(value, strict=True) is not None
    elif "pyproject" in fence.info:
        example = tomllib.loads((REPOSITORY / "docs/example_strategy/pyproject.toml").read_text("utf-8"))
        assert tomllib.loads(fence.text)["project"]["entry-points"] == example["project"]["entry-points"]
    else:
        assert parse_plan(PlanSource(name(fence), fence.text), all_traits(), ())[0].configurations


@pytest.mark.parametrize("fence", of("python"), ids=name)
def test_python_compiles_and_what_it_takes_of_raybench_is_there(fence: Fence) -> None:
    compile(fence.text, name(fence), "exec")
    used = set(re.findall(r"\braybench\.(\w+)", fence.text))
    assert used
    assert used <= set(raybench.__all__)


def test_sql_stands_where_its_queries_are_run() -> None:
    assert {fence.page for fence in of("sql")} == {"docs/sql.md"}  # tests/analysis/test_sql_docs.py runs them


def test_every_page_has_its_place_in_the_site() -> None:
    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text("utf-8"))
    placed = [f"docs/{path}" for path in _paths(site["nav"])]
    assert sorted(placed) == [page for page in PAGES if page.startswith("docs/")]


def _paths(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in _paths(part)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page: str) -> None:
    """Those within docs/ are held to their headings, too, where the site is built."""
    text = re.sub(r"`[^`\n]*`", "", (REPOSITORY / page).read_text("utf-8"))
    places = [place for place in re.findall(r"\]\(([^)\s]+)\)", text) if not place.startswith(("http", "#"))]
    beside = (REPOSITORY / page).parent
    assert [place for place in places if not (beside / place.partition("#")[0]).exists()] == []
