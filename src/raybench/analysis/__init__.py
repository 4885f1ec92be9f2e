"""From samples to verdicts: DuckDB views and the statistics drawn from them."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.analysis.blocks import from_blocks, from_chain
    from raybench.analysis.goodput import Limits, goodput_rows, limits_of
    from raybench.analysis.kept_tables import kept_table
    from raybench.analysis.loading import load_cautions
    from raybench.analysis.percentiles import samples_needed
    from raybench.analysis.ratios import MEASURES, WALL, chain_of, compared_in
    from raybench.analysis.running import RunningRatios, RunningRow
    from raybench.analysis.sandbox import shut_off
    from raybench.analysis.sequential import FIRST_LOOK, LEAST_ROUNDS, HalfwidthRule
    from raybench.analysis.shipped import shipped_sql, table_names
    from raybench.analysis.significance import holm
    from raybench.analysis.stats import (
        ROUNDING,
        Estimate,
        Unknown,
        Verdict,
        combine,
        rounds_to_settle,
        rounds_until,
        verdict,
    )
    from raybench.analysis.tables import Tables, Views, make_kept, open_input, write_derived, write_views
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "FIRST_LOOK",
    "LEAST_ROUNDS",
    "MEASURES",
    "ROUNDING",
    "WALL",
    "Estimate",
    "HalfwidthRule",
    "Limits",
    "RunningRatios",
    "RunningRow",
    "Tables",
    "Unknown",
    "Verdict",
    "Views",
    "chain_of",
    "combine",
    "compared_in",
    "from_blocks",
    "from_chain",
    "goodput_rows",
    "holm",
    "kept_table",
    "limits_of",
    "load_cautions",
    "make_kept",
    "open_input",
    "rounds_to_settle",
    "rounds_until",
    "samples_needed",
    "shipped_sql",
    "shut_off",
    "table_names",
    "verdict",
    "write_derived",
    "write_views",
]
