"""What of docs/openapi.yaml this package calls, by operationId. A test holds the table against the document."""
from __future__ import annotations

import re
from typing import Dict, Mapping, NamedTuple, Union
from urllib.parse import quote

Value = Union[int, str]


class Operation(NamedTuple):
    method: str
    path: str
    schema: str = ""  # What the answer's `schema` must begin with; "": it has none.
    repeatable: bool = True  # Asking twice is as asking once.

    def target(self, parameters: Mapping[str, Value], query: Mapping[str, Value]) -> str:
        """The path with its query. ValueError for a name that no path can hold."""
        path = self.path
        for name, value in parameters.items():
            text = str(value)
            if not text or "/" in text or text in (".", "..") or any(ord(letter) < 0x20 for letter in text):
                raise ValueError(f"{text!r} is no {name}")
            path = path.replace("{" + name + "}", quote(text, safe=":"))
        words = "&".join(f"{name}={quote(str(value), safe=',/')}" for name, value in query.items())
        return f"{path}?{words}" if words else path


OPERATIONS: Dict[str, Operation] = {
    "healthz": Operation("GET", "/healthz"),
    "readyz": Operation("GET", "/readyz"),
    "version": Operation("GET", "/version"),
    "metrics": Operation("GET", "/metrics"),
    "openapi": Operation("GET", "/api/v1/openapi.yaml"),
    "whoAmI": Operation("GET", "/api/v1/session", "hone.session/"),
    "listJobs": Operation("GET", "/api/v1/jobs", "hone.jobs/"),
    # The same `request` gives the same job.
    "submitJob": Operation("POST", "/api/v1/jobs", "hone.submit/"),
    "getJob": Operation("GET", "/api/v1/jobs/{job}", "hone.status/"),
    "listTrials": Operation("GET", "/api/v1/jobs/{job}/trials", "hone.trials.columns/"),
    "getTrial": Operation("GET", "/api/v1/jobs/{job}/trials/{trial}", "hone.trial/"),
    "listAttempts": Operation("GET", "/api/v1/jobs/{job}/attempts", "hone.attempts.columns/"),
    "explainJob": Operation("GET", "/api/v1/jobs/{job}/explain", "hone.explain/"),
    "jobEvents": Operation("GET", "/api/v1/jobs/{job}/events", "hone.events/"),
    "events": Operation("GET", "/api/v1/events", "hone.events/"),
    "cancelJob": Operation("POST", "/api/v1/jobs/{job}/cancel", "hone.cancel/", repeatable=False),
    "retryJob": Operation("POST", "/api/v1/jobs/{job}/retry", "hone.retry/", repeatable=False),
    "compare": Operation("GET", "/api/v1/compare", "hone.comparisons/"),
    "listWorkers": Operation("GET", "/api/v1/workers", "hone.workers/"),
    "drainWorker": Operation("POST", "/api/v1/workers/{worker}/drain", "hone.drain/"),
    "undrainWorker": Operation("POST", "/api/v1/workers/{worker}/undrain", "hone.drain/"),
    "fleet": Operation("GET", "/api/v1/fleet", "hone.fleet/"),
    "listSuites": Operation("GET", "/api/v1/nightly", "hone.nightly.suites/"),
    "nightlyHistory": Operation("GET", "/api/v1/nightly/{suite}", "hone.nightly.history/"),
    "getArtifact": Operation("GET", "/api/v1/artifacts/{digest}"),
    "hasArtifact": Operation("HEAD", "/api/v1/artifacts/{digest}"),
    "uploadArtifact": Operation("PUT", "/api/v1/artifacts/{digest}"),
}

_JOB = re.compile(r"[1-9][0-9]{0,18}")
_TRIAL = re.compile(r"[0-9]{1,19}|baseline|best")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def _checked(value: Value, form: "re.Pattern[str]", what: str) -> str:
    text = str(value)
    if isinstance(value, bool) or not form.fullmatch(text):
        raise ValueError(f"{value!r} is no {what}")
    return text


def job_number(value: Value) -> str:
    return _checked(value, _JOB, "job's number")


def trial_name(value: Value) -> str:
    return _checked(value, _TRIAL, "trial: its number, 'baseline' or 'best'")


def digest_of(value: str) -> str:
    return _checked(value, _DIGEST, "digest: 'sha256:' and 64 digits")
