#!/usr/bin/env python3
"""Measures hone beside ONNX Runtime's quantizers and NNCF: same model, same samples, separate processes, in turns.

    bench/peers/run.py [--model minilm,text_angle,digits,resnet50,encoder100m] [--out DIR]      after ops/setup --minilm --models --bench-peers

Every row is one program started afresh: `hone apply` or peer.py with one peer's one method. A round starts each row once, in an order
that changes from round to round; told are the medians over the rounds.

    wall        from the start of the process to its end, imports and all
    work        for Python peers, without the imports: reading the model to writing the artifact
    memory      the largest resident set of the process and of its children, as the kernel kept it
    size        bytes of the artifact's files
    latency     and speed-up, one inference at a time: measure.py, every artifact in each runtime, interleaved
    cosine      to the original in ONNX Runtime, on samples that no quantizer saw: of all outputs, and of those of tokens, without padding

Writes DIR/results.json and DIR/results.md, and prints the latter. Ratios come first: they are what carries from one machine to another.
Stays small on purpose, and imports nothing heavy: a child's memory is counted from its parent's at the start.
"""
import argparse
import json
import os
import pathlib
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# hone's rows: name -> passes. static_int8 comes behind simplify, as everyone's recipe has it: OpenVINO's own quantization fails on what folds. What is compared with what follows from the middle of the name: static, dynamic, w8, w4, ov.
HONE = {
    "hone-static": ["simplify", "static_int8"],
    "hone-static-perchannel": ["simplify", "static_int8:per_channel=true"],
    "hone-static-smooth": ["simplify", "static_int8:per_channel=true,smooth_alpha=0.5"],
    "hone-static-percentile": ["simplify", "static_int8:per_channel=true,observer=percentile"],
    "hone-static-ov": ["simplify", "static_int8:layout=openvino"],
    "hone-static-ov-smooth": ["simplify", "static_int8:layout=openvino,observer=mean_minmax,smooth_alpha=0.95,bias_correction=true"],
    "hone-static-ov-search": ["simplify", "static_int8:layout=openvino,observer=mse,smooth_alpha=0.95,smooth_search=true,bias_correction=true"],
    "hone-ov-int8": ["openvino_int8"],
    "hone-ov-int8-noscores": ["openvino_int8:attention=none"],
    "hone-dynamic": ["dynamic_int8"],
    "hone-dynamic-perchannel": ["dynamic_int8:per_channel=true"],
    "hone-dynamic-fused": ["simplify", "fuse_transformer", "dynamic_int8:per_channel=true"],
    "hone-w8": ["weights_int8"],
    "hone-ov-w8": ["openvino_weights"],
    "hone-w4": ["weights_int4:group_size=128,symmetric=false"],
    "hone-w4-g32": ["weights_int4:group_size=32,symmetric=false"],
    "hone-w4-g32-mse": ["weights_int4:group_size=32,symmetric=false,method=mse"],
    "hone-w4-g32-gptq": ["weights_int4:group_size=32,symmetric=false,method=gptq"],
    "hone-w4-g32-awq": ["weights_int4:group_size=32,symmetric=false,method=awq"],
    "hone-ov-w4": ["openvino_weights:mode=int4_asym"],
    "hone-ov-w4-g32": ["openvino_weights:mode=int4_asym,group_size=32"],
}

# Which rows each model is worth: regular expressions over the names.
MODELS = {
    "minilm": dict(rows=".*", first_held_out=1100, samples=128),
    "text_angle": dict(rows="(?!.*(w4|4bit|transformer|awq|gptq|fused))", first_held_out=128, samples=128),
    "digits": dict(rows="(?!.*(w4|4bit|transformer|awq|gptq|fused))", first_held_out=1297, samples=500),
    "resnet50": dict(rows="hone-static.*|hone-ov-int8|hone-ov-w8|ort-static-minmax.*|nncf-(ov|onnx)-int8$", first_held_out=128, samples=64),
    "encoder100m": dict(rows="hone-w4.*|hone-ov-w4.*|hone-dynamic$|ort-4bit(-g32)?$|ort-dynamic$|nncf-ov-w4(-g32)?$", first_held_out=1100, samples=32),
}


def environment():
    text = subprocess.run([ROOT / "ops/setup", "--print-env"], check=True, capture_output=True, text=True).stdout
    return {key: value.strip("'\"") for key, value in re.findall(r"export (\w+)=(.*)", text)}


