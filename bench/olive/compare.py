#!/usr/bin/env python3
"""Five of Olive's configurations, run by Olive 0.13 and by hone on the same file. See README.md."""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
import yaml

PASSES = {
    "dynamic int8": [{"type": "OnnxDynamicQuantization", "precision": "int8"}],
    "dynamic int8 per channel": [{"type": "OnnxDynamicQuantization", "precision": "int8", "per_channel": True}],
    "4-bit blocks of 32": [{"type": "OnnxBlockWiseRtnQuantization", "bits": 4, "block_size": 32, "is_symmetric": True}],
    "8-bit blocks of 128": [{"type": "OnnxBlockWiseRtnQuantization", "bits": 8, "block_size": 128}],
    "float16": [{"type": "OnnxFloatToFloat16", "keep_io_types": True}],
}
# Operators that stand for one that was quantized, and what it was.
INTEGERS = {
    "MatMulInteger": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
    "MatMulNBits": "MatMul",
    "ConvInteger": "Conv",
    "QLinearConv": "Conv",
    "GatherBlockQuantized": "Gather",
}


def config_of(model, passes):
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(model)},
        "passes": {f"pass{i}": one for i, one in enumerate(passes)},
        "log_severity_level": 3,
    }


def steps_of(recipe):
    """The passes of an imported recipe without choices, as `hone apply` takes them."""
    for step in yaml.safe_load(recipe.read_text())["passes"]:
        if isinstance(step, str):
            yield step
            continue
        ((name, parameters),) = step.items()
        values = {key: value[0] if isinstance(value, list) else value for key, value in (parameters or {}).items()}
        words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in values.items()]
        yield name + (":" + ",".join(words) if words else "")


def quantized(path):
    """How many nodes of each type work on quantized weights; for float16 those whose weights are."""
    model = onnx.load(str(path))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    counts = collections.Counter()
    dequantized = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in kinds}
    for node in model.graph.node:
        if node.op_type in INTEGERS:
            counts[INTEGERS[node.op_type]] += 1
        elif any(name in dequantized for name in node.input):
            counts["MatMul" if node.op_type == "Gemm" else node.op_type] += 1
        elif node.op_type in ("MatMul", "Gemm", "Conv"):
            counts[node.op_type] += any(kinds.get(name) == onnx.TensorProto.FLOAT16 for name in node.input)
    return {kind: count for kind, count in sorted(counts.items()) if count}


def outputs(path, data, samples):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return [session.run(None, {name: data[name][i : i + 1] for name in names}) for i in range(samples)]


def cosine(one, other):
    values = []
    for a, b in zip(one, other):
        a, b = (np.concatenate([np.asarray(t, np.float64).ravel() for t in side]) for side in (a, b))
        values.append(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-30)))
    return float(np.mean(values))


def run(words, log, folder):
    start = time.perf_counter()
    with open(log, "wb") as out:
        environment = {**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"}
        status = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=environment).returncode
    return time.perf_counter() - start, status


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hone", default="build/release/bin/hone")
    options.add_argument("--model", required=True)
    options.add_argument("--data", required=True)
    options.add_argument("--samples", type=int, default=32)
    arguments = options.parse_args()
    model = pathlib.Path(arguments.model).resolve()
    hone, samples = pathlib.Path(arguments.hone).resolve(), pathlib.Path(arguments.data).resolve()
    data = np.load(samples)
    reference = outputs(model, data, arguments.samples)
    bad = False
    print("| configuration | operators, Olive | operators, hone | cosine, Olive | cosine, hone | s, Olive | s, hone |")
    print("|" + "---|" * 7)
    for name, passes in PASSES.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            config = config_of(model, passes)
            config["output_dir"] = str(folder / "olive")
            config["cache_dir"] = str(folder / "cache")
            (folder / "config.json").write_text(json.dumps(config))
            config_file = str(folder / "config.json")
            olive_words = [sys.executable, "-m", "olive", "run", "--config", config_file]
            recipe = folder / "recipe.yaml"
            imported_s, _ = run(
                [str(hone), "import", "olive", config_file, "-o", str(recipe)], folder / "hone.log", folder
            )
            hone_words = [str(hone), "apply", str(model), "--data", str(samples), "-o", str(folder / "hone")]
            for step in steps_of(recipe):
                hone_words += ["--pass", step]
            olive_s, olive_status = run(olive_words, folder / "olive.log", folder)
            hone_s, hone_status = run(hone_words, folder / "hone.log", folder)
            hone_s += imported_s
            files = {"olive": folder / "olive" / "model.onnx", "hone": folder / "hone" / "model.onnx"}
            for side, status in (("olive", olive_status), ("hone", hone_status)):
                if not files[side].exists():
                    log = (folder / f"{side}.log").read_text(errors="replace")
                    print(f"{name}: {side} left no model (exit status {status}):\n{log[-1500:]}", file=sys.stderr)
            if not all(file.exists() for file in files.values()):
                bad = True
                continue
            operators = {side: quantized(file) for side, file in files.items()}
            close = {side: cosine(reference, outputs(file, data, arguments.samples)) for side, file in files.items()}
            print(
                f"| {name} | {operators['olive']} | {operators['hone']} | {close['olive']:.5f} | {close['hone']:.5f} "
                f"| {olive_s:.1f} | {hone_s:.1f} |",
                flush=True,
            )
            slower = hone_s > olive_s / 2
            bad = bad or operators["olive"] != operators["hone"] or close["hone"] < close["olive"] - 0.001 or slower
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
