#!/usr/bin/env python3
"""Olive 0.13 and hone on the same 8 candidates of dynamic quantization: wall time a candidate.

    olive_side.py HONE_BIN_FOLDER [--rounds 3] [--only hone|olive]

The candidates are int8 and uint8 weights, with and without a scale a channel, with and without a reduced range, of
MiniLM at 64 tokens, in ONNX Runtime. Either program builds each of them, checks what it puts out and times it
beside the original: Olive with its own search over its own pass, its default latency metric (10 warm-ups, 20 runs)
and the accuracy that it has for models without labels, none; hone with `exhaustive`, cosine against the original on
32 samples and 6 interleaved pairs. Each round is a process and a cache of its own; they take turns. Needs ops/setup
--minilm --bench-peers, which keeps Olive in an environment of its own.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import hone_runs

OLIVE = pathlib.Path.home() / ".cache/hone/deps/peers-olive/bin/olive"
CANDIDATES = 8

HONE = """
inputs: {{input_ids: [1, 64], attention_mask: [1, 64], token_type_ids: [1, 64]}}
data: {{evaluation: {{path: {data}, samples: 32}}}}
accuracy: {{metric: cosine, output: last_hidden_state, against: original}}
passes: [{{dynamic_int8: {{weights: [int8, uint8], per_channel: [true, false], reduce_range: [true, false]}}}}]
backends: {{onnxruntime: }}
search: {{sampler: exhaustive}}
"""


def searched(values):
    return {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": values}


def olive_config(folder):
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    dummy = {"type": "dummy_dataset", "input_names": inputs, "input_shapes": [[1, 64]] * 3,
             "input_types": ["int64"] * 3, "max_samples": 32}
    latency = {"name": "latency", "type": "latency", "data_config": "inputs",
               "sub_types": [{"name": "avg", "priority": 1}]}
    accelerator = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    quantize = {"type": "OnnxDynamicQuantization", "precision": searched(["int8", "uint8"]),
                "per_channel": searched([True, False]), "reduce_range": searched([True, False]),
                "quant_preprocess": False}
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(hone_runs.MODELS / "minilm.onnx")},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [accelerator]}},
        "data_configs": [{"name": "inputs", "type": "DummyDataContainer", "load_dataset_config": dummy}],
        "evaluators": {"speed": {"metrics": [latency]}},
        "passes": {"quantize": quantize},
        "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
        "evaluator": "speed", "host": "here", "target": "here", "evaluate_input_model": True,
        "cache_dir": str(folder / "cache"), "output_dir": str(folder / "out"), "log_severity_level": 2,
    }


def run_olive(folder):
    config = folder / "olive.json"
    config.write_text(json.dumps(olive_config(folder)))
    begin = time.monotonic()
    done = subprocess.run([OLIVE, "run", "--config", config], cwd=folder, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(f"olive ended with {done.returncode}: {done.stderr[-2000:]}")
    built = len(list((folder / "cache").rglob("*.onnx")))
    if built < CANDIDATES:
        raise SystemExit(f"olive built {built} models, not {CANDIDATES}: {done.stdout[-2000:]}")
    return seconds


def run_hone(folder, hone):
    recipe = folder / "recipe.yaml"
    recipe.write_text(HONE.format(data=hone_runs.MODELS / "minilm.npz"))
    document, seconds = hone_runs.optimize(hone, hone_runs.MODELS / "minilm.onnx", recipe, folder / "run", ["-q"])
    measured = document["trials"]["complete"] + document["trials"]["infeasible"]
    if measured != CANDIDATES:
        raise SystemExit(f"hone measured {measured} candidates, not {CANDIDATES}")
    return seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["hone", "olive"])
    options = parser.parse_args()
    runs = {"olive": run_olive, "hone": lambda folder: run_hone(folder, options.bin / "hone")}
    seconds = {name: [] for name in runs if options.only in (None, name)}
    for _ in range(options.rounds):
        for name in seconds:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-olive-"))
            try:
                seconds[name].append(runs[name](folder))
            finally:
                shutil.rmtree(folder)
    print("| program | wall s, median | least | most | a candidate |\n|---|---|---|---|---|")
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"| {name} | {middle:.1f} | {min(times):.1f} | {max(times):.1f} | {middle / CANDIDATES:.2f} s |")
    if len(seconds) == 2:
        ratio = statistics.median(seconds["olive"]) / statistics.median(seconds["hone"])
        print(f"\nhone takes 1/{ratio:.1f} of Olive's time.")


if __name__ == "__main__":
    main()
