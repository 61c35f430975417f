#!/usr/bin/env python3
"""Runs `hone import olive` over every configuration below a folder and prints what became of them, by what they need.

    bench/import_folder.py FOLDER [--hone build/release/bin/hone] [--jobs 2] [--list]

A configuration is a JSON file with a map that has the key input_model. A value that no row of the report stands for
would be a silent drop; the script counts the values itself and compares. Exit status 1 where the command crashed, a
value was dropped, or a configuration that needs ONNX-level passes alone is not imported whole.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import subprocess
import sys


def leaves(node):
    if isinstance(node, dict) and node:
        return sum(leaves(value) for value in node.values())
    if isinstance(node, list) and node:
        return sum(leaves(value) for value in node)
    return 1


def configurations(folder):
    for path in sorted(folder.rglob("*.json")):
        try:
            root = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, UnicodeDecodeError):
            continue
        if isinstance(root, dict) and "input_model" in root:
            yield path, root


def run(hone, path, root):
    command = [hone, "import", "olive", str(path), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "crashed", "", "no answer in 120 s", 0
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return "crashed", "", done.stderr[-300:], 0
    if done.returncode == 9:
        return "rejected", "", report.get("message", ""), 0
    if done.returncode not in (0, 1):
        return "crashed", "", f"exit status {done.returncode}", 0
    told = sum(row["values"] for row in report["rows"])
    if told != leaves(root):
        return "dropped", report["kind"], f"{leaves(root)} values, {told} told", 0
    return ("whole" if done.returncode == 0 else "part"), report["kind"], report["rows"], report["unknown"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--hone", default="build/release/bin/hone")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="name what was not imported whole, and why")
    options = parser.parse_args()

    found = list(configurations(options.folder))
    table = collections.defaultdict(collections.Counter)
    reasons = collections.Counter()
    unknown_keys = 0
    bad = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda item: run(options.hone, *item), found)
        for (path, _), (outcome, kind, detail, unknown) in zip(found, results):
            table[kind or outcome][outcome] += 1
            unknown_keys += unknown
            if outcome in ("crashed", "dropped", "rejected"):
                bad.append((path, outcome, detail))
            elif outcome == "part":
                for row in detail:
                    if row["became"] == "impossible":
                        reasons[row["text"]] += 1
                if kind in ("onnx", "exported"):
                    bad.append((path, "part", [f"{row['key']}: {row['text']}" for row in detail
                                               if row["became"] == "impossible"]))

    outcomes = ("whole", "part", "rejected", "crashed", "dropped")
    print(f"{'needs':<12}" + "".join(f"{name:>10}" for name in outcomes) + f"{'all':>10}")
    for kind, counts in sorted(table.items()):
        print(f"{kind:<12}" + "".join(f"{counts[name]:>10}" for name in outcomes) + f"{sum(counts.values()):>10}")
    print(f"{len(found)} configurations, {unknown_keys} unknown keys")
    if options.list:
        for path, outcome, detail in bad:
            print(f"{outcome}: {path.relative_to(options.folder)}: {detail}")
        for text, count in reasons.most_common():
            print(f"{count:>6}  {text}")
    failed = [item for item in bad if item[1] in ("crashed", "dropped") or item[1] == "part"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
