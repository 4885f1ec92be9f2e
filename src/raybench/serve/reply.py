"""One HTTP answer as its bytes come: when which part of its body was read, and what is wrong with it."""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from raybench.serve.faults import KEPT_BYTES

MOST_HEAD_BYTES: Final = 64 << 10
MOST_BYTES: Final = 64 << 20
"""Of an answer with its framing: a hundred thousand tokens with five log probabilities each."""


class Reply:
    """What `httptools` calls back, and what came of it. It takes no time itself: ``ns`` is when bytes were read.

    ``reads``: (ns, bytes) of the body, one for each read that brought some. Of a status other than 200 the body is
    kept up to 2 kB. ``status``: None until the head is complete. ``error`` ends it, as ``complete`` does.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.status: int | None = None
        self.content_type = ""
        self.reads: list[tuple[int, bytes]] = []
        self.body_bytes = 0
        self.complete = False
        self.keep_alive = False
        self.error: str | None = None
        self._most_bytes = most_bytes
        self._fed = 0
        self._pieces: list[bytes] = []
        self._framed = False  # whether the head says where the body ends
        self._encoding = ""
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.complete or self.error is not None

    def feed(self, ns: int, data: bytes) -> None:
        """Bytes that were read at ``ns``."""
        if self._parser is None:  # after the end: the connection cannot be used again
            self.keep_alive = False
            return
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("the server goes on in another protocol, which was not asked for")
        except HttpParserError as error:
            self._fail(f"the server's answer is no HTTP that can be read: {error}")
        if self._pieces:
            self.reads.append((ns, self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)))
            self._pieces.clear()
        if not self.over:
            if self.status is None and self._fed > MOST_HEAD_BYTES:
                self.error = f"the head of the server's answer is longer than {MOST_HEAD_BYTES} bytes"
            elif self._fed > self._most_bytes:
                self.error = f"the server's answer is longer than {self._most_bytes} bytes"
        if self.over:
            self._parser = None  # it refers to this object: garbage collection is off while requests are timed

    def _fail(self, error: str) -> None:
        self.keep_alive = False
        if not self.over:
            self.error = error

    def end(self, why: str) -> None:
        """The connection has ended, ``why`` says how: the end of the answer, where its head names none."""
        if not self.over:
            if self.status is not None and not self._framed:
                self.complete = True
            else:
                where = "before any byte of it" if self._fed == 0 else f"after {self.body_bytes} bytes of its body"
                self.error = f"{why}, {where}"
        self.keep_alive = False
        self._parser = None

    # What httptools calls. An error that is set here ends the answer when the read has been parsed.

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        match name.lower():
            case b"content-type":
                self.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
            case b"content-length" | b"transfer-encoding":
                self._framed = True
            case b"content-encoding":
                self._encoding = value.decode("latin-1").strip().lower()

    def on_headers_complete(self) -> None:
        if self.complete or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self._encoding not in ("", "identity"):
            self.error = f"the server's answer is encoded ({self._encoding[:40]!r}), which was not asked for"

    def on_body(self, body: bytes) -> None:
        if self.over:
            return
        self.body_bytes += len(body)
        if self.status != 200:
            body = body[: max(0, KEPT_BYTES - (self.body_bytes - len(body)))]
        if body:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self.over or self._parser is None:
            return
        if self.status is not None and 100 <= self.status < 200:  # an interim answer: the other follows
            self.status, self.content_type, self._framed, self._encoding = None, "", False, ""
            return
        self.complete = True
        self.keep_alive = self._parser.should_keep_alive()
