#!/usr/bin/env python3
"""Makes what the tests of this folder hold hone's OpenVINO passes against: small models, data, and NNCF's results on them.

    make_nncf_golden.py DIR      writes DIR/{transformer,convnet}.onnx, .npz and DIR/nncf.json

Runs in an environment with nncf, openvino, onnx and numpy (ops/setup makes one); the tests read the files alone. nncf.json holds the
versions, FakeQuantize limits by the name of the layer that they quantize, int8 weights with their scales, and codes of compressed weights as
[outputs, inputs]; codes are hexadecimal, a byte each.
"""
import json
import logging
import pathlib
import sys

import numpy as np
import onnx
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

import nncf

SAMPLES = 12


class Builder:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def weight(self, name, shape, spread):
        values = (self.random.standard_normal(shape) * spread).astype(np.float32)
        return self.constant(name, values)

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def save(self, path, inputs, outputs):
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def transformer(path, width=32, heads=4, length=16, layers=2, vocabulary=50):
    b = Builder(7)
    b.weight("table", (vocabulary, width), 1.0)
    x = b.node("Gather", ["table", "ids"], "embedded")
    b.constant("split", np.array([1, length, heads, width // heads], np.int64))
    b.constant("join", np.array([1, length, width], np.int64))
    b.constant("half", np.float32(0.5))
    b.constant("one", np.float32(1))
    b.constant("root2", np.float32(np.sqrt(2)))
    b.constant("scale", np.float32(1 / np.sqrt(width // heads)))
    for layer in range(layers):
        p = f"l{layer}_"

        def linear(source, name, inputs, outputs):
            # Channels of very different size, so that smoothing has something to do.
            w = b.random.standard_normal((inputs, outputs)).astype(np.float32) / np.sqrt(inputs).astype(np.float32)
            b.constant(p + name + "_w", w.astype(np.float32))
            b.weight(p + name + "_b", (outputs,), 0.1)
            b.node("MatMul", [source, p + name + "_w"], p + name + "_mm")
            return b.node("Add", [p + name + "_mm", p + name + "_b"], p + name)

        def norm(source, name):
            b.constant(p + name + "_g", np.exp(b.random.standard_normal(width)).astype(np.float32))
            b.weight(p + name + "_h", (width,), 0.5)
            return b.node("LayerNormalization", [source, p + name + "_g", p + name + "_h"], p + name)

        parts = {}
        for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            value = linear(x, name, width, width)
            value = b.node("Reshape", [value, "split"], p + name + "_split")
            parts[name] = b.node("Transpose", [value], p + name + "_heads", perm=order)
        scores = b.node("MatMul", [parts["q"], parts["k"]], p + "scores")
        scores = b.node("Mul", [scores, "scale"], p + "scaled")
        scores = b.node("Softmax", [scores], p + "softmax", axis=-1)
        mixed = b.node("MatMul", [scores, parts["v"]], p + "mixed")
        mixed = b.node("Transpose", [mixed], p + "mixed_t", perm=[0, 2, 1, 3])
        mixed = b.node("Reshape", [mixed, "join"], p + "joined")
        x = norm(b.node("Add", [linear(mixed, "o", width, width), x], p + "res1"), "norm1")
        up = linear(x, "up", width, 2 * width)
        erf = b.node("Erf", [b.node("Div", [up, "root2"], p + "div")], p + "erf")
        gelu = b.node("Mul", [b.node("Mul", [up, b.node("Add", [erf, "one"], p + "erf1")], p + "gelu2"), "half"], p + "gelu")
        x = norm(b.node("Add", [linear(gelu, "down", 2 * width, width), x], p + "res2"), "norm2")
    b.node("Identity", [x], "hidden")
    b.save(path, [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, length])],
           [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, length, width])])
    return {"ids": np.random.default_rng(8).integers(0, vocabulary, (SAMPLES, length), dtype=np.int64)}


def convnet(path):
    b = Builder(9)

    def conv(source, name, inputs, outputs, kernel, group=1):
        b.weight(name + "_w", (outputs, inputs // group, kernel, kernel), 1.0 / (kernel * np.sqrt(inputs // group)))
        b.weight(name + "_b", (outputs,), 0.1)
        return b.node("Conv", [source, name + "_w", name + "_b"], name, pads=[kernel // 2] * 4, group=group)

    stem = b.node("Relu", [conv("image", "stem", 3, 8, 3)], "stem_relu")
    deep = b.node("Relu", [conv(stem, "depthwise", 8, 8, 3, group=8)], "depthwise_relu")
    point = conv(deep, "pointwise", 8, 8, 1)
    added = b.node("Add", [point, stem], "residual")
    joined = b.node("Concat", [added, deep], "concat", axis=1)
    wide = b.node("Relu", [conv(joined, "wide", 16, 16, 1)], "wide_relu")
    pooled = b.node("MaxPool", [wide], "pool", kernel_shape=[2, 2], strides=[2, 2])
    last = b.node("Relu", [conv(pooled, "last", 16, 12, 3)], "last_relu")
    mean = b.node("GlobalAveragePool", [last], "mean")
    flat = b.node("Flatten", [mean], "flat")
    b.weight("fc_w", (12, 5), 0.5)
    b.weight("fc_b", (5,), 0.1)
    b.node("Add", [b.node("MatMul", [flat, "fc_w"], "fc_mm"), "fc_b"], "scores")
    b.save(path, [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 12, 12])],
           [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5])])
    return {"image": np.random.default_rng(10).standard_normal((SAMPLES, 3, 12, 12)).astype(np.float32)}


def source_name(node):
    """The layer whose output is quantized; NNCF's smoothing layers get the name that ours have."""
    name = node.input_value(0).get_node().get_friendly_name()
    return name.replace("_0_0/nncf_smooth_quant", "_0/smooth")


def limits(model):
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        source = node.input_value(0).get_node()
        if source.get_input_size() > 0:
            source = source.input_value(0).get_node() if source.get_type_name() == "Reshape" else source
        if source.get_type_name() == "Constant":  # A weight, reshaped for a grouped convolution.
            continue
        ends = [node.input_value(i).get_node().data.astype(np.float32).ravel().tolist() for i in (1, 2)]
        entry = {"low": ends[0], "high": ends[1], "levels": node.get_attributes()["levels"]}
        entries = found.setdefault(source_name(node), [])
        if entry not in entries:  # NNCF puts the same one before each reader where others read the float.
            entries.append(entry)
    return {name: sorted(entries, key=lambda entry: entry["high"]) for name, entries in found.items()}


def int8_weights(model):
    """By the layer that reads them: NNCF loses the constants' own names."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.i8:
            continue
        reader = lambda n: next(iter(n.output(0).get_target_inputs())).get_node()
        multiply = reader(reader(node))
        scales = multiply.input_value(1).get_node().data.astype(np.float32).ravel().tolist()
        found[reader(multiply).get_friendly_name()] = {"codes": node.data.tobytes().hex(), "scales": scales}
    return found


def compressed(model, shapes):
    """Codes and zero points by weight, as [outputs, inputs]."""
    found = {}
    for node in model.get_ordered_ops():
        kind = node.get_element_type().get_type_name() if node.get_type_name() == "Constant" else ""
        if kind not in ("u8", "i8", "u4", "i4", "nf4"):
            continue
        shape = list(node.get_output_shape(0))
        values = np.array(node.data)
        if kind in ("u4", "i4", "nf4"):
            raw = np.frombuffer(values.tobytes(), np.uint8)
            values = np.stack([raw & 15, raw >> 4], -1).ravel()[:int(np.prod(shape))]
        values = values.view(np.uint8).reshape(shape)
        if node.get_friendly_name().split("/")[0] not in shapes:  # A matrix product: [inputs, outputs].
            values = np.moveaxis(values, -1, 0)
        found[node.get_friendly_name()] = {"type": kind, "codes": values.tobytes().hex()}
    return found


def main():
    folder = pathlib.Path(sys.argv[1])
    nncf.set_log_level(logging.ERROR)
    core = ov.Core()
    golden = {"versions": {"nncf": nncf.__version__, "openvino": ov.__version__}, "int8": {}, "weights": {}}
    data = {"transformer": transformer(folder / "transformer.onnx"), "convnet": convnet(folder / "convnet.onnx")}
    for name, arrays in data.items():
        np.savez(folder / f"{name}.npz", **arrays)
    cases = {
        "transformer": ("transformer", dict(model_type=nncf.ModelType.TRANSFORMER)),
        "transformer_performance": ("transformer", dict(model_type=nncf.ModelType.TRANSFORMER,
                                                        preset=nncf.QuantizationPreset.PERFORMANCE)),
        "convnet": ("convnet", {}),
        "convnet_mixed": ("convnet", dict(preset=nncf.QuantizationPreset.MIXED)),
    }
    for case, (name, options) in cases.items():
        items = [{k: v[i:i + 1] for k, v in data[name].items()} for i in range(SAMPLES)]
        # Half of the first convolution's range is for processors without VNNI.
        advanced = nncf.AdvancedQuantizationParameters(overflow_fix="disable")
        quantized = nncf.quantize(core.read_model(folder / f"{name}.onnx"), nncf.Dataset(items), subset_size=SAMPLES,
                                  advanced_parameters=advanced, **options)
        golden["int8"][case] = {"limits": limits(quantized), "weights": int8_weights(quantized)}
    for mode in ("int8_asym", "int8_sym", "int4_asym", "int4_sym", "nf4"):
        options = {} if mode.startswith("int8") else {"group_size": 16, "all_layers": True}
        model = nncf.compress_weights(core.read_model(folder / "transformer.onnx"), mode=nncf.CompressWeightsMode(mode), **options)
        golden["weights"][mode] = compressed(model, {"table"})
    (folder / "nncf.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
