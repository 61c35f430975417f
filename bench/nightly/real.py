#!/usr/bin/env python3
"""Real nights on this machine, and hone's latency beside the runtimes' own tools. Needs ops/setup --models; wants a quiet machine.

    bench/nightly/real.py same  [--nights 100]     one model against itself, in both runtimes: how often does that alarm?
    bench/nightly/real.py slow  [--nights 30]      the model with 3 % and 5 % more work in its graph, in both runtimes
    bench/nightly/real.py agree [--rounds 7]       p50 of hone, benchmark_app and ONNX Runtime's own loop, in turns

A night is `build/release/bin/nightly_compare`: 20 launches of both models side by side, up to 60 while nothing is decided, and 20 fresh ones
where there is something to confirm. Twenty launches of the text-angle classifier take about 12 s in ONNX Runtime and 25 s in OpenVINO. So `same`
takes about 65 minutes for 2 x 100 nights, `slow` about 80 minutes for 4 x 30 (a minute or two of each for finding the amount of work), `agree` 5 minutes.

Every night is a line of OUT/<what>.jsonl as soon as it is done; started again, a command goes on where it stopped. `--table` prints the
table of what is there and measures nothing.
"""
import argparse
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "release" / "bin"
DEPS = pathlib.Path(os.environ.get("HONE_DEPS", pathlib.Path.home() / ".cache/hone/deps"))
PYTHON = DEPS / "peers" / "bin" / "python"
RUNTIMES = ("onnxruntime", "openvino")
MODEL = DEPS / "models" / "text_angle.onnx"
PINS = ["x=1,3,48,192"]


