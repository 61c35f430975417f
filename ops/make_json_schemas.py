#!/usr/bin/env python3
"""Writes docs/json/*.schema.json: the documents that `hone ... --json` prints. A test holds real answers against them.

Keys are only ever added, so nothing forbids further ones; those listed are always there, but for keys that end in '?'. A type ending in '?' may be
null, 'a|b' is either.
"""
import json
import pathlib

NAMES = {"text": "string", "number": "number", "count": "integer", "bool": "boolean", "object": "object", "list": "array"}

# What several documents hold.
PARTS = {
    "speedup": {"median": "number?", "ci99": "list?", "pairs": "count"},
    "trial": {"trial": "count", "study": "count", "state": ["waiting", "running", "complete", "infeasible", "pruned", "failed"], "phase": "text?",
              "pipeline": ["*", {"pass": "text", "params": "object"}], "backend": "text?", "settings": "object", "metrics": "object",
              "intervals": "object", "speedup": "@speedup?", "artifact": "text?", "reason": "text?", "worker": "text?", "attempts": "count",
              "wall_s": "number", "execution": "object?", "fingerprint": "text?", "notes": "list"},
    "baseline": {"backend": "text?", "settings": "object", "state": "text", "metrics": "object", "intervals": "object", "execution": "object?",
                 "fingerprint": "text?", "reason": "text?"},
    "counts": {"waiting": "count", "running": "count", "complete": "count", "infeasible": "count", "pruned": "count", "failed": "count"},
    "fingerprint": {"digest": "text?", "cpu_model": "text?", "cpu_features": "list", "cores_allowed": "count", "memory_bytes": "count",
                    "governor": "text?", "kernel": "text?", "hostname": "text?", "versions": "object"},
    "parameter": {"name": "text", "type": ["boolean", "integer", "real", "text"], "choices": "list?", "help": "text"},
    "pass": {"name": "text", "version": "count", "summary": "text", "parameters": ["*", "@parameter"], "accepts": "list", "produces": "text?",
             "needs_calibration": "bool", "takes_calibration": "bool", "precisions": "list", "impossible": "list"},
    "tensor": {"name": "text", "type": "text", "dims": "list"},
    "operator": {"type": "text", "count": "count"},
    "estimate": {"p10": "number", "median": "number", "p90": "number"},
    "error": {"code": "count", "message": "text", "remedy": "text?", "file": "text?", "line": "count?", "column": "count?"},
    "earlier": {"jobs": "count", "trials": "count"},
    "range": {"path": "text", "from": "count", "samples": "count?"},
    "key": {"kind": ["coordinator", "worker", "client"], "name": "text", "public": "text"},
    "side": {"model": "text", "artifact": "text", "backend": "text", "settings": "object", "metrics": "object", "intervals": "object",
             "execution": "object?"},
}

STATES = ["running", "complete", "failed", "cancelled"]

