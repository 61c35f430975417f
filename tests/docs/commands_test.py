"""The commands in the blocks of docs/*.md and README.md.

Each is run, in order, in a folder of its document's own that holds a small model and data; or a row of NOT_RUN says why
it cannot be here. Whether run or not, its command and its flags must be the programs' own.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python_client"))
from support import ROOT, Service, model, program, write_samples  # noqa: E402

PROGRAMS = ("hone", "hone-coordinator", "hone-worker")
OTHERS = ("curl", "tar", "mkdir", "cp", "ls", "echo", "cmake", "ctest", "./ops/demo", "./ops/test", "pip", "docker")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TEXTS = ("", "sh", "bash", "console")

# Document, what a command begins with (a pattern), and why it is not run here.
NOT_RUN = (
    ("README.md", r"\./ops/(demo|test)", "sets up and builds everything; continuous integration runs both"),
    ("README.md", r"hone optimize", "searches for minutes; tests/e2e/optimize_test.cc runs it"),
    ("README.md", r"hone-(coordinator|worker)|hone (submit|watch|best|get)",
     "ports that another process may have; tests/e2e/fleet_test.cc runs them"),
    ("dashboard.md", r"hone report", "needs a job 42; tests/page/page_test.mjs makes reports"),
    ("encoders.md", r"hone|ls", "needs a checkpoint of 90 MB; tests/llm makes small ones"),
    ("external_passes.md", r"hone", "needs a worker's owner and his programs; tests/conversion/external_test.cc"),
    ("http.md", r"hone-coordinator|curl", "a port that another process may have; tests/http asks a free one"),
    ("llm.md", r"hone|ls", "needs checkpoints of hundreds of MB; tests/llm makes small ones"),
    ("nightly.md", r"hone nightly|echo", "needs a fleet and a suite; tests/nightly runs whole nights"),
    ("olive.md", r"hone (import|olive)", "needs Olive's configurations; tests/importers reads a corpus of them"),
    ("operations.md", r"hone-coordinator", "a port that another process may have; hone fsck ran before"),
    ("python.md", r"pip", "installs into this machine; tests/python_client takes the checkout's package"),
    ("security.md", r"hone-worker|hone jobs", "needs a host named COORDINATOR; tests/security has some with keys"),
    ("tutorial.md", r"hone", "searches the text-angle classifier with its pictures; tests/e2e/recipes_test.cc"),
)
# A verdict about timing is never a test's: it ran, and that is all.
ANY_VERDICT = {"hone benchmark": {0, 1, 3}, "hone doctor": {0, 1, 5}, "hone-worker sandbox": {0, 1, 5}}
# Paths of a machine's root, in the folder.
MOVED = {"/var/lib/": "var/lib/"}


def commands_of(text):
    """What people would type, of every block; with `$ ` prompts, those lines alone."""
    for kind, body in _FENCE.findall(text):
        if kind not in _TEXTS:
            continue
        lines = body.split("\n")
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        else:
            lines = [line for line in lines if is_command(line)]
        for line in lines:
            bare = re.sub(r"\s+#.*$", "", line).strip()
            # "a ; b" and "a && b" are commands each; a trailing & puts one behind.
            yield from (part.strip() for part in re.split(r"\s(?:;|&&)\s|\s&$", bare) if part.strip())


def words_of(command):
    """Without the environment's settings before it."""
    words = shlex.split(command.replace("[", " ").replace("]", " "))
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def is_command(line):
    first = re.match(r"(?:[A-Z_]+=\S+ )*(\S+)(?: |$)", line)
    # "hone: no such ..." is what the program says.
    return bool(first) and first.group(1) in PROGRAMS + OTHERS


def documents():
    return [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def reason(document, command):
    bare = without_settings(command)
    return next((why for name, pattern, why in NOT_RUN if name == document and re.match(pattern, bare)), None)


def without_settings(command):
    return re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command)


class DocumentsTest(unittest.TestCase):
    def test_every_command_and_flag_is_the_programs_own(self):
        helps = {}

        def help_of(*words):
            if words not in helps:
                ran = subprocess.run([program(words[0]), *words[1:], "--help"], capture_output=True, text=True,
                                     timeout=60)
                helps[words] = ran.stdout if ran.returncode == 0 else None
            return helps[words]

        checked = 0
        for document in documents():
            for command in commands_of(document.read_text()):
                words = words_of(command)
                # What follows `hone olive` are Olive's own words.
                if words[0] not in PROGRAMS or words[1:2] == ["olive"]:
                    continue
                flags = [word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
                name = [word for word in words[:2] if not word.startswith("-")]
                with self.subTest(document=document.name, command=command):
                    text = help_of(*name)
                    self.assertIsNotNone(text, f"there is no {' '.join(name)}")
                    for flag in flags:
                        self.assertRegex(text, rf"(?m)(^|[\s,]){re.escape(flag)}\b", f"{' '.join(name)} has no {flag}")
                checked += 1
        self.assertGreaterEqual(checked, 30)

    def test_every_command_runs_or_has_its_reason(self):
        ran = 0
        for document in documents():
            commands = [one for one in commands_of(document.read_text()) if reason(document.name, one) is None]
            if not commands:
                continue
            with tempfile.TemporaryDirectory(prefix="hone-docs-") as folder:
                self.prepare(Path(folder), document.name)
                for command in commands:
                    with self.subTest(document=document.name, command=command):
                        self.run_one(command, folder)
                    ran += 1
        self.assertGreaterEqual(ran, 15)

    def test_every_reason_has_its_command(self):
        for name, pattern, why in NOT_RUN:
            text = (ROOT / name if name == "README.md" else ROOT / "docs" / name).read_text()
            self.assertTrue(any(re.match(pattern, without_settings(one)) for one in commands_of(text)),
                            f"{name} has no command {pattern} any more: {why}")

    def run_one(self, command, folder):
        for root, moved in MOVED.items():
            command = command.replace(root, moved)
        environment = {"PATH": os.environ["HONE_BIN_DIR"] + ":/usr/bin:/bin", "HOME": folder, "HONE_KEYS": ""}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS", "TBB_ENABLE_SANITIZERS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=240)
        expected = next((codes for begin, codes in ANY_VERDICT.items() if command.startswith(begin)), {0})
        self.assertIn(done.returncode, expected, done.stdout[-1000:] + done.stderr[-2000:])

    @staticmethod
    def prepare(folder, document):
        """What the commands find: model.onnx, samples.npz; a coordinator's folder where /var/lib/hone stands."""
        if document in ("README.md", "conversion.md"):
            write_samples(folder / "samples.npz", 4)
            subprocess.run([program("hone"), "apply", str(model()), "--pass", "fix_shapes", "--input", "x=1,3,48,192",
                            "-o", str(folder / "model.onnx"), "--quiet"], check=True, capture_output=True)
        if document == "http.md":
            (folder / "DIR").mkdir()
        if document == "operations.md":
            service = Service()
            try:
                with service.client() as client:
                    client.upload(model())
                service.end_coordinator()
                (folder / "var/lib").mkdir(parents=True)
                (service.folder / "data").rename(folder / "var/lib/hone")
            finally:
                service.stop()


if __name__ == "__main__":
    unittest.main()
