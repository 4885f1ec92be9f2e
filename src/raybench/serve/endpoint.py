"""Where a server is asked: a URL, checked once, and the head of the requests that go there."""

from __future__ import annotations

import dataclasses
import ssl
from typing import Final
from urllib.parse import urlsplit

from raybench.records import InputError

_LONGEST_URL: Final = 2048
_PORTS: Final = {"http": 80, "https": 443}
_BASE: Final = "/v1"  # where the OpenAI API is unless a URL says otherwise


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and the path that its API is below.

    ``tls``: what certificates are checked by; None over plain HTTP. ``api_key``: told as a bearer token, and to nobody
    else: it is not in ``repr``. ``keep_alive``: whether one connection has several requests, one after the other.
    """

    host: str
    port: int
    base: str = _BASE
    tls: ssl.SSLContext | None = None
    api_key: str | None = dataclasses.field(default=None, repr=False)
    keep_alive: bool = True

    def __str__(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.authority}{self.base}"

    @property
    def authority(self) -> str:
        """Host and port, as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def api(self, path: str) -> str:
        """The path of what the API has: ``completions`` is ``/v1/completions``."""
        return f"{self.base}/{path}"

    def beside_api(self, path: str) -> str:
        """The path of what a server has beside its API: ``health`` is ``/health``."""
        return f"{self.base.removesuffix(_BASE)}/{path}"

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A request as it is sent, whole. ``path`` as `api` and `beside_api` give it, ``body`` JSON."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.authority}",
            "User-Agent: raybench",
            "Accept: text/event-stream, application/json, text/plain",
            "Accept-Encoding: identity",
        ]
        if self.api_key is not None:
            lines.append(f"Authorization: Bearer {self.api_key}")
        if not self.keep_alive:
            lines.append("Connection: close")
        if body or method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def endpoint_of(url: str, api_key: str | None = None, tls: ssl.SSLContext | None = None) -> Endpoint:
    """The server at ``http://HOST[:PORT][/BASE]``, or ``https://``; without a path its API is below ``/v1``.

    ``tls``: instead of the system's certificates. Raises InputError.
    """
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError("the URL of a server: expected printable ASCII without spaces, at most 2,048 characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"the URL of a server cannot be read: {error}") from None
    # Not repeated where it may hold a password.
    if "@" in parts.netloc:
        raise InputError("the URL of a server has a user or a password: give an API key instead")
    if parts.scheme not in _PORTS or not host:
        raise InputError(
            f"{url}: expected http://HOST:PORT or https://HOST:PORT, with the path of its API if it has one"
        )
    if parts.query or parts.fragment:
        raise InputError(f"{url}: the URL of a server has no query and no fragment")
    if port == 0:
        raise InputError(f"{url}: there is no port 0")
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
        raise InputError("the API key is not printable ASCII, or has spaces around it")
    if parts.scheme == "https":
        tls = tls or ssl.create_default_context()
    elif tls is not None:
        raise InputError(f"{url}: certificates are checked over https:// only")
    return Endpoint(host, port or _PORTS[parts.scheme], parts.path.rstrip("/") or _BASE, tls, api_key)
