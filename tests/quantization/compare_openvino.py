"""compare_openvino.py [MODEL OURS DATA.npz OPTIONS]...: compares the ranges of OURS (layout=openvino) with NNCF's.

NNCF quantizes MODEL read by OpenVINO, without SmoothQuant and bias correction. Where this Python has no NNCF, the
ranges are computed here by its rules from the statistics that the float model gives. Exit status 0 where they are the
same to float32 rounding. OPTIONS is JSON: symmetric_activations, observer (mean_minmax or minmax).
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

try:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    import openvino
except ImportError:
    nncf = None


def samples(path):
    arrays = dict(np.load(path))
    count = len(next(iter(arrays.values())))
    return [{name: array[i:i + 1] for name, array in arrays.items()} for i in range(count)]


def our_ranges(model):
    """Value name -> (low, high) of activations; weight name -> the largest magnitudes of its channels."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    activations, weights = {}, {}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale = constants[node.input[1]].astype(np.float64)
        zero = constants[node.input[2]]
        if node.op_type == "QuantizeLinear":
            bottom = np.iinfo(zero.dtype).min
            low = (bottom - float(zero)) * float(scale)
            activations[node.input[0]] = (low, low + 255 * float(scale))
        elif node.input[0] in constants:
            weights[node.input[0].removesuffix("_quantized")] = scale.reshape(-1) * 127
    return activations, weights


def by_rule(low, high, symmetric):
    low, high = np.float32(low), np.float32(high)
    if symmetric:
        top = max(abs(low), abs(high), np.float32(8e-5))
        return (float(-top * np.float32(256) / np.float32(254)) if low < 0 else 0.0), float(top)
    more = np.float32(0 if high - low > 8e-4 else 8e-4)
    low, high = min(low - more, np.float32(0)), max(high + more, np.float32(0))
    code = np.round(-low * np.float32(255) / (high - low))
    low2 = code / (code - 255) * high if code < 255 else low
    high2 = (code - 255) / code * low if code > 0 else high
    return (float(low2), float(high)) if high - low2 > high2 - low else (float(low), float(high2))


def rule_ranges(path, data, names, symmetric, observer):
    model = onnx.load(path)
    inputs = {value.name for value in model.graph.input}
    computed = [name for name in names if name not in inputs]
    del model.graph.output[:]
    model.graph.output.extend([onnx.ValueInfoProto(name=name) for name in computed])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options) if computed else None
    lows, highs = {name: [] for name in names}, {name: [] for name in names}
    for feed in data:
        values = dict(feed)
        if session:
            values.update(zip(computed, session.run(computed, feed)))
        for name in names:
            lows[name].append(values[name].min())
            highs[name].append(values[name].max())
    fold = (np.min, np.max) if observer == "minmax" else (np.mean, np.mean)
    return {name: by_rule(fold[0](lows[name]), fold[1](highs[name]), symmetric) for name in names}


def nncf_ranges(path, data, symmetric, observer):
    model = openvino.Core().read_model(path)
    estimators = {}
    if observer == "minmax":
        estimators["activations_range_estimator_params"] = RangeEstimatorParametersSet.MINMAX
    advanced = nncf.AdvancedQuantizationParameters(
        **estimators,
        disable_bias_correction=True,
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1),
        overflow_fix=nncf.OverflowFix.DISABLE,
    )
    quantized = nncf.quantize(
        model,
        nncf.Dataset(data),
        preset=nncf.QuantizationPreset.PERFORMANCE if symmetric else nncf.QuantizationPreset.MIXED,
        subset_size=len(data),
        advanced_parameters=advanced,
    )
    ranges = {}
    for node in quantized.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        low, high = (node.input_value(i).get_node().data.reshape(-1) for i in (1, 2))
        if node.input_value(0).get_node().get_type_name() == "Constant" or low.size > 1:
            continue
        for name in node.input_value(0).get_names():
            ranges[name] = (float(low[0]), float(high[0]))
    return ranges


def differs(path, ours_path, data_path, options):
    symmetric = options.get("symmetric_activations", False)
    observer = options["observer"]
    data = samples(data_path)
    activations, weights = our_ranges(onnx.load(ours_path))
    if nncf is not None:
        theirs = nncf_ranges(path, data, symmetric, observer)
    else:
        theirs = rule_ranges(path, data, list(activations), symmetric, observer)
    differences, compared = 0, 0
    for name, (low, high) in activations.items():
        if name not in theirs:
            continue
        compared += 1
        span = max(1e-9, theirs[name][1] - theirs[name][0])
        if max(abs(low - theirs[name][0]), abs(high - theirs[name][1])) / span > 1e-6:
            differences += 1
            print(f"{name}: ours [{low}, {high}], NNCF {theirs[name]}")
    originals = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name, magnitudes in weights.items():
        weight = np.abs(originals[name])
        axis = next(i for i in (0, weight.ndim - 1) if weight.shape[i] == magnitudes.size)
        wanted = weight.max(axis=tuple(i for i in range(weight.ndim) if i != axis))
        wanted = np.maximum(wanted, max(0.01 * wanted.max(), 8e-5))
        compared += 1
        if np.abs(magnitudes / wanted - 1).max() > 1e-6:
            differences += 1
            print(f"{name}: channels differ by up to {np.abs(magnitudes / wanted - 1).max()}")
    print(f"{'NNCF ' + nncf.__version__ if nncf else 'rules'}: {compared} compared, {differences} differences")
    return bool(differences) or compared < len(weights) + 1


def main():
    cases = [sys.argv[i:i + 4] for i in range(1, len(sys.argv), 4)]
    results = [differs(model, ours, data, json.loads(options)) for model, ours, data, options in cases]
    return 1 if any(results) else 0


if __name__ == "__main__":
    sys.exit(main())
