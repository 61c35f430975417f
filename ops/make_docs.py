#!/usr/bin/env python3
"""Writes docs/passes.md from what the program advertises: the tables of passes and backends.

  ops/make_docs.py [path of hone]
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def ask(hone: str, *words: str) -> dict:
    return json.loads(subprocess.run([hone, *words, "--json"], check=True, capture_output=True, text=True).stdout)


def value(v) -> str:
    return "" if v is None else "true" if v is True else "false" if v is False else str(v)


def rows(parameters: list) -> list:
    lines = ["| parameter | type | default | allowed | |", "|---|---|---|---|---|"]
    for p in parameters:
        if p["choices"]:
            allowed = ", ".join(value(c) for c in p["choices"])
        elif p["minimum"] is not None or p["maximum"] is not None:
            allowed = f"{value(p['minimum'])} .. {value(p['maximum'])}"
        else:
            allowed = ""
        default = value(p["default"]) or "unset"
        lines.append(f"| `{p['name']}` | {p['type']} | {default} | {allowed} | {p['help'].replace('|', chr(92) + '|')} |")
    return lines


def main() -> None:
    hone = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/release/bin/hone")
    lines = ["# Passes and backends", "",
             "Written by `ops/make_docs.py` from what `hone passes` and `hone backends` tell; change the `info` functions, not this page.", "",
             "## Passes", ""]
    for p in ask(hone, "passes")["passes"]:
        lines += [f"### {p['name']}", "", p["summary"] + ".", ""]
        facts = [f"version {p['version']}", "accepts " + ", ".join(p["accepts"])]
        if p.get("produces"):
            facts.append("produces " + p["produces"])
        if p.get("needs_calibration"):
            facts.append("needs calibration data")
        if p.get("precisions"):
            facts.append("`--precision " + ",".join(p["precisions"]) + "`")
        lines += ["; ".join(facts) + ".", ""]
        if p["parameters"]:
            lines += rows(p["parameters"]) + [""]
        if p["impossible"]:
            lines += ["Never proposed, and rejected:", ""] + [f"- {reason}" for reason in p["impossible"]] + [""]
    lines += ["## Backends", ""]
    for b in ask(hone, "backends")["backends"]:
        lines += [f"### {b['name']}", "", "Loads " + ", ".join(b["formats"]) + ".", ""] + rows(b["settings"]) + [""]
    (ROOT / "docs/passes.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
