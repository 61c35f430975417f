"""What the scripts of this folder share: running `hone optimize` so that it can be stopped and taken up again, and
reading its database."""
import json
import pathlib
import signal
import sqlite3
import subprocess
import time

MODELS = pathlib.Path.home() / ".cache/hone/deps/bench-models"
COUNT = """SELECT (SELECT count(*) FROM trials t
    WHERE t.job = s.job AND t.trial > 0 AND t.state NOT IN ('waiting', 'running')), s.candidates
  FROM studies s ORDER BY s.job DESC LIMIT 1"""
WORK = pathlib.Path.home() / ".cache/hone/search-bench"


def optimize(hone, model, recipe, out, more=(), minutes=None):
    """Runs a job, or goes on with it where OUT holds one that was interrupted.

    Gives the result's document, or None where the time was up, and the wall seconds of this call.
    """
    begin = time.monotonic()
    command = [hone, "optimize", model, "--recipe", recipe, "-o", out, "--json", *more]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=minutes and 60 * minutes)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        process.communicate()
        return None, time.monotonic() - begin
    if process.returncode not in (0, 1):
        raise SystemExit(f"hone optimize ended with {process.returncode}")
    return json.loads(output), time.monotonic() - begin


def database(out):
    return sqlite3.connect(f"file:{pathlib.Path(out) / '.hone/hone.db'}?mode=ro", uri=True)


def count(out):
    """Trials that ended, and candidates of the newest job; zeros where there is no database yet."""
    try:
        rows = database(out).execute(COUNT).fetchall()
    except sqlite3.OperationalError:
        rows = []
    return rows[0] if rows else (0, 0)
