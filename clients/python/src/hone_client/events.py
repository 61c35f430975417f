"""Server-sent events, one at a time, over any number of connections.

Nothing is gathered: what you have not asked for stays in the connection, and a coordinator that holds it back too
long says how many events you missed (kind "gap").
"""
from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, cast

from ._transport import Answer
from .documents import Event
from .errors import HoneError, ProtocolError, Timeout, Unreachable

_MOST_LINE = 1 << 20
_FIRST_PAUSE_S = 0.1
_RETRY_S = (0.1, 30.0)


class _Frame:
    """One event as it came."""

    def __init__(self) -> None:
        self.kind = ""
        self.id: Optional[int] = None
        self.data: List[str] = []
        self.size = 0


class Parser:
    """Bytes in, frames out (WHATWG HTML, 9.2.6). Holds one line and one event, each of at most 1 MiB."""

    def __init__(self) -> None:
        self.last_id: Optional[int] = None
        self.retry_s = 2.0
        self._line = bytearray()
        self._after_return = False
        self._frame = _Frame()

    def feed(self, piece: bytes) -> Iterator[_Frame]:
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_return = piece.endswith(b"\r") if piece else self._after_return
        text = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        for index, part in enumerate(lines):
            self._line += part
            if len(self._line) > _MOST_LINE:
                raise ProtocolError(f"an event's line is longer than {_MOST_LINE} bytes")
            if index + 1 < len(lines):
                line = self._line.decode("utf-8", "replace")
                self._line.clear()
                frame = self._take(line)
                if frame is not None:
                    yield frame

    def _take(self, line: str) -> Optional[_Frame]:
        if not line:
            frame, self._frame = self._frame, _Frame()
            # Not before its end: half an event has to come again.
            self.last_id = self.last_id if frame.id is None else frame.id
            return frame if frame.data or frame.kind else None
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self._frame.size += len(value) + 1
            if self._frame.size > _MOST_LINE:
                raise ProtocolError(f"an event is larger than {_MOST_LINE} letters")
            self._frame.data.append(value)
        elif name == "event":
            self._frame.kind = value
        elif name == "id" and value.isdecimal() and len(value) < 20:
            self._frame.id = int(value)
        elif name == "retry" and value.isdecimal() and len(value) < 10:
            self.retry_s = min(max(int(value) / 1000, _RETRY_S[0]), _RETRY_S[1])
        return None


def _gap(data: Dict[str, Any], job: str) -> Event:
    missed = data.get("events")
    after = data.get("after")
    return {
        "schema": "hone.event/1",
        "seq": after if isinstance(after, int) else 0,
        "job": job,
        "study": 0,
        "trial": 0,
        "time": None,
        "kind": "gap",
        "text": f"{missed if isinstance(missed, int) else 'some'} events are gone; read the job again",
    }


class EventStream:
    """An iterator over events, and a context manager that ends it.

    Connects anew and goes on after the last event when the connection ends, whether the coordinator restarts or the
    network breaks; raises Unreachable when nobody has answered for `patience` seconds. Ends when its time is over or
    close() is called, by any thread; one thread reads.
    """

    def __init__(
        self,
        connect: Callable[[Optional[int]], Answer],
        job: str,
        after: Optional[int],
        timeout: Optional[float],
        patience: float,
        silence: float,
    ) -> None:
        self._connect = connect
        self._job = job
        self._end = None if timeout is None else time.monotonic() + timeout
        self._patience = patience
        self._silence = silence
        self._parser = Parser()
        self._parser.last_id = after
        self._ready: Deque[Event] = deque()
        self._answer: Optional[Answer] = None
        self._alive = time.monotonic()
        self._pause = 0.0
        self._closed = threading.Event()

    @property
    def last(self) -> Optional[int]:
        """The number of the last event that came: `after` of a stream that shall go on there. None: there was none."""
        return self._parser.last_id

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def __iter__(self) -> "EventStream":
        return self

    def __next__(self) -> Event:
        while not self._ready:
            if self._is_over():
                self._finish()
                raise StopIteration
            try:
                self._read()
            except HoneError:
                was_closed = self._closed.is_set()
                self._finish()
                if was_closed:
                    raise StopIteration from None
                raise
        return self._ready.popleft()

    def close(self) -> None:
        self._closed.set()
        answer = self._answer
        if answer is not None:
            answer.close()

    def _finish(self) -> None:
        """Of the thread that reads."""
        self.close()
        self._drop()

    def _is_over(self) -> bool:
        return self._closed.is_set() or (self._end is not None and time.monotonic() >= self._end)

    def _read(self) -> None:
        """What one piece holds; or one attempt to connect."""
        answer = self._answer
        if answer is None:
            return self._open()
        try:
            piece = answer.piece(self._silence, self._end)
        except (Unreachable, Timeout):
            piece = b""
        if not piece:
            self._drop()
            return
        self._alive = time.monotonic()
        for frame in self._parser.feed(piece):
            self._take(frame)
            if self._answer is None:
                return

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.release()
        # What is half here comes again after the last id.
        parser = Parser()
        parser.last_id, parser.retry_s = self._parser.last_id, self._parser.retry_s
        self._parser = parser

    def _open(self) -> None:
        wait = self._pause if self._end is None else min(self._pause, max(0.0, self._end - time.monotonic()))
        if self._closed.wait(wait) or self._is_over():
            return
        self._pause = min(self._parser.retry_s, self._pause * 2 or _FIRST_PAUSE_S)
        try:
            answer = self._connect(self._parser.last_id)
        except (Unreachable, Timeout):
            if time.monotonic() - self._alive > self._patience:
                raise
            return
        media = answer.header("Content-Type").split(";")[0].strip().lower()
        if media != "text/event-stream":
            raise answer.wrong(f"it is {media[:60] or 'without a type'!r}, no stream of events")
        self._answer = answer
        if self._closed.is_set():  # Since the question was asked.
            answer.close()

    def _take(self, frame: _Frame) -> None:
        if frame.kind == "bye":
            return self._drop()
        if not frame.data:
            return None
        try:
            data = json.loads("\n".join(frame.data))
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise ProtocolError(f"an event's data is no JSON object: {frame.data[0][:80]!r}")
        self._pause = 0.0
        if frame.kind == "gap":
            self._ready.append(_gap(data, self._job))
        elif not all(isinstance(data.get(name), kind) for name, kind in (("seq", int), ("kind", str), ("job", str))):
            raise ProtocolError(f"an event has no number, kind or job: {frame.data[0][:80]!r}")
        else:
            self._ready.append(cast(Event, data))
        return None
