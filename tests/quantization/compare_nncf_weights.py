"""compare_nncf_weights.py MODEL CASES: compresses the weights of MODEL with NNCF and compares its integer codes, scales and zero points
with ours, case by case.

CASES is JSON: [{"ours": file, "group_size": n, "symmetric": bool}, ...]; ours is what weights_int4 with form=dequantize made. NNCF gets
the matrices as numpy arrays, through its own do_integer_quantization. Exit status 0 where all are the same.
"""
import json
import sys

import numpy as np
import onnx
from nncf import CompressWeightsMode
from nncf.quantization.algorithms.weight_compression.config import WeightCompressionConfig
from nncf.quantization.algorithms.weight_compression.weight_lowering import do_integer_quantization
from nncf.tensor import Tensor
from onnx import numpy_helper


def ours(path):
    """Codes [K, N], scales [groups, N] and zero points by the name of the MatMul's output."""
    model = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    dequantized = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            dequantized[node.output[0]] = [constants[name] for name in node.input]
    return {node.output[0]: dequantized[node.input[1]] for node in model.graph.node if node.op_type == "MatMul"}


def theirs(weight, group_size, symmetric):
    mode = CompressWeightsMode.INT4_SYM if symmetric else CompressWeightsMode.INT4_ASYM
    config = WeightCompressionConfig(mode=mode, group_size=group_size if group_size else -1)
    compressed = do_integer_quantization(Tensor(np.ascontiguousarray(weight.T)), config, reduction_axes=1)
    flat = [np.array(compressed.tensor.data), np.array(compressed.scale.data)]
    if not symmetric:
        flat.append(np.array(compressed.zero_point.data))
    columns = weight.shape[1]
    return [array.reshape(columns, -1).T for array in flat]


def main():
    model = onnx.load(sys.argv[1])
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {node.output[0]: constants[node.input[1]] for node in model.graph.node if node.op_type == "MatMul"}
    differences = compared = 0
    for case in json.loads(sys.argv[2]):
        got = ours(case["ours"])
        for name, weight in weights.items():
            wanted = theirs(weight, case["group_size"], case["symmetric"])
            for kind, a, b in zip(("codes", "scales", "zero points"), got[name], wanted):
                compared += a.size
                wrong = int((a.astype(np.float32) != b.astype(np.float32).reshape(a.shape)).sum())
                if wrong:
                    at = np.argwhere(a.astype(np.float32) != b.astype(np.float32).reshape(a.shape))[0]
                    print(case, name, kind, f"{wrong} of {a.size} differ", at, a[tuple(at)], b.reshape(a.shape)[tuple(at)])
                    differences += wrong
    print(f"{compared} numbers, {differences} differences")
    return 1 if differences or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
