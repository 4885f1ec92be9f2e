"""What may be secret in a URI: user names, passwords and keys before an ``@``, and what follows ``?`` or ``#``."""

from __future__ import annotations

import re

# In any text: up to a space or a quotation mark. One slash is a slip of the hand, for those that are often typed.
_URI = re.compile(r"""(?P<scheme>\b(?:[A-Za-z][A-Za-z0-9+.-]{0,30}://+|(?:s3|gs|https?):/))(?P<rest>[^\s'"<>]*)""")


def redact_uri(text: str) -> str:
    """One URI, from its start to its end whatever it holds, without what may be secret; other text as it is."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*:/+)(.*)", text, re.DOTALL)
    return found[1] + _without_secrets(found[2]) if found else text


def redact_uris(text: str) -> str:
    """Any text, the URIs in it without what may be secret."""
    return _URI.sub(_redacted, text)


def redact_query(text: str) -> str:
    """A URI, or a part of one, up to its ``?`` or ``#``."""
    cut = re.match(r"[^?#]*[?#]", text)
    return f"{cut[0]}..." if cut else text


def _redacted(found: re.Match[str]) -> str:
    rest = found["rest"].rstrip(",:;)")
    return found["scheme"] + _without_secrets(rest) + found["rest"][len(rest) :]


def _without_secrets(rest: str) -> str:
    """What follows ``scheme://``. A secret may hold a slash, so all before the last ``@`` goes."""
    _, at, place = rest.rpartition("@")
    shown = f"...@{place}" if at else place
    host, colon, port = shown.partition("/")[0].partition(":")
    if colon and not port.isdecimal() and not host.startswith("["):  # KEY:SECRET that lacks its @
        return f"{host}:..."
    return redact_query(shown)
