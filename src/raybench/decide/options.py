"""What is to be served, as options of a command."""

from __future__ import annotations

import argparse


def add_needs(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, required: bool) -> None:
    """The options that say what is to be served. ``required``: the command is nothing without them."""
    parser.add_argument("--tasks", required=required, metavar="N", help="how many fine-tunes are to be served")
    parser.add_argument(
        "--gpu-memory", required=required, metavar="SIZE", help="of one GPU, free for models: 24GB, 24GiB"
    )
    parser.add_argument("--slo-p95", metavar="TIME", help="95 %% of requests answered within: 40ms, 0.04s")
    parser.add_argument("--ttft", metavar="TIME", help="of servers, 95 %% of requests have their first token within")
    parser.add_argument("--tpot", metavar="TIME", help="and each further one, on average (default: the plan's goodput)")
    parser.add_argument("--requests-per-second", required=required, metavar="RATE", help="over all tasks together")
    parser.add_argument(
        "--switches",
        metavar="SHARE",
        help="share of a GPU's requests for another task than the one before: 0.3, 30%% (default: the worst, 1)",
    )
    parser.add_argument("--gpu-price", metavar="PRICE", help="of one GPU for an hour, in any currency")
