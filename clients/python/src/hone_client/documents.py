"""The shapes of the coordinator's documents, for editors and type checkers; docs/openapi.yaml tells what they mean.

They are plain dictionaries as they came. Keys are only ever added, so there may be more than stands here.
"""
from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict


class Counts(TypedDict):
    waiting: int
    running: int
    complete: int
    infeasible: int
    pruned: int
    failed: int


class Speedup(TypedDict):
    median: Optional[float]
    ci99: Optional[List[Optional[float]]]
    pairs: int


class File(TypedDict):
    path: str
    digest: str
    size_bytes: int


class ModelFiles(TypedDict):
    format: str
    main: str
    files: List[File]


class Trial(TypedDict):
    trial: int
    study: int
    state: str
    phase: Optional[str]
    pipeline: List[Dict[str, Any]]
    backend: Optional[str]
    settings: Dict[str, Any]
    metrics: Dict[str, Optional[float]]
    intervals: Dict[str, Any]
    speedup: Optional[Speedup]
    artifact: Optional[str]
    reason: Optional[str]
    worker: Optional[str]
    attempts: int
    wall_s: float
    execution: Optional[Dict[str, Any]]
    fingerprint: Optional[str]
    notes: List[str]


class TrialDetail(Trial):
    schema: str
    job: str
    created: Optional[str]
    ended: Optional[str]
    model_files: Optional[ModelFiles]
    baseline: Dict[str, Any]
    samples: Dict[str, List[Optional[float]]]
    attempts_log: List[Dict[str, Any]]
    command: str


class TrialRow(TypedDict):
    """A row of `Client.trials`: listTrials' columns, put together. `pareto`: on its study's front. Times are Unix
    seconds."""

    trial: int
    study: int
    state: str
    phase: Optional[str]
    pipeline: List[Dict[str, Any]]
    backend: Optional[str]
    settings: Dict[str, Any]
    worker: Optional[str]
    reason: Optional[str]
    attempts: int
    wall_s: Optional[float]
    created_s: Optional[float]
    ended_s: Optional[float]
    pareto: bool
    metrics: Dict[str, float]
    ci99: Dict[str, List[Optional[float]]]


# A row of `Client.attempts`. Times are Unix seconds. (`pass` is no name that a class body can hold.)
AttemptRow = TypedDict("AttemptRow", {
    "attempt": int,
    "kind": Optional[str],
    "worker": Optional[str],
    "outcome": Optional[str],
    "pass": Optional[str],
    "study": int,
    "trial": int,
    "started_s": Optional[float],
    "ended_s": Optional[float],
    "accuracy_s": Optional[float],
    "timing_s": Optional[float],
    "wait_s": Optional[float],
})


class Study(TypedDict):
    study: int
    target: Dict[str, Any]
    phase: Optional[str]
    ended_by: Optional[str]
    trials: Counts
    budget: Optional[int]
    candidates: Optional[int]
    build_steps: Dict[str, int]
    baseline: Optional[Dict[str, Any]]
    best: Optional[Trial]
    pareto: List[Trial]


class JobBody(TypedDict):
    job: str
    name: Optional[str]
    owner: Optional[str]
    priority: int
    state: str
    error: Optional[str]
    created: Optional[str]
    finished: Optional[str]
    model: Optional[str]
    objectives: List[Dict[str, str]]
    constraints: List[Dict[str, Any]]
    trials: Counts
    last_event: int
    studies: List[Study]


class Job(JobBody):
    schema: str
    recipe: str
    model_files: ModelFiles
    calibration: Optional[ModelFiles]
    evaluation: Optional[ModelFiles]


class Submitted(TypedDict):
    schema: str
    job: str
    notes: List[str]


class Event(TypedDict):
    """What happened. `kind` is a row of proto/PROTOCOL.md, "Events", or "gap": events are gone, read the job again."""

    schema: str
    seq: int
    job: str
    study: int
    trial: int
    time: Optional[str]
    kind: str
    text: str


class Events(TypedDict):
    schema: str
    events: List[Event]
    last: int
    gap: bool


class Session(TypedDict):
    schema: str
    name: Optional[str]
    role: str
    may: List[str]


class Ready(TypedDict):
    ready: bool
    checks: List[Dict[str, Any]]


class Version(TypedDict):
    program: str
    version: str
    api: int
    protocol: int


class Worker(TypedDict):
    name: str
    state: str
    tags: List[str]
    last_seen: Optional[str]
    work: Optional[str]
    passes: List[str]
    backends: List[str]
    fingerprint: Dict[str, Any]


class Fleet(TypedDict):
    schema: str
    workers: Dict[str, int]
    tags: Dict[str, int]
    passes: List[Dict[str, Any]]
    backends: List[Dict[str, Any]]


class Cancelled(TypedDict):
    schema: str
    job: str
    was_running: bool


class Retried(TypedDict):
    schema: str
    job: str
    trials: int


class Drained(TypedDict):
    schema: str
    worker: str
    draining: bool


class Comparisons(TypedDict):
    schema: str
    trials: List[str]
    pairs: List[Dict[str, Any]]


class Explanations(TypedDict):
    schema: str
    job: str
    studies: List[Dict[str, Any]]


class Suite(TypedDict):
    suite: str
    nights: int
    last: Dict[str, Any]


class NightlyHistory(TypedDict):
    schema: str
    suite: str
    series: List[Dict[str, Any]]
    annotations: List[Dict[str, Any]]
