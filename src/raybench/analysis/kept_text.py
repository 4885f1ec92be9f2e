"""What visits kept as text that anyone may have written: JSON of an environment, names and messages in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raybench.store import redact_uris


def kept_object(text: object) -> Mapping[str, Any]:
    """A JSON object as visits keep it; empty for what is no such JSON. Never raises."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def shown(text: str, longest: int) -> str:
    """What of ``text`` may be printed and kept, ``longest`` characters at most: it may hold half a character."""
    return redact_uris(text.encode("utf-8", "replace").decode()[:longest])
