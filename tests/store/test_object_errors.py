"""What an object store's errors say to a person."""

from __future__ import annotations

from raybench.store.object_errors import explain


def test_no_secret_of_an_endpoint_is_repeated() -> None:
    text = (
        "Generic S3 error: Error performing GET in 1s, after 3 retries - error sending request for url "
        "(http://user:pass/word@127.0.0.1:9000/bucket?X-Amz-Signature=abc)"
    )
    said, remedy = explain(RuntimeError(text))
    assert said == "error sending request for url (http://...@127.0.0.1:9000/bucket?...), after 3 retries"
    assert remedy == "try again (--resume keeps what is committed)"
