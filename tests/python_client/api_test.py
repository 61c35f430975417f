"""The client against a real coordinator: every operation, a real job, tokens, TLS, a restart."""
import ast
import contextlib
import hashlib
import http.client
import io
import logging
import pickle
import ssl
import sys
import tempfile
import time
import traceback
import typing
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import yaml

from support import RECIPE, ROOT, Service, eventually, model, write_samples

import hone_client
from hone_client import Client, DataSet, documents
from hone_client import client as client_module
from hone_client._operations import OPERATIONS
from hone_client._transport import Transport

# What of docs/openapi.yaml is not for programs.
LEFT_OUT = {
    "logIn": "gives browsers a cookie; a program sends its token",
    "logOut": "takes the cookie away",
    "page": "the dashboard",
    "file": "the dashboard",
}
# Documents that are not called as their schema in docs/openapi.yaml is.
SCHEMA_OF = {"ModelFiles": "Bundle"}


def openapi():
    return yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())


def properties(document, schema):
    """Names of an object's properties: of all its parts, and what is required."""
    if "$ref" in schema:
        return properties(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    names = set(schema.get("properties", {})) | set(schema.get("required", []))
    return names.union(*(properties(document, part) for part in schema.get("allOf", [])))


class TableTest(unittest.TestCase):
    def test_every_operation_is_covered_as_the_document_has_it_or_left_out_for_a_reason(self):
        described = {}
        for path, item in openapi()["paths"].items():
            for method in item.keys() & {"get", "head", "put", "post", "delete"}:
                described[item[method]["operationId"]] = (method.upper(), path)
        covered = {name: (operation.method, operation.path) for name, operation in OPERATIONS.items()}
        self.assertEqual({name: place for name, place in described.items() if name not in LEFT_OUT}, covered)
        self.assertLessEqual(LEFT_OUT.keys(), described.keys())

    def test_documents_have_the_keys_of_the_schemas(self):
        document = openapi()
        schemas = document["components"]["schemas"]
        checked = 0
        for name in dir(documents):
            schema = schemas.get(SCHEMA_OF.get(name, name))
            shape = getattr(documents, name)
            if schema is None or not hasattr(shape, "__total__"):
                continue
            self.assertLessEqual(set(typing.get_type_hints(shape)), properties(document, schema), name)
            checked += 1
        self.assertGreaterEqual(checked, 18)


class OperationsTest(unittest.TestCase):
    """One coordinator with a filled store and a real worker; one real job from submission to its model."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service(filled=True)
        cls.addClassCleanup(cls.service.stop)
        cls.service.start_worker()
        cls.client = cls.service.client()
        cls.addClassCleanup(cls.client.close)
        cls.samples = write_samples(cls.service.folder / "samples.npz", 12)
        cls.job = cls.client.submit(model(), RECIPE, evaluation=DataSet(cls.samples, start=2, samples=4),
                                    name="over HTTP")["job"]
        cls.document = cls.client.wait(cls.job, timeout=120, check=True)

    def test_the_real_job_is_complete_and_told_alike_everywhere(self):
        self.assertEqual(self.document["state"], "complete")
        self.assertEqual(self.document["evaluation"]["files"][0]["size_bytes"], self.samples.stat().st_size)
        self.assertGreater(self.samples.stat().st_size, 1 << 20)  # So it went up in pieces.
        best = self.client.best(self.job)
        self.assertEqual(best["state"], "complete")
        self.assertEqual(best["trial"], self.document["studies"][0]["best"]["trial"])
        rows = list(self.client.trials(self.job))
        self.assertEqual([row["trial"] for row in rows], list(range(len(rows))))
        row = rows[best["trial"]]
        self.assertEqual(row["pipeline"], best["pipeline"])
        self.assertEqual((row["state"], row["worker"], row["backend"]), ("complete", "w1", best["backend"]))
        self.assertAlmostEqual(row["metrics"]["latency_ms_p50"], best["metrics"]["latency_ms_p50"], 3)
        self.assertTrue(any(attempt["kind"] == "measure" for attempt in self.client.attempts(self.job)))
        self.assertIn(self.job, [one["job"] for one in self.client.jobs(state="complete", name="over")])

    def test_a_model_comes_whole_with_its_digest(self):
        with tempfile.TemporaryDirectory() as folder:
            seen = []
            main = self.client.download(self.job, Path(folder) / "new" / "out", "baseline",
                                        progress=lambda done, total: seen.append((done, total)))
            self.assertEqual(main.read_bytes(), model().read_bytes())
            self.assertEqual([path.name for path in main.parent.iterdir()], [main.name])
            size = model().stat().st_size
            self.assertEqual(seen[-1], (size, size))
            best = self.client.download(self.job, folder)
            digest = "sha256:" + hashlib.sha256(best.read_bytes()).hexdigest()
            self.assertIn(digest, [one["digest"] for one in self.client.best(self.job)["model_files"]["files"]])

    def test_ten_thousand_trials_come_in_pages(self):
        largest = next(job for job in self.client.jobs() if job["name"] == "mobilenet sweep")
        places = [(row["study"], row["trial"]) for row in self.client.trials(largest["job"])]
        self.assertEqual(len(places), len(set(places)))
        self.assertGreaterEqual(len(places), 10_000)
        columns = self.client.trial_columns(largest["job"], limit=10, metrics=["speedup"], brief=True)
        self.assertEqual((columns["rows"], columns["total"]), (10, len(places)))
        self.assertEqual(self.client.trial_columns(largest["job"], since=columns["cursor"])["rows"], 0)
        failed = list(self.client.trials(largest["job"], state=["failed", "infeasible"]))
        self.assertTrue(failed and all(row["state"] in ("failed", "infeasible") for row in failed))

    def test_pages_of_jobs_and_attempts_join_without_a_seam(self):
        everything = [job["job"] for job in self.client.jobs()]
        attempts = [row["attempt"] for row in self.client.attempts(self.job)]
        with mock.patch.multiple(client_module, _JOBS_A_PAGE=2, _ATTEMPTS_A_PAGE=2):
            self.assertEqual([job["job"] for job in self.client.jobs()], everything)
            self.assertEqual([row["attempt"] for row in self.client.attempts(self.job)], attempts)

    def test_every_operation_is_answered(self):
        answered = set()
        opened = Transport.open

        def recording(transport, name, *arguments, **named):
            answer = opened(transport, name, *arguments, **named)
            answered.add(name)
            return answer

        with mock.patch.object(Transport, "open", recording), self.service.client("adam") as admin:
            self.assertTrue(admin.healthy())
            self.assertTrue(admin.ready()["ready"])
            self.assertEqual(admin.version()["program"], "hone-coordinator")
            self.assertIn("hone_", admin.metrics())
            self.assertEqual(admin.openapi(), (ROOT / "docs" / "openapi.yaml").read_text())
            self.assertEqual(admin.who_am_i()["role"], "admin")
            self.assertEqual([one["name"] for one in admin.workers()], [one["name"] for one in self.client.workers()])
            self.assertEqual(admin.fleet()["schema"], "hone.fleet/1")
            suites = admin.nightly()
            self.assertEqual(admin.nightly_history(suites[0]["suite"])["suite"], suites[0]["suite"])
            self.assertTrue(admin.drain("w1")["draining"])
            self.assertFalse(admin.undrain("w1")["draining"])
            job = admin.submit(model(), RECIPE, request="again")["job"]
            self.assertEqual(admin.submit(model(), RECIPE, request="again")["job"], job)
            admin.cancel(job, "enough")
            self.assertEqual(admin.wait(job)["state"], "cancelled")
            self.assertFalse(admin.cancel(job)["was_running"])
            with self.assertRaises(hone_client.JobFailed) as caught:
                admin.wait(job, check=True)
            self.assertIn("cancelled", str(caught.exception))
            failed = next(one["job"] for one in admin.jobs(name="all failed"))
            self.assertGreater(admin.retry(failed)["trials"], 0)
            admin.cancel(failed)
            list(admin.jobs(owner="ann"))
            list(admin.trials(self.job))
            list(admin.attempts(self.job))
            self.assertEqual(admin.trial(self.job, 0)["trial"], 0)
            self.assertEqual(admin.explain(self.job)["job"], self.job)
            self.assertEqual(len(admin.compare([f"{self.job}/baseline", f"{self.job}/best"])["pairs"]), 1)
            page = admin.past_events(self.job)
            self.assertEqual(page["events"][0]["kind"], "job.submitted")
            self.assertGreaterEqual(admin.past_events()["last"], 1)
            for job_or_all in (self.job, None):
                with admin.events(job_or_all, after=0, timeout=60) as events:
                    self.assertEqual(next(events)["schema"], "hone.event/1")
            with tempfile.TemporaryDirectory() as folder:
                fresh = Path(folder) / "fresh"
                fresh.write_bytes(b"some bytes" * 200_000)
                self.assertEqual(admin.artifact_size(admin.upload(fresh)), fresh.stat().st_size)
                admin.download(self.job, folder)
        self.assertEqual(answered, set(OPERATIONS))

    def test_an_upload_goes_on_where_it_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "large"
            file.write_bytes(bytes(range(256)) * 10_000)  # Three pieces.
            digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
            with open(file, "rb") as opened:
                self.client._put(digest, 0, file.stat().st_size, opened.read(1 << 20))
            with mock.patch.object(Client, "_put", autospec=True, side_effect=Client._put) as put:
                self.assertEqual(self.client.upload(file), digest)
            self.assertEqual([call.args[2] for call in put.call_args_list], [0, 1 << 20, 2 << 20])
            self.assertEqual(self.client.artifact_size(digest), file.stat().st_size)
            with mock.patch.object(Client, "_put") as put:
                self.client.upload(file)
            put.assert_not_called()

    def test_a_problem_keeps_its_code_message_place_and_remedy(self):
        with self.assertRaises(hone_client.Rejected) as caught:
            self.client.submit(model(), "search:\n  sampler: tpe\n  trails: 3\n")
        error = caught.exception
        self.assertEqual((error.status, error.code, error.name), (422, 9, "rejected"))
        self.assertEqual((error.place.line, error.place.column), (3, 3))
        self.assertIn("trails", error.detail)
        self.assertIn("trials", str(error))
        with self.assertRaises(hone_client.NotFound) as caught:
            self.client.job(999999)
        self.assertEqual((caught.exception.status, caught.exception.code), (404, 8))
        with self.assertRaises(hone_client.UsageError):
            list(self.client.trials(self.job, state="finished"))
        for wrong in ("1/cancel", "0", "-1", "..", "", True):
            with self.assertRaises(ValueError):
                self.client.job(wrong)

    def test_recipes_are_files_texts_and_mappings(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recipe.yaml"
            path.write_text("search: {trials: 1}\n")
            jobs = [self.client.submit(model(), recipe, request=str(index))["job"]
                    for index, recipe in enumerate((path, str(path), "search: {trials: 1}", {"search": {"trials": 1}}))]
            recipes = {self.client.job(job)["recipe"] for job in jobs}
            self.assertEqual(len(recipes), 1)
            for job in jobs:
                self.client.cancel(job)
            with self.assertRaises(hone_client.NotFound):
                self.client.submit(model(), str(path) + ".none.yaml")

    def test_waiting_has_an_end(self):
        job = self.client.submit(model(), {**RECIPE, "measure": {"pairs": 1000}})["job"]
        with self.assertRaises(hone_client.Timeout):
            self.client.wait(job, timeout=0.2)
        self.assertTrue(self.client.cancel(job)["was_running"])
        self.assertEqual(self.client.wait(job, timeout=60)["state"], "cancelled")


class TokenTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.stop)

    def test_a_wrong_token_is_denied_with_a_remedy(self):
        with Client(self.service.url, token="hone_wrong") as client:
            self.assertEqual(client.who_am_i()["role"], "anonymous")
            with self.assertRaises(hone_client.Denied) as caught:
                client.workers()
        self.assertEqual((caught.exception.status, caught.exception.code), (401, 7))
        self.assertTrue(caught.exception.remedy)

    def test_without_a_token_the_loopback_reads_and_changes_nothing(self):
        with Client(self.service.url) as client:
            self.assertEqual(client.who_am_i()["role"], "anonymous")
            self.assertEqual(list(client.jobs()), [])
            with self.assertRaises(hone_client.Denied):
                client.drain("w1")

    def test_a_role_that_may_not_is_denied(self):
        with self.service.client("ann") as client, self.assertRaises(hone_client.Denied) as caught:
            client.drain("w1")
        self.assertEqual(caught.exception.status, 403)

    def test_the_token_is_shown_nowhere(self):
        token = self.service.tokens["ann"]
        shown = io.StringIO()
        handler = logging.StreamHandler(shown)
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.DEBUG)
        self.addCleanup(logging.getLogger().setLevel, logging.WARNING)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        with contextlib.redirect_stdout(shown), mock.patch.object(http.client.HTTPConnection, "debuglevel", 1):
            with self.service.client("ann") as client:
                client.who_am_i()
                try:
                    client.job(1)
                except hone_client.NotFound as error:
                    shown.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
                    shown.write(repr(vars(error)))
                shown.write(repr(client) + repr(vars(client)) + repr(vars(client._transport)))
                with self.assertRaises(TypeError):
                    pickle.dumps(client)
        self.assertIn("/api/v1/session", shown.getvalue())
        self.assertNotIn(token, shown.getvalue())

    def test_a_token_is_not_sent_in_the_clear(self):
        for url in ("http://192.0.2.1:5780", "http://coordinator.example:5780", "http://127.0.0.1.example:1"):
            with self.assertRaises(ValueError) as caught:
                Client(url, token="hone_secret")
            self.assertNotIn("hone_secret", str(caught.exception))
            Client(url, token="hone_secret", allow_plain_http=True).close()
            Client(url).close()
        for url in ("http://localhost:1", "http://127.9.9.9:1", "http://[::1]:1"):
            Client(url, token="hone_secret").close()

    def test_what_cannot_be_is_refused_before_anything_is_asked(self):
        for url in ("coordinator:5780", "ftp://x", "http://", "http://ann:secret@127.0.0.1:1", "http://127.0.0.1:x",
                    "http://127.0.0.1:1/?token=secret"):
            with self.assertRaises(ValueError) as caught:
                Client(url)
            self.assertNotIn("secret", str(caught.exception))
        for token in ("", "two words", "line\r\nX-Other: 1", "\u00e4"):
            with self.assertRaises(ValueError):
                Client(self.service.url, token=token)
        with self.assertRaises(ValueError):
            Client(self.service.url, ca_file="ca.pem")

    def test_nobody_there_is_said_so(self):
        with self.service.client("ann", patience=0) as client:
            client._transport._port = 1
            with self.assertRaises(hone_client.Unreachable) as caught:
                client.jobs().__next__()
        self.assertEqual(caught.exception.code, 6)
        self.assertIn("--http", caught.exception.remedy)


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service(tls=True)
        cls.addClassCleanup(cls.service.stop)

    def test_the_named_authority_is_trusted(self):
        self.assertTrue(self.service.url.startswith("https://"))
        with self.service.client() as client:
            self.assertEqual(client.who_am_i()["name"], "ann")
            with client.events(timeout=5, after=0) as events:
                events._open()
                self.assertEqual(events._answer.status, 200)

    def test_nothing_is_sent_to_whom_nobody_vouches_for(self):
        for url, authority in ((self.service.url, None),
                               (self.service.url.replace("127.0.0.1", "localhost"), self.service.ca_file)):
            with Client(url, token=self.service.tokens["ann"], ca_file=authority) as client:
                with self.assertRaises(hone_client.Untrusted) as caught:
                    client.who_am_i()
            self.assertIn("ca_file", caught.exception.remedy)

    def test_plain_http_to_a_tls_port_is_unreachable(self):
        with Client(self.service.url.replace("https", "http"), patience=0) as client:
            with self.assertRaises(hone_client.Unreachable):
                client.version()

    def test_old_tls_is_not_spoken(self):
        with self.service.client() as client:
            self.assertEqual(client._transport._context.minimum_version, ssl.TLSVersion.TLSv1_2)


class RestartTest(unittest.TestCase):
    def test_events_and_waiting_outlive_a_coordinator(self):
        service = Service()
        self.addCleanup(service.stop)
        service.start_worker()
        with service.client() as client:
            job = client.submit(model(), {**RECIPE, "measure": {"pairs": 1000}})["job"]
            seen = []
            with client.events(job, after=0, timeout=120) as events:
                for event in events:
                    seen.append(event)
                    if event["kind"] == "trial.started":
                        service.end_coordinator()
                        service.start()
                        eventually(lambda: client.job(job)["state"] == "running", "the job is back")
                        client.cancel(job)
                    if event["kind"] == "job.cancelled":
                        break
                last = events.last
            told = []
            page = client.past_events(job)
            while page["events"]:
                told += page["events"]
                page = client.past_events(job, page["last"])
            numbers = [event["seq"] for event in seen]
            self.assertEqual(numbers, [event["seq"] for event in told if event["seq"] <= last])
            self.assertEqual(client.wait(job)["state"], "cancelled")

    def test_a_question_waits_for_a_coordinator_that_comes_back(self):
        service = Service()
        self.addCleanup(service.stop)
        with service.client(patience=60) as client:
            client.version()
            service.end_coordinator()
            pauses = []

            def pause(seconds):
                pauses.append(seconds)
                service.start()

            clock = SimpleNamespace(monotonic=time.monotonic, sleep=pause)
            with mock.patch("hone_client._transport.time", clock):
                self.assertEqual(client.version()["api"], 1)
            self.assertEqual(len(pauses), 1)


class StyleTest(unittest.TestCase):
    @staticmethod
    def files():
        return sorted(Path(hone_client.__file__).parent.glob("*.py"))

    def test_the_grammar_is_that_of_python_3_9(self):
        self.assertGreaterEqual(len(self.files()), 9)
        for file in self.files():
            ast.parse(file.read_text(), str(file), feature_version=(3, 9))

    def test_nothing_but_the_standard_library_is_imported(self):
        for file in self.files():
            for node in ast.walk(ast.parse(file.read_text())):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names.append(node.module)
                for name in names:
                    self.assertIn(name.split(".")[0], sys.stdlib_module_names, file.name)
