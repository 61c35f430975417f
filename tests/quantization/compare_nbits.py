"""compare_nbits.py MODEL OURS OPTIONS: quantizes the weights of MODEL's MatMul nodes with ONNX Runtime's default
quantizer (MLAS, through the binding that MatMulNBitsQuantizer calls) and compares bytes with OURS.

OPTIONS is JSON: bits, group_size, symmetric, accuracy_level. Exit status 0 where codes, scales, zero points and
attributes are the same.
"""
import json
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits


def as_bytes(arrays):
    return [(str(array.dtype), array.shape, array.tobytes()) for array in arrays]


def without_padding(codes, rows, bits):
    """MLAS leaves chance bits in the unused half of a block's last byte where the number of rows is odd."""
    codes = codes.copy()
    if bits == 4 and rows % 2 == 1:
        group = codes.shape[2] * 2
        codes[:, -1, ((rows - 1) % group) // 2] &= 15
    return codes


def describe(model):
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    entries = {}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            arrays = [constants[name] for name in node.input[1:] if name]
            arrays[0] = without_padding(arrays[0], attributes["K"], attributes["bits"])
            entries[node.output[0]] = (node.domain, attributes, as_bytes(arrays))
    return entries


def quantize(model, options):
    bits, group, symmetric = options.get("bits", 4), options["group_size"], options["symmetric"]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    entries = {}
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        weight = constants[node.input[1]]
        rows, columns = weight.shape
        codes_a_byte = 8 // bits
        blocks = (rows + group - 1) // group
        codes = np.zeros((columns, blocks, group // codes_a_byte), np.uint8)
        scales = np.zeros((columns, blocks), weight.dtype)
        zeros = np.zeros((columns, (blocks + codes_a_byte - 1) // codes_a_byte), np.uint8)
        padded = np.pad(weight, ((0, blocks * group - rows), (0, 0)))
        quantizer = quantize_matmul_4bits if bits == 4 else quantize_matmul_8bits
        quantizer(codes, padded, scales, zeros, group, columns, rows, symmetric)
        codes = without_padding(codes, rows, bits)
        attributes = {"K": rows, "N": columns, "bits": bits, "block_size": group}
        if options.get("accuracy_level"):
            attributes["accuracy_level"] = options["accuracy_level"]
        arrays = [codes, scales] if symmetric else [codes, scales, zeros]
        entries[node.output[0]] = ("com.microsoft", attributes, as_bytes(arrays))
    return entries


def main():
    model_path, ours_path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    ours, theirs = describe(onnx.load(ours_path)), quantize(onnx.load(model_path), options)
    different = [name for name in sorted(set(ours) | set(theirs)) if ours.get(name) != theirs.get(name)]
    for name in different[:6]:
        for side in (ours, theirs):
            entry = side.get(name)
            print(name, entry and (entry[0], entry[1], [(a[0], a[1], a[2][:16].hex()) for a in entry[2]]))
    print(f"{len(ours)} nodes, {len(different)} differences")
    return 1 if different or not ours else 0


if __name__ == "__main__":
    sys.exit(main())