def run(words, seconds=1800):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: ended with {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def pins():
    return [word for pin in PINS for word in ("--input", pin)]


class Log:
    """Lines of JSON, one a measurement; what is there is not measured again."""

    def __init__(self, path):
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def add(self, row):
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def of(self, **keys):
        return [row for row in self.rows if all(row.get(key) == value for key, value in keys.items())]


def night(accepted, tonight, runtime, seed):
    return json.loads(run([BIN / "nightly_compare", accepted, tonight, "--backend", runtime, "--seed", seed, *pins()]))


def exact_upper(hits, count, confidence=0.95):
    """Clopper-Pearson's upper bound, by bisection."""
    low, high = hits / count if count else 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        chance = sum(math.comb(count, k) * middle**k * (1 - middle) ** (count - k) for k in range(hits + 1))
        low, high = (middle, high) if chance > (1 - confidence) / 2 else (low, middle)
    return high


# --- one model against itself ---------------------------------------------------------------------------------------


def same(options):
    log = Log(options.out / "same.jsonl")
    for number in range(options.nights):
        for runtime in RUNTIMES:
            if options.table or log.of(runtime=runtime, number=number):
                continue
            row = night(MODEL, MODEL, runtime, 1000 + number)
            log.add({"runtime": runtime, "number": number, **row})
            print(f"{runtime} {number + 1}: {row['verdict']} {row['effect'] * 100:+.2f} %, {row['wall_s']:.0f} s", file=sys.stderr)
    print("| runtime | comparisons | alarms | 95 % at most | effects: median, largest | disturbed launches |\n|---|---|---|---|---|---|")
    for runtime in RUNTIMES:
        rows = log.of(runtime=runtime)
        if not rows:
            continue
        alarms = sum(row["alarm"] for row in rows)
        sizes = [abs(row["effect"]) * 100 for row in rows]
        print(f"| {runtime} | {len(rows)} | {alarms} | {exact_upper(alarms, len(rows)) * 100:.1f} % | {statistics.median(sizes):.2f} %, "
              f"{max(sizes):.2f} % | {sum(row['disturbed'] for row in rows)} of {sum(row['launches'] for row in rows)} |")


# --- a model with more work in its graph ----------------------------------------------------------------------------

SLOWED = r"""
import sys, numpy, onnx
from onnx import helper, numpy_helper
source, steps, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# A chain of small products beside the model, with an output of its own, so that no runtime can leave it out: each step is 1x32 by 32x32.
model = onnx.load(source)
graph = model.graph
random = numpy.random.default_rng(5)
def constant(name, value):
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name
x = graph.input[0].name
value = lambda step: "extra" if step == steps else f"extra.{step}"  # The output has the same name however long the chain is.
constant("extra.start", numpy.array([0, 0, 0, 0], numpy.int64)); constant("extra.end", numpy.array([1, 1, 1, 32], numpy.int64))
graph.node.append(helper.make_node("Slice", [x, "extra.start", "extra.end"], ["extra.slice"], "extra.slice.node"))
constant("extra.shape", numpy.array([1, 32], numpy.int64))
graph.node.append(helper.make_node("Reshape", ["extra.slice", "extra.shape"], [value(0)], "extra.reshape"))
for step in range(steps):
    weight = constant(f"extra.w{step}", (random.standard_normal((32, 32)) / 6).astype(numpy.float32))
    graph.node.append(helper.make_node("MatMul", [value(step), weight], [f"extra.p{step}"], f"extra.product{step}"))
    graph.node.append(helper.make_node("Tanh", [f"extra.p{step}"], [value(step + 1)], f"extra.bend{step}"))
graph.output.append(helper.make_tensor_value_info("extra", onnx.TensorProto.FLOAT, [1, 32]))
onnx.save(model, target)
"""


def slowed_model(steps, folder):
    """The model with `steps` steps of extra work beside it; with none it still has the additional output."""
    target = folder / f"slowed_{steps}.onnx"
    if not target.exists():
        run([PYTHON, "-c", SLOWED, MODEL, steps, target])
    return target


def measured_ratio(base, other, runtime):
    """How much slower `other` is, with many launches: far more precise than a night."""
    text = run([BIN / "hone", "benchmark", other, "--vs", base, "--backend", runtime, "--launches", 30, "--pairs", 240, "--json", "-q", *pins()])
    speedup = json.loads(text)["speedup"]
    return 1 / speedup["median"], 1 / speedup["ci99"][1], 1 / speedup["ci99"][0]


def calibrated(log, runtime, wanted, folder):
    """The number of steps that makes the model slower by `wanted`: secants, each measured."""
    known = log.of(kind="calibration", runtime=runtime, wanted=wanted, done=True)
    if known:
        return known[0]
    base, steps, tries = slowed_model(0, folder), 20, []
    for _ in range(7):
        ratio, low, high = measured_ratio(base, slowed_model(steps, folder), runtime)
        tries.append((abs(ratio - 1 - wanted), steps, ratio, low, high))
        print(f"{runtime}: {steps} steps make it slower by {(ratio - 1) * 100:.2f} % [{(low - 1) * 100:.2f}, {(high - 1) * 100:.2f}]", file=sys.stderr)
        if tries[-1][0] < 0.0015:
            break
        better = max(1, round(steps * wanted / max(ratio - 1, 0.002)))
        if better in [row[1] for row in tries]:
            break
        steps = better
    _, steps, ratio, low, high = min(tries)
    log.add({"kind": "calibration", "runtime": runtime, "wanted": wanted, "steps": steps, "ratio": ratio, "low": low, "high": high, "done": True})
    return log.rows[-1]


def slow(options):
    log = Log(options.out / "slow.jsonl")
    folder = options.out / "models"
    folder.mkdir(exist_ok=True)
    for runtime in RUNTIMES if not options.table else ():
        for wanted in (0.03, 0.05):
            extra = calibrated(log, runtime, wanted, folder)
            for number in range(options.nights):
                if log.of(kind="night", runtime=runtime, wanted=wanted, number=number):
                    continue
                row = night(slowed_model(0, folder), slowed_model(extra["steps"], folder), runtime, 5000 + number)
                log.add({"kind": "night", "runtime": runtime, "wanted": wanted, "number": number, **row})
                print(f"{runtime} +{wanted * 100:g} % {number + 1}: {row['verdict']} {row['effect'] * 100:+.2f} %, {row['wall_s']:.0f} s", file=sys.stderr)
    print("| runtime | extra work, measured | nights | found | equivalent | undecided | unfit | effect: median | pairs: median |\n|---|---|---|---|---|---|---|---|---|")
    for calibration in log.of(kind="calibration", done=True):
        rows = log.of(kind="night", runtime=calibration["runtime"], wanted=calibration["wanted"])
        if not rows:
            continue
        count = lambda verdict: sum(row["verdict"] == verdict for row in rows)
        extra = f"+{(calibration['ratio'] - 1) * 100:.2f} % [{(calibration['low'] - 1) * 100:.2f}, {(calibration['high'] - 1) * 100:.2f}]"
        print(f"| {calibration['runtime']} | {extra} | {len(rows)} | {count('regression')} | {count('equivalent')} | {count('inconclusive')} | "
              f"{count('environment')} | {statistics.median(row['effect'] for row in rows) * 100:+.2f} % | {statistics.median(row['pairs'] for row in rows):g} |")


# --- hone beside the runtimes' own tools ----------------------------------------------------------------------------

ORT_LOOP = r"""
import json, sys, time, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feeds = dict(numpy.load(sys.argv[3]))
binding = session.io_binding()
for name, value in feeds.items(): binding.bind_cpu_input(name, value)
for output in session.get_outputs(): binding.bind_output(output.name, "cpu")
end = time.perf_counter() + 0.5
while time.perf_counter() < end: session.run_with_iobinding(binding)
times, end = [], time.perf_counter() + float(sys.argv[4])
while time.perf_counter() < end:
    start = time.perf_counter(); session.run_with_iobinding(binding); times.append(time.perf_counter() - start)
print(json.dumps(1000 * sorted(times)[len(times) // 2]))
"""
SAMPLE = r"""
import json, sys, numpy
data, target = sys.argv[1], sys.argv[2]
if data == "random":
    feeds = {"x": numpy.random.default_rng(3).standard_normal((1, 3, 48, 192)).astype(numpy.float32)}
else:
    arrays = numpy.load(data)
    feeds = {name: arrays[name][:1] for name in arrays.files if name != "labels"}
    feeds = {name: value if value.ndim > 1 else value[None] for name, value in feeds.items()}
numpy.savez(target + "/sample.npz", **feeds)
for name, value in feeds.items(): numpy.save(f"{target}/{name}.npy", value)
types = {"float32": "f32", "int64": "i64", "int32": "i32"}
print(json.dumps({name: [list(value.shape), types[str(value.dtype)]] for name, value in feeds.items()}))
"""
SUBJECTS = {"text_angle": (MODEL, "random"), "minilm": (DEPS / "models/minilm.onnx", DEPS / "models/minilm_sentences.npz")}


def hone_ms(model, sample, runtime):
    text = run([BIN / "hone", "benchmark", model, "--backend", runtime, "--data", sample, "--launches", 3, "--pairs", 60, "--json", "-q"])
    return json.loads(text)["metrics"]["latency_ms_p50"]


def benchmark_app_ms(model, folder, shapes, seconds):
    shape = ",".join(f"{name}[{','.join(map(str, dims))}]" for name, (dims, _) in shapes.items())
    # Unless told, it makes inputs that look like pictures uint8, with a conversion in front of the model.
    types = ",".join(f"{name}:{kind}" for name, (_, kind) in shapes.items())
    inputs = ",".join(f"{name}:{folder / name}.npy" for name in shapes)
    text = run([DEPS / "peers/bin/benchmark_app", "-m", model, "-d", "CPU", "-hint", "latency", "-api", "sync", "-t", seconds,
                "-shape", shape, "-iop", types, "-i", inputs])
    for line in text.splitlines():
        if "Median:" in line:
            return float(line.split("Median:")[1].split()[0])
    sys.exit("benchmark_app told no median:\n" + text[-2000:])


def ort_ms(model, sample, seconds):
    return json.loads(run([PYTHON, "-c", ORT_LOOP, model, len(os.sched_getaffinity(0)), sample, seconds]))


def agree(options):
    log = Log(options.out / "agree.jsonl")
    order = random.Random(1)
    with tempfile.TemporaryDirectory() as temporary:
        for name, (model, data) in SUBJECTS.items() if not options.table else ():
            if not model.exists():
                print(f"{name}: not here ({model})", file=sys.stderr)
                continue
            folder = pathlib.Path(temporary) / name
            folder.mkdir()
            shapes = json.loads(run([PYTHON, "-c", SAMPLE, data, folder]))
            sample = folder / "sample.npz"
            tools = {("onnxruntime", "hone"): lambda: hone_ms(model, sample, "onnxruntime"),
                     ("onnxruntime", "its own loop"): lambda: ort_ms(model, sample, 3),
                     ("openvino", "hone"): lambda: hone_ms(model, sample, "openvino"),
                     ("openvino", "benchmark_app"): lambda: benchmark_app_ms(model, folder, shapes, 3)}
            for number in range(options.rounds):
                if log.of(model=name, number=number):
                    continue
                keys = list(tools)
                order.shuffle(keys)
                log.add({"model": name, "number": number, "ms": {f"{runtime} {tool}": tools[runtime, tool]() for runtime, tool in keys}})
                print(f"{name} {number + 1}: {log.rows[-1]['ms']}", file=sys.stderr)
    print("| model | runtime | hone ms | the runtime's tool ms | hone / tool: median | range over rounds |\n|---|---|---|---|---|---|")
    for name in SUBJECTS:
        for runtime, tool in (("onnxruntime", "its own loop"), ("openvino", "benchmark_app")):
            rows = [row["ms"] for row in log.of(model=name)]
            if not rows:
                continue
            own = [row[f"{runtime} hone"] for row in rows]
            theirs = [row[f"{runtime} {tool}"] for row in rows]
            ratios = [a / b for a, b in zip(own, theirs)]
            print(f"| {name} | {runtime}, {tool} | {statistics.median(own):.3f} | {statistics.median(theirs):.3f} | "
                  f"{statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("same", "slow", "agree"))
    parser.add_argument("--nights", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "bench-nightly")
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    options = parser.parse_args()
    options.nights = options.nights or {"same": 100, "slow": 30, "agree": 0}[options.what]
    options.out.mkdir(parents=True, exist_ok=True)
    {"same": same, "slow": slow, "agree": agree}[options.what](options)


if __name__ == "__main__":
    main()