def peer_names(python):
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import peer; print(*peer.WORKS)"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()


class Finished:
    def __init__(self, command, folder, limit_s):
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
            watch = threading.Timer(limit_s, os.killpg, (process.pid, signal.SIGKILL))
            watch.start()
            _, status, usage = os.wait4(process.pid, 0)
            self.wall_s = time.perf_counter() - start
            watch.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
        self.code = process.returncode
        self.memory_mb = usage.ru_maxrss / 1024
        self.cpu_s = usage.ru_utime + usage.ru_stime


def reason(finished):
    lines = [line.strip() for line in finished.log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith('"message"') or re.search(r"Error:|Exception:|failed|refus|cannot", line)]
    return (telling or lines or [f"exit code {finished.code}"])[-1][:200]


class Row:
    """One way to quantize one model."""

    def __init__(self, name, command, folder):
        self.name, self.command, self.folder = name, command, folder
        self.runs, self.failed = [], None

    def run(self, limit_s):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        finished = Finished(self.command, self.folder, limit_s)
        if finished.code != 0 or self.artifact() is None:
            self.failed = reason(finished)
            return
        run = {"wall_s": finished.wall_s, "memory_mb": finished.memory_mb, "cpu_s": finished.cpu_s}
        times = self.folder / "scratch/times.json"
        if times.exists():
            run |= json.loads(times.read_text())
        self.runs.append(run)

    def artifact(self):
        return next((self.folder / name for name in ("model.onnx", "model.xml") if (self.folder / name).exists()), None)

    def size_mb(self):
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file() and file.name != "log") / 1e6

    def told(self):
        if self.failed:
            return {"failed": self.failed}
        if not self.runs:
            return {"size_mb": self.size_mb()} if self.artifact() else {"failed": "no artifact of an earlier run"}
        keys = {key for run in self.runs for key in run}
        told = {key: statistics.median(run[key] for run in self.runs) for key in keys}
        return told | {"size_mb": self.size_mb(), "walls_s": [run["wall_s"] for run in self.runs]}


class Bench:
    def __init__(self, args):
        self.args = args
        env = environment()
        self.models = pathlib.Path(env["HONE_MODELS"])
        self.python = f"{env['HONE_PEERS']}-bench/bin/python"
        if not os.path.exists(self.python):
            raise SystemExit(f"{self.python} is not there: run ops/setup --models --minilm --bench-peers")
        self.cache = pathlib.Path(env["HONE_DEPS"]) / "bench-models"
        self.out = args.out.resolve()
        self.hone = (args.bin / "hone").resolve()
        self.peers = peer_names(self.python)

    def model(self, name):
        path = self.cache / f"{name}.onnx"
        if not path.exists() or not (self.cache / f"{name}.npz").exists():
            print(f"making {name}", file=sys.stderr)
            subprocess.run([self.python, HERE / "make_models.py", name, "--models", self.models, "--out", self.cache], check=True)
        return path

    def command(self, row, model, data, samples, folder):
        if row in HONE:
            passes = [word for one in HONE[row] for word in ("--pass", one)]
            out = folder / ("model.xml" if any("openvino_" in one for one in HONE[row]) else "model.onnx")
            return [self.hone, "apply", model, *passes, "--calibration", data, "--samples", str(samples), "-o", out, "--json", "-q"]
        return [self.python, HERE / "peer.py", row, model, data, str(samples), folder]

    def rows(self, name, samples, wanted):
        model, data = self.model(name), self.cache / f"{name}.npz"
        names = [row for row in [*HONE, *self.peers] if re.match(wanted, row) and re.search(self.args.only, row)]
        return [Row(row, self.command(row, model, data, samples, self.out / name / row), self.out / name / row) for row in names]

    def quantize(self, name, rows):
        rng = random.Random(1)
        order = list(rows)
        for round_ in range(self.args.rounds):
            rng.shuffle(order)
            for row in order:
                if row.failed:
                    continue
                row.run(self.args.limit)
                told = row.failed or f"{row.runs[-1]['wall_s']:.2f} s, {row.runs[-1]['memory_mb']:.0f} MB"
                print(f"{name} round {round_ + 1}: {row.name}: {told}", file=sys.stderr)

    def measure(self, name, rows):
        told = {}
        for runtime in ("onnxruntime", "openvino"):
            artifacts = {row.name: str(row.artifact()) for row in rows
                         if not row.failed and row.artifact() and (runtime == "openvino" or row.artifact().suffix == ".onnx")}
            request = {"reference": str(self.model(name)), "artifacts": artifacts, "data": str(self.cache / f"{name}.npz"),
                       "from": MODELS[name]["first_held_out"], "samples": self.args.held_out or MODELS[name]["samples"], "threads": self.args.threads,
                       "rounds": self.args.latency_rounds, "block_s": self.args.block}
            done = subprocess.run([self.python, HERE / "measure.py", runtime], input=json.dumps(request), capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"measure.py {runtime}: {done.stderr.strip()[-2000:]}")
            told[runtime] = json.loads(done.stdout)
        return told

    def memory(self, name):
        """The static rows again with few and with many samples: whether memory follows the count."""
        told = {}
        for samples in (64, 1024):
            for row in self.rows(name, samples, "hone-static$|ort-static-minmax$|nncf-ov-int8-transformer$"):
                row.run(self.args.limit)
                told.setdefault(row.name, {})[samples] = row.told()
                print(f"{name}, {samples} samples: {row.name}: {row.failed or round(row.runs[-1]['memory_mb'])} MB", file=sys.stderr)
        return told


