"""Where runs are kept: a folder of a file system, or a prefix in a bucket of an object store."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from raybench.records import InputError
from raybench.store.redaction import redact_query, redact_uri

SCHEMES: Final = ("s3", "gs")
DEFAULT_RESULTS: Final = Path("data", "runs")
"""Where runs are kept, below the current folder, unless it is said otherwise."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What every store takes and no shell, URL or glob reads otherwise. A name that is '.' or '..' leads elsewhere.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._=-]{1,255}")
_LONGEST_KEY: Final = 700
"""Characters; S3 and GCS take 1024 bytes, and a run's own names come after these."""


@dataclass(frozen=True, slots=True)
class ObjectUri:
    """``s3://bucket/key`` or ``gs://bucket/key``; joined by ``/`` as a path is. Made by `parse_location`."""

    scheme: str
    bucket: str
    key: str = ""

    def __truediv__(self, name: str) -> ObjectUri:
        """The place ``name`` below this one. Raises `InputError` where that would not be below it."""
        parts = [*self.parts, *name.split("/")]
        for part in parts:
            if not _NAME.fullmatch(part):
                raise InputError(
                    f"{self}: {redact_query(part)[:120]!r} cannot be a part of it; use letters, digits, '.', '_', '-' "
                    "and '='"
                )
        key = "/".join(parts)
        if len(key) > _LONGEST_KEY:
            raise InputError(f"{str(self)[:120]}...: longer than {_LONGEST_KEY} characters; choose a shorter prefix")
        return replace(self, key=key)

    @property
    def parts(self) -> list[str]:
        """The names that its key consists of; none for the bucket itself."""
        return self.key.split("/") if self.key else []

    @property
    def name(self) -> str:
        """The last name; the bucket's for the bucket itself."""
        return self.parts[-1] if self.key else self.bucket

    @property
    def parent(self) -> ObjectUri:
        """The place that it lies in; the bucket's own is the bucket."""
        return replace(self, key="/".join(self.parts[:-1]))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")


Location = Path | ObjectUri
"""Where a run is, or many runs are."""


def parse_location(text: str) -> Location:
    """A path, or what ``s3://bucket/prefix`` and ``gs://bucket/prefix`` name. Raises `InputError`, without secrets."""
    shown = redact_uri(text)
    if not text or "\0" in text:
        raise InputError(f"{shown[:120]!r}: names no place; give a folder, or s3://BUCKET/PREFIX")
    found = _URI.fullmatch(text)
    if not found:
        if (scheme := text.partition(":/")[0]) in SCHEMES:
            raise InputError(f"{shown[:120]!r}: give {scheme}://BUCKET/PREFIX, or ./{shown[:80]} for a folder")
        return Path(text)
    scheme, rest = found.groups()
    if scheme not in SCHEMES:
        raise InputError(f"{shown[:120]!r}: {scheme}:// is not known; give a folder, s3://BUCKET/PREFIX or gs://...")
    if "@" in rest:  # no store takes one in a name; a secret key may hold a slash
        raise InputError(f"{scheme}://...@...: no credentials in the URI; set them as the store's own tools ask for")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{shown[:120]!r}: names no bucket; give {scheme}://BUCKET/PREFIX")
    uri = ObjectUri(scheme, bucket)
    return uri / key.removesuffix("/") if key else uri


def is_run_id(text: str) -> bool:
    """Whether ``text`` can name a run anywhere."""
    return _RUN_ID.fullmatch(text) is not None