# The document of each schema, version 1.
DOCUMENTS = {
    "error": {**PARTS["error"], "others?": ["*", "@error"], "more?": "count"},
    "help": {"version": "text", "commands": ["*", {"name": "text", "group": "text", "usage": "text", "summary": "text"}],
             "exit_codes": ["*", {"code": "count", "name": "text", "meaning": "text"}]},
    "status": {"job": "text", "name": "text?", "state": STATES, "studies": "list"},
    "jobs": {"jobs": ["*", {"job": "text", "state": STATES, "studies": "list"}]},
    "trials": {"job": "text", "trials": ["*", "@trial"]},
    "best": {"job": "text", "state": STATES, "studies": ["*", {"study": "count", "target": "object", "baseline": "@baseline?", "best": "@trial?"}]},
    "pareto": {"job": "text", "state": STATES, "studies": ["*", {"study": "count", "target": "object", "pareto": ["*", "@trial"]}]},
    "explain": {"job": "text", "studies": ["*", {"study": "count", "ended_by": "text?", "best": "count?", "rival": "count?", "importance": "list",
                                                 "contributions": "list", "kept_out": "list"}]},
    "compare": {"a": "@trial", "b": "@trial", "same_machine": "bool", "fresh": "object?",
                "b_over_a": {"speedup": "number?", "low": "number?", "high": "number?", "verdict": ["faster", "slower", "undecided"]}},
    "event": {"seq": "count", "job": "text", "time": "text?", "kind": "text", "study": "count", "trial": "count", "text": "text"},
    "logs": {"trials": ["*", {"target": "count", "trial": "count", "attempts": "list", "command": "text"}]},
    "submit": {"job": "text", "notes": "list"},
    "cancel": {"job": "text", "was_running": "bool"},
    "retry": {"job": "text", "trials": "count"},
    "drain": {"worker": "text", "draining": "bool"},
    "workers": {"workers": ["*", {"name": "text", "state": "text", "tags": "list", "last_seen": "text?", "work": "text?", "passes": "list",
                                  "backends": "list", "fingerprint": "@fingerprint"}]},
    "check": {"valid": "bool", "notes": "list", "studies": "list"},
    "plan": {"studies": ["*", {"target": "text", "candidates": "count?", "trials": "count?", "workers": "list", "wall_s": "@estimate?"}],
             "trial_s": "@estimate?", "pair_s": "number?", "known_from": "text?", "final_pairs": "count", "smallest_difference": "number?",
             "resolve": "number?", "pairs_to_resolve": "count?", "notes": "list", "model": "text",
             "data": {"calibration": "@range?", "evaluation": "@range?"},
             "budget": {"trials": "count?", "time_s": "number?", "machine_time_s": "number?"}, "earlier": "@earlier?"},
    "result": {"job": "text", "status": STATES, "baseline": "@baseline?", "best": "@trial?", "pareto": ["*", "@trial"], "trials": "@counts",
               "build_steps": {"run": "count", "reused": "count"}, "created": "text?", "finished": "text?", "studies": "list"},
    "apply": {"path": "text", "files": "list", "artifact": "text", "digests": "object", "metrics": "object", "wall_s": "number",
              "peak_memory_bytes": "count", "steps": "list"},
    "benchmark": {**PARTS["side"], "vs": "@side?", "speedup": "@speedup?", "verdict": "text?", "expectation_met": "bool?", "runs": "list",
                  "synthetic_inputs": "bool", "wall_s": "number", "peak_memory_bytes": "count", "notes": "list"},
    "inspect": {"path": "text", "format": "text", "digest": "text?", "size_bytes": "count", "inputs": ["*", "@tensor"], "outputs": ["*", "@tensor"],
                "opsets": "object", "operators": ["*", "@operator"], "quantized": ["*", "@operator"], "parameters": "count"},
    "evaluate": {**PARTS["side"], "against": "text|object", "digests": "object", "synthetic_inputs": "bool", "feasible": "bool?", "reason": "text?",
                 "wall_s": "number", "peak_memory_bytes": "count", "fingerprint": "@fingerprint", "notes": "list"},
    "sensitivity": {"model": "text", "metric": "text", "against": ["original", "labels"], "grouping": "text",
                    "precisions": ["*", {"pass": "text", "params": "object", "all": "object"}],
                    "groups": ["*", {"name": "text", "nodes": "list", "parameters": "count", "losses": "list"}], "samples": "count",
                    "inferences": "count", "sessions": "count", "digests": "object", "wall_s": "number", "build_s": "number",
                    "measure_s": "number", "notes": "list"},
    "trial": {"job": "text", **PARTS["trial"], "path": "text", "files": "list"},
    "report.written": {"job": "text", "file": "text", "size_bytes": "count"},
    "export": {"format": "text", "name": "text", "path": "text", "artifact": "text", "backend": "text", "files": "list", "notes": "list"},
    "reproduce": {"same": "bool", "artifact?": "text", "files?": "list", "steps?": "count", "step?": "count", "pass?": "text", "made?": "text",
                  "wanted?": "text", "why?": "text"},
    "import": {"tool": "text", "source": "text", "whole": "bool", "kind": "text?", "values": "count", "counts": "object", "unknown": "count",
               "to_give": "list", "passes": "list",
               "rows": ["*", {"key": "text", "value": "text", "became": "text", "text": "text", "values": "count", "line": "count?",
                              "unknown": "bool"}],
               "recipe": "text"},
    "nightly": {"suite": "text", "night": "text", "started": "text?", "finished": "text?", "exit_code": "count",
                "results": ["*", {"model": "text", "target": "text", "metric": "text", "verdict": "text", "reason": "text?", "effect": "number?",
                                  "effect_is": ["difference", "share"], "ci99": "list", "pairs": "count", "smallest_effect": "number?",
                                  "p": "number?", "threshold": "number", "confirmed": "bool", "muted": "text?", "worker": "text",
                                  "accepted": "object", "tonight": "object"}],
                "control": {"comparisons": "count", "alarms": "count", "rate": "number?", "ci95": "list", "tonight": "list"},
                "machines": ["*", {"target": "text", "worker": "text", "fingerprint": "text", "launches": "count", "disturbed": "count",
                                   "canary_ms": "number?", "notes": "list"}]},
    "nightly.history": {"suite": "text",
                        "series": ["*", {"model": "text", "target": "text", "metric": "text", "recipe": "text", "fingerprint": "text",
                                         "runtime": "text", "changes": "list", "nights": "list"}]},
    "nightly.bisect": {"suite": "text", "model": "text", "target": "text", "metric": "text", "complete": "bool", "last_unchanged": "text",
                       "first_changed": "text",
                       "steps": ["*", {"artifact": "count", "effect": "number?", "ci99": "list", "pairs": "count", "changed": "bool?"}]},
    "nightly.change": {"change": ["accept", "pin", "annotate", "mute", "export", "import"], "suite": "text"},
    "key": {"folder": "text", **PARTS["key"], "role?": "text", "allowed?": "bool"},
    "keys": {"folder": "text", "keys": ["*", {**PARTS["key"], "secret": "bool"}],
             "allowed": ["*", {"role": "text", "name": "text", "public": "text"}]},
    "keys.change": {"change": ["allowed", "revoked", "trusted"], "name": "text", "keys": "count"},
    "token": {"name": "text", "role": "text", "token": "text"},
    "tokens": {"file": "text", "tokens": ["*", {"role": "text", "name": "text", "digest": "text"}]},
    "tokens.change": {"change": ["revoked"], "name": "text", "was_in_force": "bool"},
    "fsck": {"ok": "bool", "folder": "text", "running": "bool", "schema_version": "count", "quick": "bool", "wall_s": "number",
             "open_attempts": "list", "checks": ["*", {"id": "text", "name": "text", "checked": "count", "violations": "list", "more": "count"}]},
    "backup": {"folder": "text", "running": "bool", "file": "text", "list": "text", "digest": "text", "database_bytes": "count", "jobs": "count",
               "artifacts": "count", "artifact_bytes": "count", "missing": "count"},
    "passes": {"passes": ["*", "@pass"]},
    "pass": {**PARTS["pass"]},
    "backends": {"backends": ["*", {"name": "text", "version": "text?", "reference": "bool", "devices": "list", "formats": "list",
                                    "settings": ["*", "@parameter"]}], "tags": "list", "fingerprint": "@fingerprint"},
    "doctor": {"version": "text", "faults": "count", "warnings": "count",
               "checks": ["*", {"check": "text", "state": ["ok", "warning", "fault", "skipped"], "detail": "text", "remedy": "text?"}]},
    "config": {"settings": "object"},
    "config.path": {"paths": "object"},
    "contexts": {"contexts": ["*", {"name": "text", "coordinator": "text", "keys": "text?", "in_use": "bool"}]},
    "contexts.change": {"change": ["added", "in use", "removed"], "name": "text"},
    "completion": {"shell": ["bash", "zsh", "fish"], "script": "text"},
}


def schema_of(kind):
    if isinstance(kind, dict):
        return {"type": "object", "required": [key for key in kind if not key.endswith("?")],
                "properties": {key.rstrip("?"): schema_of(value) for key, value in kind.items()}}
    if isinstance(kind, list):
        if kind[0] == "*":
            return {"type": "array", "items": schema_of(kind[1])}
        return {"enum": kind}
    optional, word = kind.endswith("?"), kind.rstrip("?")
    if word.startswith("@"):
        schema = schema_of(PARTS[word[1:]])
    elif "|" in word:
        return {"type": [NAMES[one] for one in word.split("|")]}
    else:
        schema = {"type": NAMES[word]}
    if optional:
        schema["type"] = [schema["type"], "null"]
    return schema


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "docs" / "json"
    folder.mkdir(exist_ok=True)
    for name, document in DOCUMENTS.items():
        body = schema_of({"schema": [f"hone.{name}/1"], **document})
        text = json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"hone.{name}/1", **body}, indent=1)
        (folder / f"{name}.schema.json").write_text(text + "\n")


main()
