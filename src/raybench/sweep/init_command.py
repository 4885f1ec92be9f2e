"""``raybench init``: the plan that one's own adapters allow, as TOML to edit."""

from __future__ import annotations

from raybench.plan import Overrides
from raybench.records import InputError, Problems
from raybench.report import complain, write_text
from raybench.sweep.fine_tune_options import FineTuneOptions
from raybench.sweep.own_plan import check_own_plan


def run_init(options: FineTuneOptions) -> int:
    """Print the plan, and to standard error what was found. Raises InputError for all that is wrong."""
    problems = Problems()
    if not options.adapter:
        raise InputError("no adapter: give one by --adapter NAME=DIR")
    own = check_own_plan(options, Overrides(engine_python=options.engine_python), problems)
    problems.raise_if_any()
    assert own is not None
    for line in (*own.found, *own.left_out, *own.checked.notes):
        complain(line)
    write_text(own.text)
    return 0
