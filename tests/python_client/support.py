"""What the tests share: this package, a real coordinator and worker, a server that says what it is told to."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "python" / "src"
sys.path.insert(0, str(PACKAGE))

from hone_client import Client  # noqa: E402

DEADLINE_S = 60
RECIPE = {
    "inputs": {"x": [1, 3, 48, 192]},
    "passes": [{"choose": ["none", "fp16", "dynamic_int8"]}],
    "backends": {"onnxruntime": {"intra_op_threads": [1]}},
    "search": {"sampler": "random", "trials": 2, "seed": 1},
    "measure": {"pairs": 3, "final_pairs": 3, "finalists": 1},
}


def program(name):
    return os.path.join(os.environ["HONE_BIN_DIR"], name)


def model():
    return Path(os.environ["HONE_MODELS"]) / "text_angle.onnx"


def eventually(condition, what):
    end = time.monotonic() + DEADLINE_S
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.02)


def write_samples(path, count):
    """An .npz of `count` samples for the model's input x, more than a MiB from 10 on."""
    shape = (count, 3, 48, 192)
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    values = b"".join(struct.pack("<f", (place * 37 % 255) / 255) for place in range(3 * 48 * 192))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values * count)
    return Path(path)


class Service:
    """A coordinator with tokens of ann (client) and adam (admin); a worker on demand.

    filled: with the jobs and nights of tests/page/fill_store.cc.
    """

    def __init__(self, filled=False, tls=False):
        self._folder = tempfile.TemporaryDirectory(prefix="hone-python-")
        self.folder = Path(self._folder.name)
        self._listen, self._http, self._children, self._more = "tcp://127.0.0.1:0", "127.0.0.1:0", [], []
        self.coordinator = self.ca_file = None
        if filled:
            nights = str(self.folder / "nights.db")
            subprocess.run([program("page_fixture"), str(self.folder / "data"), nights], check=True)
            self._more += ["--nightly", nights]
        (self.folder / "data").mkdir(exist_ok=True)
        self.tokens = {name: self._token(name, role) for name, role in (("ann", "client"), ("adam", "admin"))}
        if tls:
            self._make_certificate()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def _token(self, name, role):
        words = [program("hone"), "token", "create", name, "--role", role, "--tokens", str(self.folder / "data/tokens")]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def _make_certificate(self):
        key, self.ca_file = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-keyout", str(key), "-out", str(self.ca_file), "-days", "2",
                        "-subj", "/CN=hone test", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, capture_output=True)
        os.chmod(key, 0o600)
        self._more += ["--http-tls-cert", str(self.ca_file), "--http-tls-key", str(key)]

    def _run(self, name, words):
        with open(self.folder / f"{name}.log", "ab") as log:
            child = subprocess.Popen([program(name), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     env={**os.environ, "HONE_KEYS": ""})
        self._children.append(child)
        return child

    def start(self):
        """Where it was before, if it was."""
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        self.coordinator = self._run("hone-coordinator", [
            "--listen", self._listen, "--http", self._http, "--data", str(self.folder / "data"),
            "--ready-file", str(ready), *self._more])
        eventually(lambda: ready.exists() or self.coordinator.poll() is not None, "the coordinator is ready")
        if not ready.exists():
            raise AssertionError((self.folder / "hone-coordinator.log").read_text()[-2000:])
        told = json.loads(ready.read_text())
        self._listen, self.url = told["endpoint"], told["http"].rstrip("/")
        self._http = self.url.split("//")[1]

    def end_coordinator(self):
        self._end(self.coordinator)

    def _end(self, child):
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._children.remove(child)

    def start_worker(self):
        self._run("hone-worker", ["--coordinator", self._listen, "--data", str(self.folder / "worker"), "--name", "w1"])
        with self.client() as client:
            eventually(lambda: any(worker["state"] == "ready" for worker in client.workers()), "a worker is ready")

    def client(self, name="ann", **more):
        return Client(self.url, token=self.tokens.get(name), ca_file=self.ca_file, **more)

    def stop(self):
        for child in list(self._children):
            child.send_signal(signal.SIGTERM)
        for child in list(self._children):
            self._end(child)
        self._folder.cleanup()


class Scripted:
    """A server on the loopback that answers the n-th question with the n-th script, the last one again and again.

    A script is bytes, sent as they are before the connection ends, or a function of the socket and the question's head.
    """

    def __init__(self, *scripts):
        self._scripts = scripts
        self.heads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return
            with channel:
                channel.settimeout(DEADLINE_S)
                try:
                    self._answer(channel)
                except OSError:
                    pass  # The client went away, as it should from such a server.

    def _answer(self, channel):
        question = b""
        while b"\r\n\r\n" not in question:
            piece = channel.recv(65536)
            if not piece:
                return
            question += piece
        head, _, body = question.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        lengths = [line.split(":")[1] for line in text.split("\r\n") if line.lower().startswith("content-length:")]
        while lengths and len(body) < int(lengths[0]):
            body += channel.recv(65536)
        self.heads.append(text)
        script = self._scripts[min(len(self.heads), len(self._scripts)) - 1]
        if callable(script):
            script(channel, text)
        else:
            channel.sendall(script)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes accept() up; closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_S)


def answer(body, status="200 OK", kind="application/json", *headers, length=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(data) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {size}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data
