"""Requests and answers over http.client: bounded, without proxies of the environment, without following redirects.

Every answer is bounded in bytes, every wait in time. A body that ends early is an error, not a short body.
Connections that served a whole answer are kept for the next question; what is repeatable is asked again over a new
one when a kept one turns out to be closed.
"""
from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
import zlib
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, TypeVar, Union
from urllib.parse import urlsplit

from ._operations import OPERATIONS, Operation, Value
from ._version import VERSION
from .errors import ProtocolError, Timeout, Unreachable, Untrusted, error_of

_log = logging.getLogger("hone_client")

PIECE = 64 << 10
MOST_PROBLEM = 1 << 20
_MOST_IDLE = 4
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_SHORTEST_WAIT_S = 0.001

_Result = TypeVar("_Result")
_Connection = Union[http.client.HTTPConnection, http.client.HTTPSConnection]


class _Secret:
    """A text that shows itself to nobody who prints, logs or pickles it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> Any:
        raise TypeError("a token is not pickled")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_token(token: str) -> _Secret:
    if not token or not all("!" <= letter <= "~" for letter in token):
        raise ValueError("the token is empty or holds what no token holds (spaces, line ends, letters beyond ASCII)")
    return _Secret(token)


class Answer:
    """An answer whose head has come. Its body comes in pieces, each within `silence` seconds and all before `end`."""

    def __init__(
        self,
        transport: "Transport",
        connection: _Connection,
        channel: socket.socket,
        response: http.client.HTTPResponse,
        is_head: bool,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._channel = channel
        self._response = response
        self.status = response.status
        length = response.getheader("Content-Length")
        self.length = int(length) if length is not None and length.isdecimal() and len(length) < 20 else None
        self._due = 0 if is_head else self.length
        self._received = 0

    def header(self, name: str) -> str:
        return self._response.getheader(name) or ""

    def piece(self, silence: float, end: Optional[float] = None) -> bytes:
        """The next bytes; b"" at the end. Unreachable where the connection broke, Timeout where nothing came."""
        wait = silence if end is None else min(silence, end - time.monotonic())
        try:
            self._channel.settimeout(max(_SHORTEST_WAIT_S, wait))
            piece = self._response.read1(PIECE)
            self._received += len(piece)
            return piece
        except socket.timeout:
            self.release()
            raise Timeout(f"{self._transport.place} told nothing for {max(wait, 0):.1f} s") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.release()
            raise Unreachable(f"the connection to {self._transport.place} broke: {_cause(error)}") from None

    def body(self, most: int, timeout: float) -> bytes:
        """All of it, decompressed, at most `most` bytes; the connection is kept for others."""
        end = time.monotonic() + timeout
        packed = self.header("Content-Encoding").lower()
        if packed not in ("", "identity", "gzip"):
            raise self.wrong(f"its Content-Encoding is {packed[:40]!r}")
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed == "gzip" else None
        whole = bytearray()
        while True:
            if time.monotonic() > end:
                raise self.failed(Timeout(f"{self._transport.place} did not end its answer within {timeout:g} s"))
            piece = self.piece(timeout, end)
            if not piece:
                break
            try:
                whole += unpack.decompress(piece, most + 1 - len(whole)) if unpack else piece
            except zlib.error as error:
                raise self.wrong(f"it cannot be decompressed: {error}") from None
            if len(whole) > most or self._received > most:
                raise self.wrong(f"it is larger than {most} bytes")
        if not self._is_whole():
            cut = f"{self._transport.place} ended its answer after {self._received} of {self._due} bytes"
            raise self.failed(Unreachable(cut))
        if unpack and not unpack.eof:
            raise self.wrong("its compressed body ends early")
        self.keep()
        return bytes(whole)

    def document(self, most: int, timeout: float, schema: str = "") -> Dict[str, Any]:
        media = self.header("Content-Type").split(";")[0].strip().lower()
        body = self.body(most, timeout)
        if media not in ("application/json", "application/problem+json"):
            raise self.wrong(f"it is {media[:60] or 'without a type'!r}, not JSON")
        try:
            document = json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError):
            raise self.wrong("it is no JSON") from None
        if not isinstance(document, dict):
            raise self.wrong("it is no JSON object")
        if schema and not str(document.get("schema", "")).startswith(schema + "1"):
            raise self.wrong(f"its schema is {str(document.get('schema'))[:60]!r}, not {schema + '1'!r}")
        return document

    def wrong(self, why: str) -> ProtocolError:
        self.release()
        return ProtocolError(
            f"{self._transport.place} answered with status {self.status} as no hone coordinator does: {why}",
            "Look whether the URL is a coordinator's (hone-coordinator --http) of this client's version.",
            status=self.status,
        )

    def failed(self, error: Exception) -> Exception:
        self.release()
        return error

    def _is_whole(self) -> bool:
        return self._due is None or self._received == self._due

    def keep(self) -> None:
        """The answer was read to its end: its connection may serve another question."""
        reusable = self._is_whole() and not self._response.will_close
        self._response.close()
        if reusable:
            self._transport.take_back(self._connection)
        else:
            self._connection.close()

    def close(self) -> None:
        """May be called by another thread than the one that reads, which then finds the answer at its end."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass
        self._connection.close()

    def release(self) -> None:
        """Of the thread that reads: nothing more will be read."""
        self.close()
        try:
            self._response.close()
        except (OSError, ValueError):
            pass


