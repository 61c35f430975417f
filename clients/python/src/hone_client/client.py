"""The client: one method an operation of the API (docs/openapi.yaml), and the few that take several."""
from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
import uuid
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, cast

from . import _rows
from ._operations import Value, digest_of, job_number, trial_name
from ._transport import Answer, Transport
from .bundles import PIECE, AnyPath, Bundle, DataSet, data_bundle, is_safe_relative_path, measured, model_bundle
from .documents import (AttemptRow, Cancelled, Comparisons, Drained, Events, Explanations, Fleet, Job, JobBody,
                        ModelFiles, NightlyHistory, Ready, Retried, Session, Submitted, Suite, TrialDetail, TrialRow,
                        Version, Worker)
from .errors import Conflict, Damaged, JobFailed, NotFound, ProtocolError, Timeout, Unreachable
from .events import EventStream

Recipe = Union[str, "os.PathLike[str]", Mapping[str, Any]]
Data = Union[AnyPath, DataSet]
Progress = Callable[[int, int], None]

_MOST_ANSWER = 256 << 20
_MOST_RECIPE = 1 << 20
_TRIALS_A_PAGE = 5000
_ATTEMPTS_A_PAGE = 5000
_JOBS_A_PAGE = 100
# A stream says something every 15 s.
_SILENCE_S = 45.0
_LOOK_AGAIN_S = 30.0
_MOST_STALLS = 8
_LONG_PATIENCE_S = 300.0
_RECIPE_FILE = re.compile(r"[^\n:{}]+\.ya?ml")


