"""What a person reads of one run, and the one way out to the screen."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.report.app import examples_of, new_app, run_app
    from raybench.report.arguments import FLAT, exclusive, listed_by, option_name, parsed_by, whole_number
    from raybench.report.attribution import attribution_lines
    from raybench.report.cautions import told_in_brief
    from raybench.report.claims import answering, has_claims, once, reference_of
    from raybench.report.columns import columns_of, mean_header, reference_header
    from raybench.report.command import run_command
    from raybench.report.completion import Shell, completed, script_of
    from raybench.report.failures import all_of_it, brief_failure, told_failure
    from raybench.report.fitted import fit_columns
    from raybench.report.numbers import (
        be,
        duration,
        ends,
        interval,
        is_usable,
        judged_interval,
        of_all,
        percent,
        share,
        why_no_interval,
        with_open_ends,
    )
    from raybench.report.options import Query, RmOptions, SqlOptions, TablesOptions
    from raybench.report.repeated import FILE, order_options, plan_word
    from raybench.report.rm_command import run_rm
    from raybench.report.run_names import (
        PLACE,
        OtherRun,
        Run,
        RunAfter,
        RunArgument,
        RunBefore,
        RunOptions,
        RunToRemove,
        named_run,
    )
    from raybench.report.screen import Screen, open_console, print_line
    from raybench.report.settling import (
        NOT_BY_ROUNDS,
        Settling,
        are_too_many,
        more_rounds,
        round_seconds,
        settled_by,
    )
    from raybench.report.sql_command import run_sql
    from raybench.report.study import (
        MEASURES,
        fidelity_lines,
        is_too_short,
        judged_apart,
        judged_rows,
        label_of,
        measures_of,
        references_of,
        too_short,
    )
    from raybench.report.tables import print_next_commands, print_summary
    from raybench.report.tables_command import run_tables
    from raybench.report.terminal import (
        complain,
        harmless,
        json_text,
        run_argument,
        say,
        shell_command,
        shown_place,
        write_json,
        write_text,
    )
    from raybench.report.words import explained, not_adjusted, why_disputed
    from raybench.report.wrapping import joined
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "FILE",
    "FLAT",
    "MEASURES",
    "NOT_BY_ROUNDS",
    "PLACE",
    "OtherRun",
    "Query",
    "RmOptions",
    "Run",
    "RunAfter",
    "RunArgument",
    "RunBefore",
    "RunOptions",
    "RunToRemove",
    "Screen",
    "Settling",
    "Shell",
    "SqlOptions",
    "TablesOptions",
    "all_of_it",
    "answering",
    "are_too_many",
    "attribution_lines",
    "be",
    "brief_failure",
    "columns_of",
    "complain",
    "completed",
    "duration",
    "ends",
    "examples_of",
    "exclusive",
    "explained",
    "fidelity_lines",
    "fit_columns",
    "harmless",
    "has_claims",
    "interval",
    "is_too_short",
    "is_usable",
    "joined",
    "json_text",
    "judged_apart",
    "judged_interval",
    "judged_rows",
    "label_of",
    "listed_by",
    "mean_header",
    "measures_of",
    "more_rounds",
    "named_run",
    "new_app",
    "not_adjusted",
    "of_all",
    "once",
    "open_console",
    "option_name",
    "order_options",
    "parsed_by",
    "percent",
    "plan_word",
    "print_line",
    "print_next_commands",
    "print_summary",
    "reference_header",
    "reference_of",
    "references_of",
    "round_seconds",
    "run_app",
    "run_argument",
    "run_command",
    "run_rm",
    "run_sql",
    "run_tables",
    "say",
    "script_of",
    "settled_by",
    "share",
    "shell_command",
    "shown_place",
    "told_failure",
    "told_in_brief",
    "too_short",
    "whole_number",
    "why_disputed",
    "why_no_interval",
    "with_open_ends",
    "write_json",
    "write_text",
]