def _cause(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the answer ended early"
    text = str(error) or type(error).__name__
    return text[:200]


class Transport:
    """Where a coordinator is, and how it is asked. Any thread may ask."""

    def __init__(
        self, url: str, token: Optional[str], ca_file: Optional[str], timeout: float, patience: float,
        most_answer: int, allow_plain_http: bool,
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("the URL is malformed; give it as https://HOST:PORT") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("give the URL as https://HOST:PORT or http://127.0.0.1:PORT")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL holds a user or a password; give a token as `token`")
        if parts.query or parts.fragment:
            raise ValueError("the URL holds a query or a fragment")
        self._tls = parts.scheme == "https"
        if ca_file is not None and not self._tls:
            raise ValueError("ca_file is for https:// URLs")
        if token is not None and not self._tls and not _is_loopback(host) and not allow_plain_http:
            raise ValueError(
                f"a token is not sent to {host} over plain http: anybody in between reads it. "
                "Use https://, or say allow_plain_http=True where the network itself is encrypted")
        if timeout <= 0 or patience < 0 or most_answer < 1:
            raise ValueError("timeout and most_answer are above 0, patience is not below")
        self._host, self._port = host, port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._token = None if token is None else _checked_token(token)
        self._context = self._make_context(ca_file) if self._tls else None
        self.timeout, self.patience, self.most_answer = timeout, patience, most_answer
        shown = f"[{host}]" if ":" in host else host
        self.place = f"{parts.scheme}://{shown}:{self._port}{self._prefix}"
        self._idle: List[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"Transport({self.place!r})"

    @staticmethod
    def _make_context(ca_file: Optional[str]) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def take_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _kept(self) -> Optional[_Connection]:
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            return self._idle.pop() if self._idle else None

    def _connect(self) -> _Connection:
        connection: _Connection
        if self._context is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self.timeout,
                                                     context=self._context)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self.timeout)
        # Whatever the process sets for all connections: headers, and the token in them, are not printed.
        connection.set_debuglevel(0)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(
                f"the certificate of {self.place} is not trusted: {error.verify_message}",
                "Give the file of the authority that signed it as ca_file; the URL's name must be the certificate's.",
            ) from None
        except socket.timeout:
            raise Unreachable(f"{self.place} did not answer within {self.timeout:g} s", _START) from None
        except OSError as error:
            raise Unreachable(f"cannot connect to {self.place}: {_cause(error)}", _START) from None
        return connection

    def _headers(self, headers: Mapping[str, str]) -> Dict[str, str]:
        all_headers = {"User-Agent": f"hone-client-python/{VERSION}", "Accept-Encoding": "identity", **headers}
        if self._token is not None:
            all_headers["Authorization"] = "Bearer " + self._token.reveal()
        return all_headers

    def _exchange(
        self, connection: _Connection, operation: Operation, target: str, headers: Mapping[str, str],
        body: Optional[bytes],
    ) -> Answer:
        began = time.monotonic()
        try:
            channel = connection.sock
            channel.settimeout(self.timeout)
            connection.request(operation.method, self._prefix + target, body=body, headers=self._headers(headers))
            response = connection.getresponse()
        except socket.timeout:
            connection.close()
            raise Timeout(f"{self.place} did not answer within {self.timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{self.place} ended the connection without an answer: {_cause(error)}", _START) from None
        _log.debug("%s %s %d %.0f ms", operation.method, target, response.status, (time.monotonic() - began) * 1000)
        return Answer(self, connection, channel, response, operation.method == "HEAD")

    def _once(
        self, operation: Operation, target: str, headers: Mapping[str, str], body: Optional[bytes]
    ) -> Answer:
        # A kept connection may have been closed at the other end just now; whether a question over it was taken
        # cannot be known, so only what is repeatable goes over one.
        kept = self._kept()
        if kept is not None and operation.repeatable:
            try:
                return self._exchange(kept, operation, target, headers, body)
            except Unreachable:
                pass
        elif kept is not None:
            self.take_back(kept)
        return self._exchange(self._connect(), operation, target, headers, body)

    def open(
        self,
        name: str,
        parameters: Mapping[str, Value],
        query: Optional[Mapping[str, Value]] = None,
        headers: Optional[Mapping[str, str]] = None,
        body: Optional[bytes] = None,
        takes: Sequence[int] = (200,),
    ) -> Answer:
        """An answer of a status in `takes`, its body not yet read; once. The exception of its problem for another."""
        operation = OPERATIONS[name]
        target = operation.target(parameters, query or {})
        answer = self._once(operation, target, headers or {}, body)
        if answer.status in takes:
            return answer
        if answer.status < 400:
            where = " (a redirect is never followed)" if 300 <= answer.status < 400 else ""
            raise answer.wrong(f"{operation.method} {target} is not answered with it{where}")
        question = f"{operation.method} {target} at {self.place}"
        problem: Optional[Dict[str, Any]] = None
        try:
            if operation.method == "HEAD":
                answer.body(0, self.timeout)
            else:
                problem = answer.document(MOST_PROBLEM, self.timeout)
        except ProtocolError:
            pass  # A proxy's page: the status says what there is to say.
        raise error_of(answer.status, problem, question)

    def patiently(self, attempt: Callable[[], _Result], repeatable: bool, patience: Optional[float] = None) -> _Result:
        """Again and again while nobody answers, for as long as patience lasts."""
        end = time.monotonic() + (self.patience if patience is None else patience)
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except Unreachable:
                if not repeatable or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    def ask(
        self,
        name: str,
        parameters: Mapping[str, Value],
        query: Optional[Mapping[str, Value]] = None,
        body: Optional[Mapping[str, Any]] = None,
        takes: Sequence[int] = (200,),
        patience: Optional[float] = None,
    ) -> Dict[str, Any]:
        """A JSON document of the schema that the operation has."""
        operation = OPERATIONS[name]
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        data: Optional[bytes] = None
        if body is not None:
            data = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"

        def attempt() -> Dict[str, Any]:
            answer = self.open(name, parameters, query, headers, data, takes)
            return answer.document(self.most_answer, self.timeout, operation.schema)

        return self.patiently(attempt, operation.repeatable, patience)

    def text(self, name: str) -> str:
        def attempt() -> str:
            answer = self.open(name, {}, headers={"Accept-Encoding": "gzip"})
            return answer.body(self.most_answer, self.timeout).decode("utf-8", "replace")

        return self.patiently(attempt, True)


_START = "Look whether hone-coordinator runs there with --http, and whether the URL's scheme (http, https) is its own."

