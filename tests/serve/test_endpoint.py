"""URLs of servers, and what is sent there."""

from __future__ import annotations

import ssl

import pytest

from raybench.records import InputError
from raybench.serve.endpoint import Endpoint, endpoint_of


@pytest.mark.parametrize(
    ("url", "host", "port", "base", "again"),
    [
        ("http://h:8000", "h", 8000, "/v1", "http://h:8000/v1"),
        ("http://h:8000/", "h", 8000, "/v1", "http://h:8000/v1"),
        ("http://H/v1/", "h", 80, "/v1", "http://h:80/v1"),
        ("http://127.0.0.1:1/a/b", "127.0.0.1", 1, "/a/b", "http://127.0.0.1:1/a/b"),
        ("http://[::1]:8000/x/v1", "::1", 8000, "/x/v1", "http://[::1]:8000/x/v1"),
    ],
)
def test_urls_are_read(url: str, host: str, port: int, base: str, again: str) -> None:
    found = endpoint_of(url)
    assert found == Endpoint(host, port, base)
    assert str(found) == again


def test_https_checks_certificates() -> None:
    found = endpoint_of("https://h")
    assert (found.port, str(found)) == (443, "https://h:443/v1")
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    own = ssl.create_default_context()
    assert endpoint_of("https://h", tls=own).tls is own


def test_paths_are_below_the_base_or_beside_it() -> None:
    plain, deep, bare = endpoint_of("http://h:1"), endpoint_of("http://h:1/x/v1"), endpoint_of("http://h:1/x")
    assert [one.api("completions") for one in (plain, deep, bare)] == [
        "/v1/completions",
        "/x/v1/completions",
        "/x/completions",
    ]
    assert [one.beside_api("health") for one in (plain, deep, bare)] == ["/health", "/x/health", "/x/health"]


def test_a_request_is_whole() -> None:
    found = endpoint_of("http://h:8000", "secret")
    assert found.request("POST", "/v1/completions", b'{"a":1}') == (
        b"POST /v1/completions HTTP/1.1\r\nHost: h:8000\r\nUser-Agent: raybench\r\n"
        b"Accept: text/event-stream, application/json, text/plain\r\nAccept-Encoding: identity\r\n"
        b"Authorization: Bearer secret\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n"
        b'{"a":1}'
    )
    got = endpoint_of("http://[::1]:80").request("GET", "/health")
    assert got.startswith(b"GET /health HTTP/1.1\r\nHost: [::1]:80\r\n")
    assert b"Content-Length" not in got
    assert b"Authorization" not in got


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(endpoint_of("http://h", "secret")) + str(endpoint_of("http://h", "secret"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("h:8000", "expected http://HOST:PORT"),
        ("ftp://h", "expected http://HOST:PORT"),
        ("http://", "expected http://HOST:PORT"),
        ("http://h:99999", "cannot be read: Port out of range"),
        ("http://h:0", "there is no port 0"),
        ("http://h:x", "cannot be read: Port could not be cast"),
        ("http://[::1", "cannot be read: Invalid IPv6 URL"),
        ("http://h/v1?x=1", "no query and no fragment"),
        ("http://h/v1#x", "no query and no fragment"),
        ("http://h/\r\nX: 1", "printable ASCII without spaces"),
        ("http://h/a b", "printable ASCII without spaces"),
        ("http://hé", "printable ASCII without spaces"),
        ("http://h/" + "a" * 2048, "at most 2,048 characters"),
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        endpoint_of(url)
    assert len(caught.value.lines) == 1


def test_passwords_and_keys_are_not_repeated() -> None:
    with pytest.raises(InputError, match="has a user or a password") as caught:
        endpoint_of("http://me:hunter2@h")
    assert "hunter2" not in str(caught.value)
    for key in ("a\r\nX: 1", "", " a", "é"):
        with pytest.raises(InputError, match=r"^the API key is not printable ASCII, or has spaces around it$"):
            endpoint_of("http://h", key)


def test_certificates_are_for_https() -> None:
    with pytest.raises(InputError, match="certificates are checked over https:// only"):
        endpoint_of("http://h", tls=ssl.create_default_context())
