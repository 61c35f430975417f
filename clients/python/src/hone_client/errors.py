"""What can go wrong, as exceptions that say what the coordinator said.

The classes are those of the command's exit codes (docs/cli.md), one a name; each knows its number.
"""
from __future__ import annotations

from typing import Any, Dict, Optional, Type


class Place:
    """Where in a text of yours (a recipe) something is wrong. Lines and columns count from 1; 0 is unknown."""

    def __init__(self, file: str, line: int, column: int) -> None:
        self.file = file
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number > 0)])

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"


class HoneError(Exception):
    """The parent of all errors of this package.

    detail: what was attempted on what, then the cause.
    remedy: what to do about it, or None.
    place:  where in the recipe, or None.
    status: the HTTP status, or None where no answer came.
    code, name: the exit code that the command would have, and its word.
    """

    code = 4
    name = "failed"

    def __init__(
        self,
        detail: str,
        remedy: Optional[str] = None,
        place: Optional[Place] = None,
        status: Optional[int] = None,
        code: Optional[int] = None,
        name: Optional[str] = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.place = place
        self.status = status
        self.code = type(self).code if code is None else code
        self.name = type(self).name if name is None else name

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{place}{self.detail}{remedy}"


class Refused(HoneError):
    """It ran properly, and the answer is no."""

    code, name = 1, "no"


class UsageError(HoneError):
    """The question itself is wrong."""

    code, name = 2, "usage"


class Unsure(HoneError):
    """The data cannot decide."""

    code, name = 3, "unsure"


class Failed(HoneError):
    """It was tried, and failed."""

    code, name = 4, "failed"


class UnfitMachine(HoneError):
    """The machine is unfit for measuring."""

    code, name = 5, "environment"


class Unreachable(HoneError):
    """No coordinator answers there, the connection broke, or it is too busy. Asking again may help."""

    code, name = 6, "unreachable"


class Denied(HoneError):
    """No token, an unknown one (status 401), or not with this role (403)."""

    code, name = 7, "denied"


class Untrusted(Denied):
    """The server's certificate is not trusted; nothing was sent."""


class NotFound(HoneError):
    """There is no such job, trial, artifact, worker or suite."""

    code, name = 8, "not_found"


class Rejected(HoneError):
    """A model, data or a recipe is invalid."""

    code, name = 9, "rejected"


class Damaged(Rejected):
    """What came is not what its digest says. Nothing was written."""


class Timeout(HoneError):
    """It took longer than allowed; the work continues."""

    code, name = 10, "timeout"


class Cancelled(HoneError):
    """It was cancelled."""

    code, name = 11, "cancelled"


class Exhausted(HoneError):
    """A disk, a quota or a memory is full."""

    code, name = 12, "exhausted"


class Conflict(HoneError):
    """Something else changed it at the same time."""

    code, name = 13, "conflict"


class ServerBug(HoneError):
    """The coordinator found a mistake of its own."""

    code, name = 70, "bug"


class Misconfigured(HoneError):
    """The coordinator's configuration is wrong."""

    code, name = 78, "configuration"


class ProtocolError(HoneError):
    """The answer is not what the API says: another program listens there, or a proxy is in between."""

    code, name = 70, "bug"


class JobFailed(HoneError):
    """A job that was waited for ended otherwise than complete. `job` is its document."""

    code, name = 4, "failed"

    def __init__(self, job: Dict[str, Any]) -> None:
        why = f": {job['error']}" if job.get("error") else ""
        super().__init__(f"job {job.get('job')} is {job.get('state')}{why}")
        self.job = job


_BY_NAME: Dict[str, Type[HoneError]] = {
    kind.name: kind
    for kind in (
        Refused, UsageError, Unsure, Failed, UnfitMachine, Unreachable, Denied, NotFound, Rejected, Timeout, Cancelled,
        Exhausted, Conflict, ServerBug, Misconfigured,
    )
}
_BY_STATUS: Dict[int, Type[HoneError]] = {
    400: UsageError, 401: Denied, 403: Denied, 404: NotFound, 409: Conflict, 413: UsageError, 415: UsageError,
    416: UsageError, 421: Denied, 422: Rejected, 502: Unreachable, 503: Unreachable, 504: Timeout, 507: Exhausted,
}
_LONGEST = 4000


def _text(value: Any) -> Optional[str]:
    return value[:_LONGEST] if isinstance(value, str) and value else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def error_of(status: int, problem: Any, question: str) -> HoneError:
    """The exception for an answer of 400 and above. `problem` is its document, or None where it had none."""
    document = problem if isinstance(problem, dict) else {}
    name = _text(document.get("name"))
    kind = _BY_NAME.get(name or "") or _BY_STATUS.get(status, Failed)
    position = document.get("position")
    place = None
    if isinstance(position, dict):
        place = Place(_text(position.get("file")) or "recipe", _number(position.get("line")),
                      _number(position.get("column")))
    detail = _text(document.get("detail")) or _text(document.get("title")) or f"{question}: HTTP status {status}"
    return kind(detail, _text(document.get("remedy")), place, status, _number(document.get("code")) or None, name)
