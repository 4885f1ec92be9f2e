"""What a person reads of one run."""

from raybench.report.tables import more_rounds, percent, print_everything, print_next_commands, print_summary
from raybench.report.terminal import open_console, print_line

__all__ = [
    "more_rounds",
    "open_console",
    "percent",
    "print_everything",
    "print_line",
    "print_next_commands",
    "print_summary",
]
