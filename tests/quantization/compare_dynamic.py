"""compare_dynamic.py MODEL OURS OPTIONS: quantizes MODEL with ONNX Runtime's quantize_dynamic and compares weights.

OPTIONS is JSON: per_channel, reduce_range, weights, op_types. Compared are, for every MatMulInteger (by the name of the
node that it was) and every dequantized table: codes, scale, zero point. Exit status 0 where they are the same.
"""
import json
import logging
import os
import sys
import tempfile

import onnx
from graph_view import digest, numbers
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


def describe(model):
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    consumers = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    entries = {}
    for node in model.graph.node:
        if node.op_type in ("MatMulInteger", "ConvInteger"):
            cast = consumers[node.output[0]][0]
            rescale = consumers[cast.output[0]][0]
            scales = next(n for n in model.graph.node if n.op_type == "Mul" and n.output[0] in rescale.input)
            scale = constants[scales.input[1]]
            zero = constants[node.input[3]]
            entries[node.name] = f"{digest(constants[node.input[1]])} scale {numbers(scale)} zero {numbers(zero)}"
        if node.op_type == "Gather" and node.input[0] in constants and constants[node.input[0]].dtype == "uint8":
            dequantize = consumers[node.output[0]][0]
            scale, zero = (constants[name] for name in dequantize.input[1:3])
            entries[node.name] = f"{digest(constants[node.input[0]])} scale {numbers(scale)} zero {numbers(zero)}"
    quantizers = [node.input[0] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"]
    entries["activations"] = str(sorted(quantizers))
    return entries


def main():
    logging.disable(logging.WARNING)
    model_path, ours_path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    theirs_path = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(ours_path)), "theirs.onnx")
    quantize_dynamic(
        model_path,
        theirs_path,
        op_types_to_quantize=options.get("op_types"),
        per_channel=options.get("per_channel", False),
        reduce_range=options.get("reduce_range", False),
        weight_type=TYPES[options.get("weights", "int8")],
    )
    ours, theirs = describe(onnx.load(ours_path)), describe(onnx.load(theirs_path))
    different = [name for name in sorted(set(ours) | set(theirs)) if ours.get(name) != theirs.get(name)]
    for name in different[:12]:
        print(f"{name}\n  ours   {ours.get(name)}\n  theirs {theirs.get(name)}")
    print(f"{len(ours)} entries, {len(different)} differences")
    return 1 if different or len(ours) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
