"""The client against servers that mean ill: bounded in memory and time, an error that says what, nothing half done."""
import gzip
import hashlib
import json
import os
import socket
import tempfile
import time
import unittest
from pathlib import Path

from support import Scripted, answer

import hone_client.bundles
from hone_client import Client
from hone_client.events import Parser

VERSION = {"program": "hone-coordinator", "version": "1", "api": 1, "protocol": 1}
DATA = bytes(range(256)) * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def client_of(server, **more):
    return Client(server.url, **{"token": "hone_token", "timeout": 5, "patience": 0, **more})


def event(number, kind="trial.started"):
    data = {"schema": "hone.event/1", "seq": number, "job": "1", "study": 0, "trial": 1, "time": None, "kind": kind,
            "text": "t"}
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


class AnswersTest(unittest.TestCase):
    def expect(self, error, script, ask=lambda client: client.job(1), **more):
        with Scripted(script) as server, client_of(server, **more) as client:
            with self.assertRaises(error) as caught:
                ask(client)
        self.assertNotIn("hone_token", str(caught.exception))
        return caught.exception

    def test_answers_that_are_none(self):
        for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema":"hone.jobs/1"}',
                     b'{"schema":"hone.status/2"}', b'{"schema":7}'):
            self.expect(hone_client.ProtocolError, answer(body))
        self.expect(hone_client.ProtocolError, answer(b"<html>", "200 OK", "text/html"))
        self.expect(hone_client.ProtocolError, answer(b"x", "200 OK", "application/json", "Content-Encoding: br"))
        self.expect(hone_client.ProtocolError, answer(b"x", "200 OK", "application/json", "Content-Encoding: gzip"))

    def test_a_body_that_ends_early_is_no_shorter_body(self):
        self.expect(hone_client.Unreachable, answer({"schema": "hone.status/1"}, length=1000))
        chunked = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b'13\r\n{"schema": "hone.st')
        self.expect(hone_client.Unreachable, chunked)
        packed = gzip.compress(json.dumps({"schema": "hone.status/1"}).encode())[:-9]
        self.expect(hone_client.ProtocolError,
                    answer(packed, "200 OK", "application/json", "Content-Encoding: gzip"))

    def test_a_body_is_bounded_packed_or_not(self):
        bomb = gzip.compress(b" " * 50_000_000)
        for script in (answer(b" " * 2_000_000),
                       answer(bomb, "200 OK", "application/json", "Content-Encoding: gzip")):
            error = self.expect(hone_client.ProtocolError, script, most_answer=1_000_000)
            self.assertIn("larger", error.detail)

        def endless(channel, _):
            channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            while True:
                channel.sendall(b" " * 65536)

        self.expect(hone_client.ProtocolError, endless, most_answer=1_000_000)

    def test_what_is_no_http_is_unreachable(self):
        for script in (b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.1 abc OK\r\n\r\n"):
            self.expect(hone_client.Unreachable, script)

    def test_silence_and_drops_end_with_the_time_that_was_given(self):
        def silent(channel, _):
            channel.recv(1)  # Until the client goes away.

        def dripping(channel, _):
            channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            channel.settimeout(0.02)
            while True:
                channel.sendall(b" ")
                try:
                    channel.recv(1)
                    return
                except socket.timeout:
                    pass

        for script in (silent, dripping):
            began = time.monotonic()
            self.expect(hone_client.Timeout, script, timeout=0.3)
            self.assertLess(time.monotonic() - began, 30)

    def test_a_redirect_is_not_followed_and_the_token_stays(self):
        with Scripted(answer(VERSION)) as other:
            for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
                script = answer(b"", status, "text/html", f"Location: {other.url}/version")
                error = self.expect(hone_client.ProtocolError, script, lambda client: client.version())
                self.assertIn("redirect", error.detail)
            self.assertEqual(other.heads, [])

    def test_a_problem_without_form_is_told_by_its_status(self):
        for status, kind in (("404 x", hone_client.NotFound), ("401 x", hone_client.Denied),
                             ("502 x", hone_client.Unreachable), ("500 x", hone_client.Failed),
                             ("418 x", hone_client.Failed)):
            error = self.expect(kind, answer(b"<html>no</html>", status, "text/html"))
            self.assertEqual(error.status, int(status[:3]))
        error = self.expect(hone_client.Rejected, answer(
            {"status": "x", "code": [], "name": "rejected", "detail": {"a": 1}, "remedy": 7,
             "position": {"file": 3, "line": "x"}}, "422 x", "application/problem+json"))
        self.assertEqual((error.code, error.remedy, error.place.line), (9, None, 0))

    def test_too_busy_is_asked_again_while_patience_lasts(self):
        busy = answer({"name": "unreachable", "detail": "too busy"}, "503 Busy", "application/problem+json")
        with Scripted(busy, b"", answer(VERSION)) as server, client_of(server, patience=30) as client:
            self.assertEqual(client.version(), VERSION)
            self.assertEqual(len(server.heads), 3)
        # What changes something is asked once.
        with Scripted(busy, answer({"schema": "hone.cancel/1"})) as server, client_of(server, patience=30) as client:
            with self.assertRaises(hone_client.Unreachable):
                client.cancel(1)
            self.assertEqual(len(server.heads), 1)

    def test_a_submission_that_is_asked_again_is_the_same_one(self):
        submitted = answer({"schema": "hone.submit/1", "job": "7", "notes": []}, "201 Created")
        there = answer(b"", "200 OK", "application/octet-stream", length=3)
        bodies = []

        def lost(channel, head):
            bodies.append(head)

        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "m.onnx"
            model.write_bytes(b"abc")
            with Scripted(there, lost, submitted) as server, client_of(server, patience=30) as client:
                self.assertEqual(client.submit(model, {})["job"], "7")
                self.assertEqual(len(server.heads), 3)
                self.assertEqual(bodies[0], server.heads[2])  # The head's length, and `request` in what it counts.

    def test_columns_that_do_not_fit_and_pages_without_end(self):
        good = {"schema": "hone.trials.columns/1", "rows": 1, "next": None, "words": ["complete"], "pipelines": [[]],
                "settings_list": [{}], "trial": [0], "study": [0], "trial_state": [0], "phase": [None], "pipeline": [0],
                "settings": [0], "backend": [None], "worker": [None], "reason": [None], "attempts": [1],
                "wall_s": [None], "created_s": [None], "ended_s": [None], "pareto": [1], "metrics": {"a": [2.5]},
                "low": {"a": [1]}, "high": {"a": [3]}}
        with Scripted(answer(good)) as server, client_of(server) as client:
            row = next(client.trials(1))
            self.assertEqual((row["state"], row["pareto"], row["metrics"], row["ci99"]),
                             ("complete", True, {"a": 2.5}, {"a": [1, 3]}))
        for wrong in ({"rows": 2}, {"rows": -1}, {"words": []}, {"trial": None}, {"trial_state": [-1]},
                      {"trial_state": ["x"]}, {"metrics": {"a": [1, 2]}}, {"metrics": []}, {"next": 0.5}, {"next": "x"},
                      {"next": -1}):
            self.expect(hone_client.ProtocolError, answer({**good, **wrong}), lambda client: list(client.trials(1)))
        self.expect(hone_client.ProtocolError, answer({**good, "next": 1}), lambda client: list(client.trials(1)))
        self.expect(hone_client.ProtocolError, answer({"schema": "hone.jobs/1", "jobs": [], "next": "5"}),
                    lambda client: list(client.jobs()))


class DownloadTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.target = self.folder / "model.onnx"

    def fetch(self, *scripts, size=None, patience=0.0):
        with Scripted(*scripts) as server, client_of(server, patience=patience) as client:
            client.download_artifact(DIGEST, self.target, size)
        return server.heads

    def test_other_bytes_than_the_digests_leave_nothing(self):
        self.target.write_bytes(b"what was here")
        for script, size in ((answer(DATA[:-1] + b"x", "200 OK", "application/octet-stream"), None),
                             (answer(DATA + b"x", "200 OK", "application/octet-stream"), len(DATA)),
                             (answer(b"", "200 OK", "application/octet-stream"), None)):
            with self.assertRaises(hone_client.Damaged):
                self.fetch(script, size=size)
            self.assertEqual(os.listdir(self.folder), ["model.onnx"])
            self.assertEqual(self.target.read_bytes(), b"what was here")

    def test_a_broken_connection_is_taken_up_where_it_broke(self):
        half = len(DATA) // 2
        first = answer(DATA[:half], "200 OK", "application/octet-stream", length=len(DATA))
        rest = answer(DATA[half:], "206 Partial Content", "application/octet-stream",
                      f"Content-Range: bytes {half}-{len(DATA) - 1}/{len(DATA)}")
        heads = self.fetch(first, rest, patience=30)
        self.assertEqual(self.target.read_bytes(), DATA)
        self.assertIn(f"Range: bytes={half}-", heads[1])
        wrong = answer(DATA[half:], "206 Partial Content", "application/octet-stream", "Content-Range: bytes 0-1/2")
        with self.assertRaises(hone_client.ProtocolError):
            self.fetch(first, wrong, patience=30)
        with self.assertRaises(hone_client.Unreachable):
            self.fetch(first)
        self.assertEqual(os.listdir(self.folder), ["model.onnx"])

    def test_paths_of_a_server_stay_beneath_the_folder(self):
        inside = self.folder / "inside"
        inside.mkdir()
        (inside / "link").symlink_to(self.folder)
        for path in ("../model.onnx", "/tmp/hone-python-model", "a/../../x", "", ".", "a\\b", "a\0b", "link/x", "a//b",
                     7):
            trial = {"schema": "hone.trial/1", "trial": 1, "model_files": {
                "format": "onnx", "main": path, "files": [{"path": path, "digest": DIGEST, "size_bytes": len(DATA)}]}}
            with Scripted(answer(trial), answer(DATA, "200 OK", "application/octet-stream")) as server:
                with client_of(server) as client, self.assertRaises(hone_client.Damaged):
                    client.download(1, inside)
            self.assertEqual(len(server.heads), 1)
        self.assertEqual(sorted(os.listdir(self.folder)), ["inside"])
        for files in (None, {}, {"files": []}, {"files": [7]}, {"files": [{"path": "a", "digest": DIGEST}]},
                      {"files": [{"path": "a", "digest": DIGEST, "size_bytes": 1}] * 2}):
            with Scripted(answer({"schema": "hone.trial/1", "trial": 1, "model_files": files})) as server:
                with client_of(server) as client, self.assertRaises((hone_client.Damaged, hone_client.NotFound)):
                    client.download(1, inside)

    def test_an_upload_without_end_ends(self):
        source = self.folder / "source"
        source.write_bytes(DATA)
        for document in ({"received_bytes": 0, "complete": False}, {"received_bytes": len(DATA), "complete": False},
                         {"received_bytes": -1}, {"received_bytes": 1 << 60}, {}):
            script = answer({"digest": DIGEST, **document}, "202 Accepted")
            missing = answer(b"", "404 Not Found", "application/problem+json")
            with Scripted(missing, script) as server, client_of(server) as client:
                with self.assertRaises(hone_client.ProtocolError):
                    client.upload(source)
            self.assertLess(len(server.heads), 20)


class EventsTest(unittest.TestCase):
    def test_a_stream_goes_on_after_its_last_event(self):
        first = STREAM + b"retry: 100\n\n" + event(3) + event(4) + event(5)[:40]
        second = STREAM + b": ping\n\n" + event(5) + b"event: gap\ndata: {\"after\":5,\"events\":9}\n\n"
        third = STREAM + event(15) + b"event: bye\ndata: {}\n\n" + event(99)
        with Scripted(first, b"", second, third, STREAM + event(16, "job.complete")) as server:
            with client_of(server) as client, client.events(1, after=2) as events:
                seen = []
                for one in events:
                    seen.append((one["kind"], one["seq"]))
                    if one["kind"] == "job.complete":
                        break
        self.assertEqual(seen, [("trial.started", 3), ("trial.started", 4), ("trial.started", 5), ("gap", 5),
                                ("trial.started", 15), ("job.complete", 16)])
        asked = [next(line for line in head.split("\r\n") if line.startswith("Last-Event-ID")) for head in server.heads]
        self.assertEqual(asked, [f"Last-Event-ID: {number}" for number in (2, 4, 4, 5, 15)])

    def test_a_stream_is_bounded_and_refuses_what_is_none(self):
        def endless(prefix):
            def script(channel, _):
                channel.sendall(STREAM)
                while True:
                    channel.sendall(prefix * 10_000)
            return script

        for script in (endless(b"data: x"), endless(b"data: xxxxxxxx\n"), STREAM + b"data: {\n\n",
                       STREAM + b"data: 7\n\n", STREAM + b"data: {}\n\n", answer(b"{}")):
            with Scripted(script) as server, client_of(server) as client, client.events(after=0) as events:
                with self.assertRaises(hone_client.ProtocolError):
                    next(events)

    def test_a_denied_stream_is_not_asked_for_again(self):
        with Scripted(answer({"name": "denied", "detail": "no"}, "401 x", "application/problem+json")) as server:
            with client_of(server) as client, self.assertRaises(hone_client.Denied):
                next(client.events(after=0))
        self.assertEqual(len(server.heads), 1)

    def test_a_stream_ends_with_its_time_its_patience_or_its_closing(self):
        def silent(channel, _):
            channel.sendall(STREAM + event(1))
            channel.recv(1)

        with Scripted(silent) as server, client_of(server) as client:
            self.assertEqual([one["seq"] for one in client.events(after=0, timeout=0.3)], [1])
            with client.events(after=0) as events:
                next(events)
                events.close()
                self.assertEqual(list(events), [])
        with client_of(server) as client, self.assertRaises(hone_client.Unreachable):  # It is gone now.
            next(client.events(after=0, patience=0.2))

    def test_the_parser_takes_bytes_in_any_cut(self):
        text = ("\ufeff: c\n" "id: 7\r\nevent: a\rdata: one\ndata:two\n\n" "id: x\ndata: \u00e9\r\n\r\n"
                "retry: 99999999\n" "unknown: 1\ndata\n\n").encode()
        whole = [(one.kind, one.data) for one in Parser().feed(text)]
        parser = Parser()
        single = [(one.kind, one.data) for index in range(len(text)) for one in parser.feed(text[index:index + 1])]
        self.assertEqual(single, whole)
        self.assertEqual(whole[0], ("a", ["one", "two"]))
        self.assertEqual(whole[1], ("", ["\u00e9"]))
        self.assertEqual((parser.last_id, parser.retry_s), (7, 30.0))


class BundlesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, *names):
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())

    def model(self, name, *more):
        bundle = hone_client.bundles.model_bundle(self.folder / name, *more)
        return bundle.format, bundle.main, [one.path for one in bundle.files]

    def data(self, name):
        bundle = hone_client.bundles.data_bundle(self.folder / name)
        return bundle.format, bundle.main, [one.path for one in bundle.files]

    def test_models_and_what_belongs_to_them(self):
        self.write("a.onnx", "w/b.bin", "m.xml", "m.bin", "s/saved_model.pb", "s/variables/v", "s/.hidden",
                   "c/config.json", "c/model.safetensors", "c/pytorch_model.bin", "c/1_Pooling/config.json", "x.txt",
                   "lone.pdmodel")
        self.assertEqual(self.model("a.onnx"), ("onnx", "a.onnx", ["a.onnx"]))
        self.assertEqual(self.model("a.onnx", ["w/b.bin"]), ("onnx", "a.onnx", ["a.onnx", "w/b.bin"]))
        self.assertEqual(self.model("m.xml"), ("openvino_ir", "m.xml", ["m.bin", "m.xml"]))
        self.assertEqual(self.model("s"), ("tensorflow", "", ["saved_model.pb", "variables/v"]))
        self.assertEqual(self.model("c"), ("checkpoint", "config.json",
                                           ["1_Pooling/config.json", "config.json", "model.safetensors"]))
        for wrong, error in (("x.txt", hone_client.Rejected), ("none.onnx", hone_client.NotFound),
                             ("lone.pdmodel", hone_client.NotFound), ("w", hone_client.Rejected)):
            with self.assertRaises(error):
                self.model(wrong)
        (self.folder / "w" / "link").symlink_to(self.folder / "x.txt")
        for external in ("../x", "/etc/passwd", "w/link", "w", "none"):
            with self.assertRaises((hone_client.Rejected, hone_client.NotFound)):
                self.model("a.onnx", [external])

    def test_data_sets(self):
        self.write("s.npz", "i/0/a.png", "i/1/b.JPG", "i/labels.csv", "i/notes.txt", "t/test_data_set_0/input_0.pb",
                   "t/test_data_set_0/output_0.pb", "t/test_data_set_x/input_0.pb", "e/notes.txt")
        self.assertEqual(self.data("s.npz"), ("npz", "s.npz", ["s.npz"]))
        self.assertEqual(self.data("i"), ("images", "", ["0/a.png", "1/b.JPG", "labels.csv"]))
        self.assertEqual(self.data("t"), ("onnx_test_data", "",
                                          ["test_data_set_0/input_0.pb", "test_data_set_0/output_0.pb"]))
        with self.assertRaises(hone_client.Rejected):
            self.data("e")
        (self.folder / "i" / "link.png").symlink_to(self.folder / "s.npz")
        (self.folder / "empty.npz").touch()
        for wrong in ("i", "empty.npz", "i/notes.txt"):
            with self.assertRaises(hone_client.Rejected):
                self.data(wrong)
