"""What an object store's errors say to a person: a few words and what to do about it.

The client library has few kinds of errors and long texts; the answer's status and code are in the text.
"""

from __future__ import annotations

import re
from typing import Final

from raybench.store.redaction import redact_uris

# Looked for in what the library says, in this order; every answer's status is in it.
_FOR_THE_PERSON: Final = (
    (r"latest/api/token|latest/meta-data|computeMetadata", "no credentials were found", "{credentials}"),
    (r"NoSuchBucket|The specified bucket does not exist", "there is no such bucket", "create it, or name another"),
    (r"without LOCATION|PermanentRedirect|AuthorizationHeaderMalformed", None, "set AWS_REGION to the bucket's region"),
    (r"status code: 40[13]", None, "let this user read, write and list there, or name another place"),
)
_REMEDIES: Final = (
    *_FOR_THE_PERSON,
    (r"status code: 404", None, "restore it from a copy, or measure again under another --run-id"),
    (r"", None, "try again (--resume keeps what is committed)"),
)
_CREDENTIALS: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (in ~/.aws: aws configure get aws_access_key_id), "
    "or GOOGLE_APPLICATION_CREDENTIALS, or give the machine a role"
)


def is_input(error: BaseException | None) -> bool:
    """Whether a library's error is for the person to mend: credentials, permission, region, the bucket's name."""
    return error is not None and any(re.search(pattern, str(error)) for pattern, _, _ in _FOR_THE_PERSON)


def explain(error: BaseException) -> tuple[str, str]:
    """What a library's error says in a few words, and what to do about it."""
    text = str(error)
    said, remedy = next((said, remedy) for pattern, said, remedy in _REMEDIES if re.search(pattern, text))
    if said is None:
        status = re.search(r"status code: (\d{3} [A-Za-z ]+)", text)
        code = re.search(r"<Code>([A-Za-z]+)</Code>", text)
        tries = re.search(r"after (\d+) retries", text)
        parts = [status[1].strip() if status else text.partition("Debug source")[0].rpartition(" - ")[2].strip()]
        parts += [code[1]] if code else []
        parts += [f"after {tries[1]} retries"] if tries else []
        said = ", ".join(parts)
    return redact_uris(said)[:300], remedy.format(credentials=_CREDENTIALS)
