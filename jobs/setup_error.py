"""What a cloud's account does not give."""

from __future__ import annotations


class SetupError(Exception):
    """One line: what, where, and what to do."""
