"""compare_contrib.py (MODEL OURS PER_CHANNEL)...: quantizes each MODEL with ONNX Runtime's quantize_dynamic.

Compared are the weights of DynamicQuantizeLSTM and QAttention: codes, scales and zero points, bit for bit. Exit status
0 where they are the same.
"""
import logging
import os
import sys
import tempfile

import numpy
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

# Of each operator: the inputs that are constants.
PLACES = {"DynamicQuantizeLSTM": [1, 2, 3, 8, 9, 10, 11], "QAttention": [1, 2, 4, 7]}


def describe(path):
    model = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    entries = {}
    for node in model.graph.node:
        if node.op_type in PLACES:
            entries[node.output[0]] = [constants[node.input[i]] for i in PLACES[node.op_type]]
    return entries


def main():
    logging.disable(logging.WARNING)
    failures = compared = 0
    words = sys.argv[1:]
    for model, ours, per_channel in zip(words[0::3], words[1::3], words[2::3]):
        theirs = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(ours)), "theirs.onnx")
        quantize_dynamic(
            model,
            theirs,
            op_types_to_quantize=["LSTM", "Attention", "MatMul"],
            per_channel=per_channel == "1",
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        mine, other = describe(ours), describe(theirs)
        if set(mine) != set(other) or not mine:
            print(f"{model}: {sorted(mine)} against {sorted(other)}")
            failures += 1
        for name in set(mine) & set(other):
            compared += 1
            for place, (a, b) in enumerate(zip(mine[name], other[name])):
                if a.dtype != b.dtype or not numpy.array_equal(a.ravel(), b.ravel()):
                    print(f"{model} {name} input {place}: {a.dtype} {a.ravel()[:6]} against {b.dtype} {b.ravel()[:6]}")
                    failures += 1
    print(f"{compared} operators, {failures} differences")
    return 1 if failures or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