# --- the tables ----------------------------------------------------------------------------------------------------------------------


def kind_of(name):
    for kind, pattern in (("4-bit weights", "w4|4bit"), ("8-bit weights", "w8"), ("dynamic int8", "dynamic"), ("static int8", "static|int8")):
        if re.search(pattern, name):
            return kind
    return "other"


def cell(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def ratio(value, own):
    return None if value is None or not own else value / own


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(one) for one in row) + " |" for row in rows]) + "\n"


class Report:
    def __init__(self, name, result):
        self.name, self.rows, self.measured, self.memory = name, result["rows"], result.get("measured", {}), result.get("memory", {})

    def value(self, row, key):
        return self.rows.get(row, {}).get(key)

    def candidates(self, ours):
        """(latency, row, runtime) of what runs, of hone or of the peers."""
        for runtime, rows in self.measured.items():
            for row, told in rows.items():
                if row != "reference" and row.startswith("hone") == ours and "latency_ms" in told:
                    yield told["latency_ms"], row, runtime, told

    def ratios(self):
        """Every row of hone against every peer's of the same kind: how many times the peer's wall and memory are hone's."""
        lines = []
        for own in (row for row in self.rows if row.startswith("hone") and "wall_s" in self.rows[row]):
            for peer in (row for row in self.rows if not row.startswith("hone") and kind_of(row) == kind_of(own)):
                if "wall_s" not in self.rows[peer]:
                    continue
                lines.append([own, peer, cell(ratio(self.value(peer, "wall_s"), self.value(own, "wall_s")), 1),
                              cell(ratio(self.value(peer, "work_s"), self.value(own, "wall_s")), 1),
                              cell(ratio(self.value(peer, "memory_mb"), self.value(own, "memory_mb")), 1),
                              cell(ratio(self.value(own, "size_mb"), self.value(peer, "size_mb")))])
        return table(["hone", "peer", "peer's wall / hone's", "peer's work / hone's wall", "peer's memory / hone's", "hone's size / peer's"], lines)

    def fastest(self, at_least):
        told = []
        for ours in (True, False):
            good = [one for one in self.candidates(ours) if one[3]["cosine"] >= at_least]
            if not good:
                return None
            told.append(min(good))
        return told

    def claims(self):
        """What issue and design ask of this model, with what was measured."""
        lines = []
        if best := self.fastest(0.99):
            (own, own_row, own_runtime, _), (peer, peer_row, peer_runtime, _) = best
            lines.append(["fastest at cosine >= 0.99, peers' latency / hone's", f"{peer / own:.2f}",
                          f"{own_row} in {own_runtime} {own:.2f} ms; {peer_row} in {peer_runtime} {peer:.2f} ms"])
        four_bits = sorted((one[3]["cosine"], one[1], one[2]) for ours in (True, False) for one in self.candidates(ours)
                           if kind_of(one[1]) == "4-bit weights")
        for cosine, row, runtime in reversed(four_bits):
            lines.append([f"4-bit weights, cosine: {row}", f"{cosine:.4f}", f"in {runtime}"])
        for row, told in self.memory.items():
            if all("memory_mb" in told.get(samples, {}) for samples in (64, 1024)):
                few, many = told[64]["memory_mb"], told[1024]["memory_mb"]
                lines.append([f"memory at 1024 samples / at 64, {row}", f"{many / few:.2f}", f"{many:.0f} MB, {few:.0f} MB"])
        return table(["what", "ratio", "of"], lines) if lines else ""

    def costs(self):
        lines = []
        for row, told in self.rows.items():
            if "failed" in told:
                lines.append([row, "failed", told["failed"].replace("|", "/"), "", "", ""])
                continue
            if "wall_s" not in told:
                lines.append([row, "-", "-", "-", "-", cell(told["size_mb"], 1)])
                continue
            spread = f"{min(told['walls_s']):.2f} .. {max(told['walls_s']):.2f}"
            lines.append([row, cell(told["wall_s"]), spread, cell(told.get("work_s")), cell(told["memory_mb"], 0), cell(told["size_mb"], 1)])
        return table(["row", "wall s", "range", "work s", "memory MB", "size MB"], lines)

    def runs(self):
        lines = []
        for row in ["reference", *self.rows]:
            line = [row]
            for runtime in ("onnxruntime", "openvino"):
                told = self.measured.get(runtime, {}).get(row)
                if told is None or "failed" in told:
                    line += ["-", "-" if told is None else "failed: " + told["failed"].replace("|", "/")[:160], "-", "-"]
                    continue
                accuracy = cell(told["cosine"], 4)
                labels = f"{told['top1']:.3f} / {told['top1_agreement']:.3f}" if "top1" in told else cell(told.get("cosine_tokens"), 4)
                line += [cell(told["latency_ms"]), f"{told['speedup']:.2f} [{told['speedup_low']:.2f}, {told['speedup_high']:.2f}]", accuracy, labels]
            if any(word != "-" for word in line[1:]):
                lines.append(line)
        header = ["row"] + [f"{what}, {runtime}" for runtime in ("ORT", "OV") for what in ("ms", "speed-up", "cosine", "of tokens, or top-1 / agreement")]
        return table(header, lines)

    def text(self):
        parts = [f"### {self.name}\n", self.claims(), self.ratios(), self.costs()]
        return "\n".join(part for part in [*parts, self.runs() if self.measured else ""] if part)


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", info)
    return f"{name.group(1) if name else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="comma-separated: " + ", ".join(MODELS))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/bench-peers"))
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="folder of hone's programs")
    parser.add_argument("--only", default="", help="rows whose name holds this regular expression")
    parser.add_argument("--samples", type=int, default=128, help="calibration samples")
    parser.add_argument("--held-out", type=int, help="samples that cosine is told on (default: the model's own number)")
    parser.add_argument("--reuse", action="store_true", help="measure the artifacts that an earlier run left, without quantizing again")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-rounds", type=int, default=15)
    parser.add_argument("--block", type=float, default=0.1, help="seconds that an artifact runs at a time")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the runtimes, for latency")
    parser.add_argument("--limit", type=int, default=600, help="seconds that one quantization may take")
    parser.add_argument("--memory", action="store_true", help="also quantize with 64 and with 1,024 samples")
    parser.add_argument("--no-latency", action="store_true")
    args = parser.parse_args()
    bench = Bench(args)
    results = {"machine": machine(), "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "samples": args.samples, "rounds": args.rounds,
               "threads": args.threads, "models": {}}
    for name in args.model.split(","):
        if name not in MODELS:
            raise SystemExit(f"no model {name}; there are {', '.join(MODELS)}")
        rows = bench.rows(name, args.samples, MODELS[name]["rows"])
        if not args.reuse:
            bench.quantize(name, rows)
        result = results["models"][name] = {"rows": {row.name: row.told() for row in rows}}
        if not args.no_latency:
            result["measured"] = bench.measure(name, rows)
        if args.memory:
            result["memory"] = bench.memory(name)
    text = f"{results['machine']}, {results['date']}; {args.samples} samples, {args.rounds} rounds, {args.threads} threads.\n\n"
    text += "\n".join(Report(name, result).text() for name, result in results["models"].items())
    bench.out.mkdir(parents=True, exist_ok=True)
    (bench.out / "results.json").write_text(json.dumps(results, indent=1))
    (bench.out / "results.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
