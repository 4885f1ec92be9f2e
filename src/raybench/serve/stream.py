"""Server-sent events out of bytes as they come, wherever they are cut.

As the HTML standard has it ("Interpreting an event stream"): lines end with LF, CRLF or CR, a blank line ends an event,
lines with a colon first are comments, the ``data`` fields of an event are its lines. Two things differ: an event that
the stream ends in is handed on (some servers leave out the last blank line), and data are bytes, which are looked at
later: what is no UTF-8 is a fault of the answer, not of reading it.
"""

from __future__ import annotations

from typing import Final

from raybench.serve.faults import AnswerFault

LONGEST_EVENT_BYTES: Final = 4 << 20
"""Of one event with its field names: a thousand log probabilities of a token are about a hundred kilobytes."""

DONE: Final = b"[DONE]"
"""The data of the event that ends a stream of the OpenAI API."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class EventReader:
    """Reads one stream. ``feed`` and ``close`` return the data of the events that became complete."""

    def __init__(self, longest_bytes: int = LONGEST_EVENT_BYTES) -> None:
        self.longest_bytes = longest_bytes
        self._first = True
        self._rest: list[bytes] = []  # of a line that is not complete
        self._rest_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Raises `AnswerFault` where an event is longer than it may be."""
        if self._after_cr and data.startswith(b"\n"):  # the second half of a CRLF: the line has ended
            data = data[1:]
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        head, ended, tail = data.rpartition(b"\n")
        events: list[bytes] = []
        if ended:
            lines = b"".join([*self._rest, head]).split(b"\n")
            self._rest, self._rest_bytes = [], 0
            for line in lines:
                self._line(line, events)
        if tail:
            self._rest.append(tail)
            self._rest_bytes += len(tail)
        if self._rest_bytes + self._data_bytes > self.longest_bytes:
            raise self._too_long()
        return events

    def close(self) -> list[bytes]:
        """The stream has ended: what was not ended by a blank line is complete now."""
        events: list[bytes] = []
        if self._rest:
            self._line(b"".join(self._rest), events)
        self._line(b"", events)
        self._rest, self._rest_bytes = [], 0
        return events

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data, self._data_bytes = [], 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":  # what comments, event, id and retry say is not asked of a stream of tokens
            self._data.append(value.removeprefix(b" "))
            self._data_bytes += len(line)
            if self._data_bytes > self.longest_bytes:
                raise self._too_long()

    def _too_long(self) -> AnswerFault:
        return AnswerFault(f"an event of the stream is longer than {self.longest_bytes} bytes")
