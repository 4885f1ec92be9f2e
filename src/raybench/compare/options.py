"""What may be said of two runs, wherever they are compared."""

from __future__ import annotations

import argparse


def add_devices_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What is taken for granted of devices."""
    parser.add_argument(
        "--devices-alike",
        action="store_true",
        help="devices differ no more than visits on one do, so that all count as one: judges though a single device "
        "stands against others",
    )
