"""Latency and accuracy of artifacts in one runtime, side by side: what bench/peers/run.py asks of a fresh process per runtime.

    measure.py onnxruntime|openvino < REQUEST > ANSWER

REQUEST: {"reference": MODEL, "artifacts": {name: path}, "data": NPZ, "from": N, "samples": N, "threads": N, "rounds": N, "block_s": S}.
ANSWER: {name: {"latency_ms": .., "speedup": .., "speedup_low": .., "speedup_high": .., "cosine": ..}, with
"cosine_tokens" where the data has an attention_mask, "top1_agreement" and "top1" where it has labels, or {"failed": reason}}; "reference" is the original model, in this runtime.

All artifacts are loaded at once and take turns: a round gives each a block of equal time, in an order that changes from round to round;
the first tenth of a block is not counted, so that another session's spinning threads have gone to sleep. A round's speed-up is the
reference's median over the artifact's in that round. The interval is that of the median over the rounds (binomial, 95 %).
Free dimensions are pinned to the sample's shape for every artifact alike. Accuracy is told against the original in ONNX Runtime.
"""
import json
import math
import random
import statistics
import sys
import time

import numpy as np


class OrtRunner:
    def __init__(self, path, threads, shapes):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        for name, length in free_dimensions(path, shapes).items():
            options.add_free_dimension_override_by_name(name, length)
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {value.name for value in self.session.get_inputs()}

    def run(self, feed):
        return self.session.run(None, feed)

    def bind(self, feed):
        feed = {name: value for name, value in feed.items() if name in self.inputs}
        return lambda: self.session.run(None, feed)


def free_dimensions(path, shapes):
    """Named free dimensions of an ONNX file's inputs with the lengths that the samples give them, where a name has one length alone."""
    import onnx
    found = {}
    for value in onnx.load(path, load_external_data=False).graph.input:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param and value.name in shapes:
                found.setdefault(dimension.dim_param, set()).add(shapes[value.name][axis])
    return {name: lengths.pop() for name, lengths in found.items() if len(lengths) == 1}


class OpenVinoRunner:
    core = None

    def __init__(self, path, threads, shapes):
        import openvino as ov
        OpenVinoRunner.core = OpenVinoRunner.core or ov.Core()
        model = self.core.read_model(path)
        names = [port.get_any_name() for port in model.inputs]
        if model.is_dynamic():
            model.reshape({name: shapes[name] for name in names})
        self.compiled = self.core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
        self.request = self.compiled.create_infer_request()
        self.names = names

    def run(self, feed):
        results = self.request.infer({name: feed[name] for name in self.names})
        return [np.array(results[port]) for port in self.compiled.outputs]

    def bind(self, feed):
        inputs = {name: feed[name] for name in self.names}
        return lambda: self.request.infer(inputs, share_inputs=True, share_outputs=True)


RUNNERS = {"onnxruntime": OrtRunner, "openvino": OpenVinoRunner}


def interval_of_median(values):
    """Order statistics that hold the median with 95 %; the extremes where there are too few."""
    ordered, count = sorted(values), len(values)
    rank, below = 0, 0.0
    while rank < count // 2:
        below += math.comb(count, rank) / 2 ** count
        if below > 0.025:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[count - 1 - rank]


def block(run, seconds):
    """Times of single runs, in ms, for about `seconds`."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds / 10:
        run()
    times = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def latencies(runs, rounds, seconds):
    order, rng = list(runs), random.Random(1)
    medians = {name: [] for name in runs}
    for _ in range(rounds):
        rng.shuffle(order)
        for name in order:
            medians[name].append(statistics.median(block(runs[name], seconds)))
    told = {}
    for name, values in medians.items():
        ratios = [reference / own for reference, own in zip(medians["reference"], values)]
        low, high = interval_of_median(ratios)
        told[name] = {"latency_ms": statistics.median(values), "speedup": statistics.median(ratios), "speedup_low": low, "speedup_high": high}
    return told


def cosine(got, want):
    norm = np.linalg.norm(got) * np.linalg.norm(want)
    return float(got @ want / norm) if np.isfinite(norm) and norm > 0 else 0.0


def flat(values):
    return np.concatenate([np.ravel(value).astype(np.float64) for value in values])


def accuracy(runner, feeds, expected, labels):
    """The cosine of all outputs, and of the tokens alone where a mask tells them from padding, whose outputs nobody reads."""
    cosines, of_tokens, agreed, right = [], [], 0, 0
    for index, feed in enumerate(feeds):
        values = runner.run(feed)
        got, want = flat(values), flat(expected[index])
        cosines.append(cosine(got, want))
        mask = feed.get("attention_mask")
        if mask is not None and values[0].shape[:2] == mask.shape:
            of_tokens.append(cosine(flat([values[0][mask == 1]]), flat([expected[index][0][mask == 1]])))
        agreed += int(np.argmax(got) == np.argmax(want))
        right += int(labels is not None and np.argmax(got) == labels[index])
    told = {"cosine": statistics.fmean(cosines), "cosine_worst": min(cosines)}
    if of_tokens:
        told["cosine_tokens"] = statistics.fmean(of_tokens)
    if labels is not None:
        told |= {"top1_agreement": agreed / len(feeds), "top1": right / len(feeds)}
    return told


def reason(error):
    """The first line of an error that is not a place in the runtime's sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Exception from")), lines[0] if lines else type(error).__name__)[:300]


def main():
    runtime, request = RUNNERS[sys.argv[1]], json.load(sys.stdin)
    first, count = request["from"], request["samples"]
    with np.load(request["data"]) as arrays:
        arrays = {name: arrays[name][first:first + count] for name in arrays.files}
    labels = arrays.pop("labels", None)
    feeds = [{name: values[i:i + 1] for name, values in arrays.items()} for i in range(len(next(iter(arrays.values()))))]
    shapes = {name: list(value.shape) for name, value in feeds[0].items()}

    original = OrtRunner(request["reference"], request["threads"], shapes)
    expected = [original.run(feed) for feed in feeds]
    del original
    answer, runners = {}, {}
    for name, path in {"reference": request["reference"], **request["artifacts"]}.items():
        try:
            runners[name] = runtime(path, request["threads"], shapes)
            answer[name] = accuracy(runners[name], feeds, expected, labels)
        except Exception as error:  # A runtime that refuses an artifact is a result, told with its words.
            answer[name] = {"failed": reason(error)}
            runners.pop(name, None)
    if "reference" not in runners:
        raise SystemExit(f"{sys.argv[1]} does not run the original model: {answer['reference']['failed']}")
    timed = latencies({name: runner.bind(feeds[0]) for name, runner in runners.items()}, request["rounds"], request["block_s"])
    for name, values in timed.items():
        answer[name].update(values)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
