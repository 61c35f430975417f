#!/usr/bin/env python3
"""Measures every candidate of a recipe on a small model and keeps the table.

    make_table.py HONE_BIN_FOLDER NAME [--models FOLDER] [--out bench/search/tables] [--minutes M]

NAME is text_angle, digits or attention; its recipe lies in the tables' folder. Needs onnx and numpy (ops/setup's
peers). Everything is timed, whatever its accuracy, so that any bound can be asked of the table. Writes NAME.csv
(candidate, accuracy_drop, size_bytes, latency samples in ms) and NAME.catalogue.

What was measured is kept beside the other caches: a run that was stopped, by Ctrl-C or after M minutes, is gone on
with by the next one, and the table is written once every candidate has been measured. A trial takes about a
second, so a table of 300 takes some five minutes on a quiet machine.
"""
import argparse
import csv
import json
import pathlib
import sys

import numpy as np

import hone_runs

MOST_SAMPLES = 32


def weights(rng, name, *shape):
    from onnx import numpy_helper

    values = rng.normal(size=shape) / np.sqrt(shape[0])
    # A few large channels, as trained networks have them.
    values[:, rng.integers(shape[-1], size=max(1, shape[-1] // 64))] *= 6
    return numpy_helper.from_array(values.astype(np.float32), name)


def attention(folder, rng):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width, length, blocks = 128, 32, 2
    nodes, initializers, last = [], [numpy_helper.from_array(np.float32(width ** -0.5), "scale")], "x"

    def node(op, inputs, **attributes):
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def dense(source, inner, outer):
        name = f"w{len(initializers)}"
        initializers.append(weights(rng, name, inner, outer))
        return node("MatMul", [source, name])

    for _ in range(blocks):
        q, k, v = (dense(last, width, width) for _ in range(3))
        scores = node("Softmax", [node("Mul", [node("MatMul", [q, node("Transpose", [k], perm=[0, 2, 1])]), "scale"])], axis=-1)
        last = node("Add", [last, dense(node("MatMul", [scores, v]), width, width)])
        last = node("Add", [last, dense(node("Relu", [dense(last, width, 4 * width)]), 4 * width, width)])
    graph = helper.make_graph(nodes, "attention", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, length, width])],
                              [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, length, width])], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "attention.onnx")
    np.savez(folder / "attention.npz", x=rng.normal(size=(48, length, width)).astype(np.float32))
    return folder / "attention.onnx", folder / "attention.npz"


def rows_of(database, job):
    query = """SELECT t.candidate, t.trial, t.result,
      (SELECT value FROM metrics WHERE attempt = t.result AND subject = 'candidate' AND name = 'accuracy_drop'),
      (SELECT value FROM metrics WHERE attempt = t.result AND subject = 'candidate' AND name = 'size_bytes'),
      (SELECT doubles FROM samples WHERE attempt = t.result AND series = 'candidate.latency_ms')
      FROM trials t WHERE t.job = ? AND t.trial > 0 AND t.state = 'complete' ORDER BY t.trial"""
    for candidate, _, _, drop, size, doubles in database.execute(query, (job,)):
        if drop is None or doubles is None:
            continue
        samples = np.frombuffer(doubles, dtype="<f8")
        if len(samples) > MOST_SAMPLES:
            # Evenly over the ranks: the table keeps the distribution.
            samples = np.sort(samples)[np.linspace(0, len(samples) - 1, MOST_SAMPLES).round().astype(int)]
        yield candidate, f"{drop:.6g}", int(size), " ".join(f"{sample:.4g}" for sample in samples)


def write_table(rows, catalogue, folder, name):
    with open(folder / f"{name}.csv.new", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["candidate", "accuracy_drop", "size_bytes", "latency_ms"])
        table.writerows(rows)
    offered = {key: value for key, value in json.loads(catalogue).items() if key in ("passes", "backends")}
    (folder / f"{name}.catalogue").write_text(json.dumps(offered, separators=(",", ":")) + "\n")
    (folder / f"{name}.csv.new").rename(folder / f"{name}.csv")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("name", choices=["text_angle", "digits", "attention"])
    parser.add_argument("--models", type=pathlib.Path, default=hone_runs.MODELS)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "tables")
    parser.add_argument("--work", type=pathlib.Path, default=hone_runs.WORK)
    parser.add_argument("--minutes", type=float, help="stop after so long; the next run goes on")
    options = parser.parse_args()
    folder = options.work / f"table-{options.name}"
    folder.mkdir(parents=True, exist_ok=True)
    if options.name == "attention":
        model, data = folder / "attention.onnx", folder / "attention.npz"
        if not data.exists():
            attention(folder, np.random.default_rng(1))
    else:
        model, data = options.models / f"{options.name}.onnx", options.models / f"{options.name}.npz"
    recipe = folder / "recipe.yaml"
    ranges = (f"data: {{calibration: {{path: {data}, samples: 16}}, "
              f"evaluation: {{path: {data}, from: 16, samples: 32}}}}\n")
    recipe.write_text((options.out / f"{options.name}.yaml").read_text() + ranges)
    out = folder / "run"
    document, seconds = hone_runs.optimize(options.bin / "hone", model, recipe, out, ["-q"], options.minutes)
    done, candidates = hone_runs.count(out)
    if document is None:
        print(f"{options.name}: {done} of {candidates} candidates after {seconds:.0f} s of this run; "
              "run it again to go on")
        sys.exit(10)
    found = hone_runs.database(out)
    (job,) = found.execute("SELECT max(job) FROM jobs").fetchone()
    rows = list(rows_of(found, job))
    (catalogue,) = found.execute("SELECT catalogue FROM studies WHERE job = ?", (job,)).fetchone()
    write_table(rows, catalogue, options.out, options.name)
    print(f"{options.name}: {len(rows)} of {candidates} candidates in {seconds:.0f} s of this run; "
          "the others failed or ran otherwise than they claim")


if __name__ == "__main__":
    main()
