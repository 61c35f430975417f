"""A quantized ONNX graph as plain data that two tools' outputs can be compared by, whatever they call their tensors.

A View maps each original node (by its name) and each graph output to descriptions of the values that it reads: codes,
scale, zero point and axis of a dequantized constant; scale and zero point of a dequantized activation and where it
comes from; digests of other constants.
"""
import hashlib

import onnx
from onnx import numpy_helper

PAIR_OPERATORS = ("QuantizeLinear", "DequantizeLinear")


def digest(array):
    return f"{array.dtype}{list(array.shape)}:{hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def numbers(array):
    """Scalars and vectors of one element are the same to a runtime."""
    flat = array.reshape(-1)
    text = ",".join(float(v).hex() if array.dtype == "float32" else str(int(v)) for v in flat[:6])
    return f"{array.dtype}[{flat.size}]({text})#{hashlib.sha256(flat.tobytes()).hexdigest()[:12]}"


class View:
    def __init__(self, model):
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {}
        for node in model.graph.node:
            if node.op_type == "Constant":
                tensor = onnx.TensorProto()
                tensor.CopyFrom(node.attribute[0].t)
                self.constants[node.output[0]] = tensor
                continue
            for index, output in enumerate(node.output):
                self.producers[output] = (node, index)
        self.entries = {}
        for node in model.graph.node:
            if node.op_type in PAIR_OPERATORS or node.op_type == "Constant":
                continue
            plain = [a for a in node.attribute if a.type != onnx.AttributeProto.GRAPH]
            attributes = sorted((a.name, onnx.helper.get_attribute_value(a)) for a in plain)
            if node.op_type == "Gemm":
                attributes = [a for a in attributes if a != ("beta", 1.0)]
            self.add(node.name, node.op_type, str(attributes), node.input)
        for output in model.graph.output:
            self.add("output " + output.name, "output", "", [output.name])

    def add(self, name, op_type, attributes, inputs):
        described = [self.describe(value) for value in inputs]
        self.entries[name] = {"op": op_type, "attributes": attributes, "inputs": described}

    def array(self, name):
        return numpy_helper.to_array(self.constants[name])

    def describe(self, name):
        if not name:
            return "none"
        if name in self.constants:
            return "constant " + digest(self.array(name))
        if name not in self.producers:
            return "input " + name
        node, index = self.producers[name]
        if node.op_type not in PAIR_OPERATORS:
            return f"{node.name}.{index}"
        scale = self.array(node.input[1])
        axis = ""
        if scale.size > 1:
            axis = " axis " + str(next((a.i for a in node.attribute if a.name == "axis"), 1))
        text = f"{numbers(scale)} zero {numbers(self.array(node.input[2]))}{axis}"
        if node.op_type == "QuantizeLinear":
            return f"Q({text}) of {self.describe(node.input[0])}"
        if node.input[0] in self.constants:
            return f"DQ({text}) of constant {digest(self.array(node.input[0]))}"
        return f"DQ({text}) of {self.describe(node.input[0])}"


def compare(ours, theirs):
    """Prints differences; returns how many there are."""
    ours, theirs = View(ours).entries, View(theirs).entries
    differences = 0
    for name in sorted(set(ours) | set(theirs)):
        a, b = ours.get(name), theirs.get(name)
        if a == b:
            continue
        differences += 1
        if differences > 12:
            continue
        if a is None or b is None:
            print(f"{name}: only in {'theirs' if a is None else 'ours'}: {a or b}")
            continue
        for key in ("op", "attributes"):
            if a[key] != b[key]:
                print(f"{name}: {key}\n  ours   {a[key]}\n  theirs {b[key]}")
        for index in range(max(len(a["inputs"]), len(b["inputs"]))):
            x = a["inputs"][index] if index < len(a["inputs"]) else None
            y = b["inputs"][index] if index < len(b["inputs"]) else None
            if x != y:
                print(f"{name} input {index}\n  ours   {x}\n  theirs {y}")
    print(f"{len(ours)} entries, {differences} differences")
    return differences