class Client:
    """A coordinator, reached over its HTTP API.

    url:      "https://coordinator:5780", "http://127.0.0.1:5780"; a path before /api/v1 is kept (behind a proxy).
    token:    of `hone token create`. It is sent to this host alone, never along a redirect, never over plain http off
              the loopback (ValueError), and stands in no log, no exception and no repr.
    ca_file:  PEM file with the authority that signed the server's certificate. With it, that authority alone is
              trusted; without, those of the system. Certificates and names are always checked.
    timeout:  seconds for connecting, for the head of an answer, and for the whole of a document; seconds of silence
              while an artifact comes.
    patience: for so many seconds a question that changes nothing, or can be asked twice, is asked again while nobody
              answers (Unreachable): a coordinator that restarts is not noticed.
    most_answer: bytes of the largest document that is taken (ProtocolError).
    allow_plain_http: sends the token over plain http off the loopback, where the network itself is encrypted (a
                      tunnel).

    Proxies of the environment are not used. Any thread may use a client; each question has a connection of its own,
    and idle ones are kept for the next. Methods raise the exceptions of hone_client.errors, and ValueError for an
    argument that cannot be. Documents are dictionaries as the coordinator wrote them.
    """

    def __init__(
        self,
        url: str,
        token: Optional[str] = None,
        ca_file: Optional[AnyPath] = None,
        timeout: float = 30.0,
        patience: float = 5.0,
        most_answer: int = _MOST_ANSWER,
        allow_plain_http: bool = False,
    ) -> None:
        authority = None if ca_file is None else os.fspath(ca_file)
        self._transport = Transport(url, token, authority, timeout, patience, most_answer, allow_plain_http)

    def __repr__(self) -> str:
        return f"hone_client.Client({self._transport.place!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends idle connections; the client asks nothing more."""
        self._transport.close()

    # --- the coordinator ---------------------------------------------------------------------------------------------

    def healthy(self) -> bool:
        """Whether the coordinator's loop turned within the last 2 s. Needs no token."""
        answer = self._transport.open("healthz", {}, takes=(200, 503))
        answer.body(1 << 16, self._transport.timeout)
        return answer.status == 200

    def ready(self) -> Ready:
        """Whether new work is taken, each check by name. Needs no token; without one, names and yes or no alone."""
        return cast(Ready, self._transport.ask("readyz", {}, takes=(200, 503)))

    def version(self) -> Version:
        return cast(Version, self._transport.ask("version", {}))

    def metrics(self) -> str:
        """Figures in Prometheus' text format."""
        return self._transport.text("metrics")

    def openapi(self) -> str:
        """The API's own description, YAML."""
        return self._transport.text("openapi")

    def who_am_i(self) -> Session:
        """Whose token this is, and what is answered to it; "anonymous" without a token, or for an unknown one."""
        return cast(Session, self._transport.ask("whoAmI", {}))

    # --- jobs --------------------------------------------------------------------------------------------------------

    def submit(
        self,
        model: AnyPath,
        recipe: Recipe,
        calibration: Optional[Data] = None,
        evaluation: Optional[Data] = None,
        name: Optional[str] = None,
        priority: int = 0,
        request: Optional[str] = None,
        external_files: Sequence[str] = (),
        progress: Optional[Progress] = None,
    ) -> Submitted:
        """Uploads what the coordinator lacks, and submits a job; its number is the document's `job`.

        recipe:      a Path, or a str that ends in .yaml or .yml: the recipe's file. Another str: its text. A mapping:
                     what the file would hold. Paths in a recipe (model, data) are not read: give the files here.
        calibration, evaluation: data sets (a path, or a DataSet for a part of one).
        priority:    -100 to 100, the higher the sooner.
        request:     the same one gives the same job, whatever happened to the first answer. Without it each call
                     makes a job, and only one, also where a connection breaks.
        external_files: what an .onnx file names itself (external data), relative to its folder.
        progress:    called with bytes done and bytes in all while files go up. An interrupted upload goes on where it
                     stopped.

        Rejected names the place in the recipe. NotFound for a file that is not there.
        """
        text = _recipe_text(recipe)
        model_files = model_bundle(model, external_files)
        data: Dict[str, Tuple[DataSet, Bundle]] = {}
        for key, given in (("calibration", calibration), ("evaluation", evaluation)):
            if given is not None:
                part = given if isinstance(given, DataSet) else DataSet(given)
                data[key] = (part, data_bundle(part.path))
        self._upload_files([model_files, *(bundle for _, bundle in data.values())], progress)
        body: Dict[str, Any] = {"recipe": text, "model": model_files.document(), "priority": priority,
                                "request": uuid.uuid4().hex if request is None else request}
        for key, (part, bundle) in data.items():
            bounds = {"from": part.start, "samples": part.samples}
            body[key] = {**bundle.document(), **{name: value for name, value in bounds.items() if value is not None}}
        if name is not None:
            body["name"] = name
        document = self._transport.ask("submitJob", {}, body=body, takes=(201,))
        job_number(_rows.text(document, "job"))
        return cast(Submitted, document)

    def jobs(
        self, state: Union[str, Sequence[str]] = (), owner: Optional[str] = None, name: Optional[str] = None
    ) -> Iterator[JobBody]:
        """Jobs, the newest first, page by page as they are asked for.

        state: running, complete, failed, cancelled; one or several. name: a part of it.
        """
        query: Dict[str, Value] = {"limit": _JOBS_A_PAGE, **_filters(state=_listed(state), owner=owner, name=name)}
        while True:
            document = self._transport.ask("listJobs", {}, query)
            yield from cast(List[JobBody], _rows.items(document, "jobs"))
            following = document.get("next")
            if following is None:
                return
            before = job_number(following) if isinstance(following, (int, str)) else "0"
            if "before" in query and int(before) >= int(query["before"]):
                raise ProtocolError("the pages of jobs do not end")
            query["before"] = before

    def job(self, job: Value) -> Job:
        """A job: state, and counts, baseline, best and front of each study, and what it was submitted with."""
        return cast(Job, self._transport.ask("getJob", {"job": job_number(job)}))

    def trials(
        self,
        job: Value,
        study: Optional[int] = None,
        state: Union[str, Sequence[str]] = (),
        metrics: Sequence[str] = (),
    ) -> Iterator[TrialRow]:
        """A job's trials, ordered by study and number, page by page as they are asked for.

        state:   waiting, running, complete, infeasible, pruned, failed; one or several.
        metrics: these alone ("speedup" is one of them); half the bytes.

        While a job runs its trials change from page to page (5000 a page); trial_columns tells changes.
        """
        query: Dict[str, Value] = {"limit": _TRIALS_A_PAGE,
                                   **_filters(study=study, state=_listed(state), metrics=",".join(metrics))}
        return self._pages("listTrials", job, query, "from", _rows.trial_rows)

    def trial_columns(
        self,
        job: Value,
        study: Optional[int] = None,
        state: Union[str, Sequence[str]] = (),
        metrics: Sequence[str] = (),
        since: Optional[str] = None,
        brief: bool = False,
        start: int = 0,
        limit: Optional[int] = None,
    ) -> Dict[str, Any]:
        """Trials as columns, as the API tells them: for data frames, and for asking what changed (`since`: a former
        `cursor`)."""
        query = _filters(study=study, state=_listed(state), metrics=",".join(metrics), since=since, limit=limit,
                         columns="brief" if brief else None)
        if start:
            query["from"] = start
        return self._transport.ask("listTrials", {"job": job_number(job)}, query)

    def trial(self, job: Value, trial: Value, study: int = 0) -> TrialDetail:
        """All there is to know of a trial: its number, "baseline" or "best" (NotFound while there is none)."""
        parameters = {"job": job_number(job), "trial": trial_name(trial)}
        return cast(TrialDetail, self._transport.ask("getTrial", parameters, {"study": study}))

    def best(self, job: Value, study: int = 0) -> TrialDetail:
        """The best trial of a study. NotFound while there is none."""
        return self.trial(job, "best", study)

    def attempts(self, job: Value) -> Iterator[AttemptRow]:
        """Who worked on what, when, in the order of the attempts' beginning."""
        return self._pages("listAttempts", job, {"limit": _ATTEMPTS_A_PAGE}, "after", _rows.attempt_rows)

    def explain(self, job: Value) -> Explanations:
        """Which parameters mattered, what each step of the best bought, what was kept out."""
        return cast(Explanations, self._transport.ask("explainJob", {"job": job_number(job)}))

    def compare(self, trials: Sequence[str], study: int = 0) -> Comparisons:
        """2 to 16 trials side by side, each against the first: "42/7", "42/baseline", "43/best"."""
        return cast(Comparisons, self._transport.ask("compare", {}, {"trials": ",".join(trials), "study": study}))

    def cancel(self, job: Value, reason: str = "") -> Cancelled:
        """Cancels a job; `was_running` tells whether there was anything to cancel."""
        return cast(Cancelled, self._transport.ask("cancelJob", {"job": job_number(job)}, body={"reason": reason}))

    def retry(self, job: Value, study: Optional[int] = None, trial: Optional[int] = None) -> Retried:
        """Takes the failed trials of a job that ended up again, or those of one study, or one of them."""
        body = _filters(study=study, trial=trial)
        return cast(Retried, self._transport.ask("retryJob", {"job": job_number(job)}, body=body))

    def wait(
        self, job: Value, timeout: Optional[float] = None, check: bool = False, patience: float = _LONG_PATIENCE_S
    ) -> Job:
        """Waits until a job has ended; its document. Restarts of the coordinator are waited out, for `patience`
        seconds each.

        timeout: seconds; Timeout after them, and the job goes on. check: JobFailed where its state is not "complete".
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            document = self._transport.ask("getJob", {"job": job_number(job)}, patience=patience)
            if _rows.text(document, "state") != "running":
                if check and document["state"] != "complete":
                    raise JobFailed(document)
                return cast(Job, document)
            left = _LOOK_AGAIN_S if end is None else min(_LOOK_AGAIN_S, end - time.monotonic())
            if left <= 0:
                raise Timeout(f"job {job} still runs after {timeout:g} s", "It goes on; wait again, or cancel it.")
            after = _rows.member(document, "last_event", int)
            with self.events(job, after=after, timeout=left, patience=patience) as stream:
                for event in stream:
                    if event["kind"].startswith("job.") and event["kind"] != "job.submitted" or event["kind"] == "gap":
                        break

    # --- events ------------------------------------------------------------------------------------------------------

    def events(
        self,
        job: Optional[Value] = None,
        after: Optional[int] = None,
        timeout: Optional[float] = None,
        patience: float = _LONG_PATIENCE_S,
    ) -> EventStream:
        """What happens to a job, or to all jobs and the fleet (job "0"), as it happens: an iterator, and a context
        manager.

            with client.events(job) as events:
                for event in events:
                    print(event["kind"], event["text"])

        It goes on over restarts of the coordinator, from the event after the last one; Unreachable when nobody has
        answered for `patience` seconds. It does not end with the job (kinds job.complete, job.failed, job.cancelled);
        wait() does.

        after:   events numbered above this; 0 for all there are. Without it the stream begins now.
        timeout: the stream ends after so many seconds.
        """
        number = None if job is None else job_number(job)
        name, parameters = ("events", {}) if number is None else ("jobEvents", {"job": number})
        if after is None and number is not None:
            # "Now" is known, so that nothing is lost where the first connection breaks before its first event.
            after = _rows.member(self._transport.ask("getJob", parameters), "last_event", int)

        def connect(last: Optional[int]) -> Answer:
            headers = {"Accept": "text/event-stream"}
            if last is not None:
                headers["Last-Event-ID"] = str(last)
            return self._transport.open(name, parameters, headers=headers)

        return EventStream(connect, number or "0", after, timeout, patience, _SILENCE_S)

    def past_events(self, job: Optional[Value] = None, after: int = 0) -> Events:
        """The events that there are after a number, a page of them; waits for none. `last` is the `after` of the
        next."""
        if job is None:
            return cast(Events, self._transport.ask("events", {}, {"after": after}))
        return cast(Events, self._transport.ask("jobEvents", {"job": job_number(job)}, {"after": after}))

    # --- the fleet ---------------------------------------------------------------------------------------------------

    def workers(self) -> List[Worker]:
        """Workers, lost ones too."""
        return cast(List[Worker], _rows.items(self._transport.ask("listWorkers", {}), "workers"))

    def drain(self, worker: str) -> Drained:
        """Gives a worker nothing new. Administrators alone."""
        return cast(Drained, self._transport.ask("drainWorker", {"worker": worker}, body={}))

    def undrain(self, worker: str) -> Drained:
        """Gives it work again. Administrators alone."""
        return cast(Drained, self._transport.ask("undrainWorker", {"worker": worker}, body={}))

    def fleet(self) -> Fleet:
        """The fleet in short, with the catalogue of what live workers can do."""
        return cast(Fleet, self._transport.ask("fleet", {}))

    def nightly(self) -> List[Suite]:
        """The suites of the history that the coordinator shows, each with its newest night."""
        return cast(List[Suite], _rows.items(self._transport.ask("listSuites", {}), "suites"))

    def nightly_history(self, suite: str) -> NightlyHistory:
        """Every series of a suite with its nights, verdicts, changes of level and annotations."""
        return cast(NightlyHistory, self._transport.ask("nightlyHistory", {"suite": suite}))

    # --- artifacts ---------------------------------------------------------------------------------------------------

    def artifact_size(self, digest: str) -> Optional[int]:
        """The size of an artifact in the store; None where it is not there."""
        parameters = {"digest": digest_of(digest)}

        def attempt() -> Optional[int]:
            try:
                answer = self._transport.open("hasArtifact", parameters)
            except NotFound:
                return None
            answer.body(0, self._transport.timeout)
            return answer.length

        return self._transport.patiently(attempt, True)

    def upload(self, file: AnyPath, progress: Optional[Progress] = None) -> str:
        """Puts a file into the store, in pieces, from where an earlier attempt stopped; its digest."""
        path = Path(os.path.abspath(file))
        digest, size = measured(path)
        self._upload_one(digest, size, path, progress or _silent)
        return digest

    def download_artifact(
        self, digest: str, path: AnyPath, size_bytes: Optional[int] = None, progress: Optional[Progress] = None
    ) -> Path:
        """Fetches an artifact into a file, which is there whole and with this digest, or not at all (Damaged).

        A file of that name is replaced in one step. A broken connection is taken up where it broke. size_bytes: the
        size it must have; a larger one is not even received.
        """
        target = Path(os.path.abspath(path))
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._fetch(digest_of(digest), file, size_bytes, progress or _silent)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            try:
                os.unlink(temporary)
            except FileNotFoundError:
                pass
            raise
        return target

    def download(
        self, job: Value, folder: AnyPath, trial: Value = "best", study: int = 0, progress: Optional[Progress] = None
    ) -> Path:
        """Fetches the model of a trial, with all its files, into a folder (made where it is not there); its main file.

        Every file is checked against its SHA-256 and replaced in one step; other files of the folder stay. NotFound
        where the trial has no model (yet).
        """
        detail = self.trial(job, trial, study)
        files = detail.get("model_files")
        if not isinstance(files, dict):
            raise NotFound(f"trial {detail.get('trial')} of job {job} has no model", "Its state and reason tell why.")
        wanted = _checked_files(files)
        root = Path(os.path.abspath(folder))
        total = sum(size for _, _, size in wanted)
        done = 0
        for relative, digest, size in wanted:
            target = root / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.parent.resolve() != root.resolve().joinpath(*Path(relative).parts[:-1]):
                raise Damaged(f"{target.parent} leads out of {root}")
            before = done
            self.download_artifact(digest, target, size,
                                   lambda got, _: progress(before + got, total) if progress else None)
            done += size
        main = files.get("main")
        return root / main if isinstance(main, str) and main in {path for path, _, _ in wanted} else root

    # --- beneath -----------------------------------------------------------------------------------------------------

    def _pages(
        self, name: str, job: Value, query: Dict[str, Value], place: str,
        rows: Callable[[Dict[str, Any]], Iterator[Any]],
    ) -> Iterator[Any]:
        parameters = {"job": job_number(job)}

        def pages() -> Iterator[Any]:
            at = -1
            while True:
                document = self._transport.ask(name, parameters, query)
                yield from rows(document)
                following = document.get("next")
                if following is None:
                    return
                if not isinstance(following, int) or following <= at:
                    raise ProtocolError(f"the pages of {name} do not end")
                at = query[place] = following

        return pages()

    def _upload_files(self, bundles: Sequence[Bundle], progress: Optional[Progress]) -> None:
        files = {one.digest: one for bundle in bundles for one in bundle.files}
        total = sum(one.size_bytes for one in files.values())
        done = 0
        for one in files.values():
            before = done
            self._upload_one(one.digest, one.size_bytes, one.where,
                             lambda got, _: progress(before + got, total) if progress else None)
            done += one.size_bytes

    def _upload_one(self, digest: str, size: int, path: Path, progress: Progress) -> None:
        if self.artifact_size(digest) == size:
            progress(size, size)
            return
        held = stalls = 0
        with open(path, "rb") as file:
            while stalls <= _MOST_STALLS:
                file.seek(held)
                piece = file.read(PIECE)
                if not piece or held + len(piece) > size:
                    raise Damaged(f"{path} changed while it was uploaded")
                try:
                    complete, holds = self._put(digest, held, size, piece)
                except Conflict:  # The store forgot what it had.
                    complete, holds = False, 0
                if complete:
                    progress(size, size)
                    return
                progress(holds, size)
                # It goes on where the store says, forwards but for few times.
                stalls += holds <= held or holds == size
                held = holds if holds < size else max(0, size - PIECE)
        raise ProtocolError(f"the upload of {path} does not come to an end")

    def _put(self, digest: str, offset: int, size: int, piece: bytes) -> Tuple[bool, int]:
        headers = {"Content-Type": "application/octet-stream", "Accept": "application/json",
                   "Content-Range": f"bytes {offset}-{offset + len(piece) - 1}/{size}"}

        def attempt() -> Dict[str, Any]:
            answer = self._transport.open("uploadArtifact", {"digest": digest}, headers=headers, body=piece,
                                          takes=(201, 202))
            return answer.document(self._transport.most_answer, self._transport.timeout)

        document = self._transport.patiently(attempt, True)
        held: int = _rows.member(document, "received_bytes", int)
        if not 0 <= held <= size:
            raise ProtocolError(f"the store holds {held} of {size} bytes of {digest}")
        return bool(document.get("complete")), held

    def _fetch(self, digest: str, file: BinaryIO, size: Optional[int], progress: Progress) -> None:
        hasher = hashlib.sha256()
        received = 0
        end_of_patience = time.monotonic() + self._transport.patience
        while True:
            try:
                answer = self._open_artifact(digest, received)
                whole = size if size is not None else (received + answer.length if answer.length is not None else None)
                for piece in iter(lambda: answer.piece(self._transport.timeout), b""):
                    received += len(piece)
                    if whole is not None and received > whole:
                        answer.release()
                        raise Damaged(f"{digest} is larger than its {whole} bytes")
                    file.write(piece)
                    hasher.update(piece)
                    progress(received, whole if whole is not None else received)
                    end_of_patience = time.monotonic() + self._transport.patience
                if whole is not None and received < whole:
                    answer.release()
                    raise Unreachable(f"{self._transport.place} ended {digest} after {received} of {whole} bytes")
                answer.keep()
                break
            except (Unreachable, Timeout):
                if time.monotonic() >= end_of_patience:
                    raise
                time.sleep(0.1)
        if "sha256:" + hasher.hexdigest() != digest:
            raise Damaged(f"what came as {digest} is sha256:{hasher.hexdigest()}",
                          "Nothing was written; fetch it again.")

    def _open_artifact(self, digest: str, offset: int) -> Answer:
        if not offset:
            return self._transport.open("getArtifact", {"digest": digest})
        answer = self._transport.open("getArtifact", {"digest": digest}, headers={"Range": f"bytes={offset}-"},
                                      takes=(206,))
        if not answer.header("Content-Range").startswith(f"bytes {offset}-"):
            raise answer.wrong(f"its Content-Range is {answer.header('Content-Range')[:60]!r}")
        return answer


def _silent(done: int, total: int) -> None:
    pass


def _filters(**given: Union[Value, None]) -> Dict[str, Value]:
    return {name: value for name, value in given.items() if value is not None and value != ""}


def _listed(state: Union[str, Sequence[str]]) -> str:
    return state if isinstance(state, str) else ",".join(state)


def _recipe_text(recipe: Recipe) -> str:
    if isinstance(recipe, Mapping):
        # JSON is YAML, with every text in quotes.
        text = json.dumps(recipe, ensure_ascii=False, allow_nan=False)
    elif not isinstance(recipe, str) or _RECIPE_FILE.fullmatch(recipe):
        path = Path(recipe)
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(_MOST_RECIPE + 1)
        except FileNotFoundError:
            raise NotFound(f"recipe {path} is not there") from None
        except UnicodeDecodeError:
            raise ValueError(f"recipe {path} is no UTF-8") from None
    else:
        text = recipe
    if len(text.encode("utf-8", "surrogatepass")) > _MOST_RECIPE:
        raise ValueError("the recipe is larger than 1 MiB")
    return text


def _checked_files(files: ModelFiles) -> List[Tuple[str, str, int]]:
    """Paths, digests and sizes, as a server gave them: each path beneath the folder, none twice, none beneath
    another."""
    listed = files.get("files")
    wanted: List[Tuple[str, str, int]] = []
    for one in listed if isinstance(listed, list) else []:
        path, digest, size = (one.get(key) for key in ("path", "digest", "size_bytes")) if isinstance(one, dict) else (
            None, None, None)
        if not isinstance(path, str) or not is_safe_relative_path(path):
            raise Damaged(f"a model's file has the path {str(path)[:80]!r}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1 or not isinstance(digest, str):
            raise Damaged(f"the model's file {path!r} has no digest or no size")
        wanted.append((path, digest_of(digest), size))
    paths = {path for path, _, _ in wanted}
    if not wanted or len(paths) != len(wanted):
        raise Damaged("the model has no files, or two of one path")
    return wanted
