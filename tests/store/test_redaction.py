"""What may be secret in a URI is not shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.records import InputError
from raybench.store.location import parse_location
from raybench.store.redaction import redact_uri, redact_uris


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:se/cr+et@bucket/x?a=b", "s3://...@bucket/x?..."),
        ("https://host/x?sig=1#f", "https://host/x?..."),
        ("https://host/x#f?g", "https://host/x#..."),
        ("s3://KEY:secret/x", "s3://KEY:..."),
        ("s3:/KEY:secret@bucket/x", "s3:/...@bucket/x"),
        ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        ("ray://host:10001", "ray://host:10001"),
        ("s3://bucket/a=1/b", "s3://bucket/a=1/b"),
        ("data/runs?/a@b", "data/runs?/a@b"),
    ],
)
def test_user_names_keys_and_queries_go(text: str, shown: str) -> None:
    assert redact_uri(text) == shown
    assert redact_uris(text) == shown
    assert redact_uris(f"cannot read '{text}', nor {text}: no; mail a@b?") == (
        f"cannot read '{shown}', nor {shown}: no; mail a@b?"
    )


def test_one_uri_goes_on_to_its_end() -> None:
    assert redact_uri("s3://key:a secret@bucket/x") == "s3://...@bucket/x"


@pytest.mark.parametrize(
    "make",
    [
        "s3://KEY:{}@bucket/x",
        "S3://{}@bucket",
        "s3://bucket/x?sig={}",
        "s3:/K:{}@bucket",
        "https://u:{}@host/x",
        "s3://KEY:{}",
        "s3://bucket/a/b#{}",
        "s3://bucket?sig={}",
        "s3://k:{}@b\0",
    ],
)
@pytest.mark.parametrize(
    "secret", ["wJalrXUtnFEMI", "wJalrXUtnFEMI/K7", "a" * 150 + "wJalrXUtnFEMI", "wJalrXUtnFEMI with spaces"]
)
def test_no_refusal_of_a_place_repeats_a_secret(make: str, secret: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_location(make.format(secret))
    assert "wJalrXUtnFEMI" not in str(caught.value)
    assert "a" * 20 not in str(caught.value)


@given(st.text(st.sampled_from("ab:/@?# '\""), max_size=30))
def test_nothing_is_found_between_a_scheme_and_the_last_at_sign(rest: str) -> None:
    shown = redact_uri(f"s3://{rest}")
    assert shown.startswith("s3://")
    assert rest.count("@") == 0 or shown.startswith("s3://...@") or ":..." in shown
    assert redact_uris(redact_uris(rest)) == redact_uris(rest)
