#!/usr/bin/env python3
"""A real job: MiniLM on two backends, `auto` in 40 trials beside every candidate.

    minilm_job.py HONE_BIN_FOLDER [--trials 40] [--seeds 7,8,9] [--minutes M]

Searches a space of 256 candidates with `auto` once for each seed, and measures all of it (`exhaustive`), each job
in a folder of its own and from nothing. Then looks up in the exhaustive table what each search picked: its share of
the best feasible speed-up there is what a user would have got. A run that was stopped, by Ctrl-C or after M
minutes, is gone on with by the next one. The exhaustive job takes some ten minutes. Needs ops/setup --minilm
--bench-peers.
"""
import argparse
import json
import pathlib
import sys

import hone_runs

RECIPE = """
inputs: {{input_ids: [1, 64], attention_mask: [1, 64], token_type_ids: [1, 64]}}
data:
  calibration: {{path: {data}, samples: 64}}
  evaluation: {{path: {data}, from: 64, samples: 64}}
accuracy: {{metric: cosine, output: last_hidden_state, against: original}}
constraints: {{accuracy_drop: 0.01}}
passes:
  - choose:
      - none
      - fp16
      - dynamic_int8: {{per_channel: [true, false], weights: [int8, uint8]}}
      - static_int8:
          layout: [onnxruntime, openvino]
          per_channel: {{when: {{layout: onnxruntime}}, choices: [true, false]}}
          activations: [uint8, int8]
          observer: [minmax, percentile, mse]
      - weights_int8: {{symmetric: [true, false]}}
      - weights_int4: {{group_size: [32, 64, 128], symmetric: [true, false]}}
backends:
  onnxruntime: {{intra_op_threads: [1, 2], graph_optimization: [extended, all]}}
  openvino: {{threads: [1, 2], inference_precision: [f32, bf16]}}
search: {{sampler: {sampler}, seed: {seed}{trials}, warm_start: false}}
measure: {{pairs: 6, final_pairs: 20, finalists: 3}}
"""


def run(options, name, sampler, seed, trials):
    folder = options.work / f"minilm-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    bound = f", trials: {trials}" if trials else ""
    recipe.write_text(RECIPE.format(data=options.models / "minilm.npz", sampler=sampler, seed=seed, trials=bound))
    times = folder / "seconds.json"
    spent = json.loads(times.read_text()) if times.exists() else {"seconds": 0, "ended": False}
    document, seconds = hone_runs.optimize(options.bin / "hone", options.models / "minilm.onnx", recipe,
                                           folder / "run", ["-q"], options.minutes)
    # A job that had ended is read again in no time; what it took is what it took then.
    if not spent["ended"]:
        spent = {"seconds": spent["seconds"] + seconds, "ended": document is not None}
        times.write_text(json.dumps(spent))
    if document is None:
        done, candidates = hone_runs.count(folder / "run")
        print(f"{name}: {done} trials of {trials or candidates} so far; run it again to go on")
        sys.exit(10)
    return document, spent["seconds"], folder / "run"


def speedups(out):
    """The speed-up of every feasible candidate, by its text."""
    query = """SELECT t.candidate, m.value
      FROM trials t JOIN metrics m ON m.attempt = t.result AND m.subject = 'paired' AND m.name = 'speedup'
      WHERE t.trial > 0 AND t.state = 'complete' AND t.job = (SELECT max(job) FROM jobs)"""
    return dict(hone_runs.database(out).execute(query))


def picked(out):
    query = """SELECT t.candidate FROM studies s
      JOIN trials t ON t.job = s.job AND t.study = s.study AND t.trial = s.best ORDER BY s.job DESC LIMIT 1"""
    row = hone_runs.database(out).execute(query).fetchone()
    return row and row[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[7, 8, 9])
    parser.add_argument("--models", type=pathlib.Path, default=hone_runs.MODELS)
    parser.add_argument("--work", type=pathlib.Path, default=hone_runs.WORK)
    parser.add_argument("--minutes", type=float, help="stop a job after so long; the next run goes on")
    options = parser.parse_args()
    searches = [(seed, *run(options, f"auto-{seed}", "auto", seed, options.trials)) for seed in options.seeds]
    _, seconds, out = run(options, "exhaustive", "exhaustive", 1, 0)
    table = speedups(out)
    best = max(table.values())
    done, candidates = hone_runs.count(out)
    print("| search | trials | wall s | its own speed-up | the same candidate in the table | share of the best |")
    print("|---|---|---|---|---|---|")
    for seed, document, wall, where in searches:
        found = table.get(picked(where))
        trials, _ = hone_runs.count(where)
        own = document["best"]["speedup"]["median"] if document["best"] else float("nan")
        there = "infeasible" if found is None else f"{found:.3f}"
        share = 0 if found is None else found / best
        print(f"| auto, seed {seed} | {trials} | {wall:.0f} | {own:.3f} | {there} | {share:.1%} |")
    print(f"| every candidate | {done} of {candidates} | {seconds:.0f} | {best:.3f} | {best:.3f} | 100 % |")


if __name__ == "__main__":
    main()
