"""Writes the same small network, relu(x W + b), in the formats of other frameworks, byte by byte: no framework is needed.

make_models.py FOLDER: frozen.pb and saved/ (TensorFlow), model.tflite, model.pdmodel with model.pdiparams (Paddle), and data.npz with x
and what the network gives for it.
"""

import pathlib
import struct
import sys

import flatbuffers
import numpy as np

ROWS, WIDTH, CLASSES = 4, 16, 5


# --- protobuf, written field by field ---


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


# --- TensorFlow ---


def tf_shape(dims):
    return b"".join(data(2, number(1, dim)) for dim in dims)


def tf_attribute(name, value):
    return data(5, data(1, name) + data(2, value))


FLOAT = number(6, 1)


def tf_node(name, op, inputs, attributes):
    return data(1, data(1, name) + data(2, op) + b"".join(data(3, i) for i in inputs) + attributes)


def tf_constant(name, array):
    tensor = number(1, 1) + data(2, tf_shape(array.shape)) + data(4, array.astype("<f4").tobytes())
    return tf_node(name, "Const", [], tf_attribute("dtype", FLOAT) + tf_attribute("value", data(8, tensor)))


def tf_graph(w, b):
    kind = tf_attribute("T", FLOAT)
    graph = tf_node(
        "x", "Placeholder", [], tf_attribute("dtype", FLOAT) + tf_attribute("shape", data(7, tf_shape([1, WIDTH])))
    )
    graph += tf_constant("w", w) + tf_constant("b", b)
    graph += tf_node(
        "product",
        "MatMul",
        ["x", "w"],
        kind + tf_attribute("transpose_a", number(5, 0)) + tf_attribute("transpose_b", number(5, 0)),
    )
    graph += tf_node("sum", "AddV2", ["product", "b"], kind)
    graph += tf_node("y", "Relu", ["sum"], kind)
    return graph + data(4, number(1, 1087))


def saved_model(graph):
    def port(field, key, name, dims):
        return data(field, data(1, key) + data(2, data(1, name) + number(2, 1) + data(3, tf_shape(dims))))

    signature = (
        port(1, "x", "x:0", [1, WIDTH]) + port(2, "y", "y:0", [1, CLASSES]) + data(3, "tensorflow/serving/predict")
    )
    meta = data(1, data(4, "serve")) + data(2, graph) + data(5, data(1, "serving_default") + data(2, signature))
    return number(1, 1) + data(2, meta)


# --- TFLite ---


def tflite(w, b):
    builder = flatbuffers.Builder(4096)

    def vector(values, kind="int32"):
        return builder.CreateNumpyVector(np.asarray(values, kind))

    def offsets(items):
        builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item)
        return builder.EndVector()

    def table(slots, fields):
        builder.StartObject(slots)
        for add in fields:
            add()
        return builder.EndObject()

    def offset(slot, value):
        return lambda: builder.PrependUOffsetTRelativeSlot(slot, value, 0)

    buffers = []
    for content in (b"", w.T.astype("<f4").tobytes(), b.astype("<f4").tobytes()):
        bytes_at = vector(np.frombuffer(content, np.uint8), "uint8") if content else 0
        buffers.append(table(1, [offset(0, bytes_at)] if content else []))
    tensors = []
    for name, shape, buffer in (
        ("x", [1, WIDTH], 0),
        ("w", [CLASSES, WIDTH], 1),
        ("b", [CLASSES], 2),
        ("y", [1, CLASSES], 0),
    ):
        text = builder.CreateString(name)
        dims = vector(shape)
        tensors.append(
            table(
                8,
                [
                    offset(0, dims),
                    lambda: builder.PrependInt8Slot(1, 0, 0),
                    lambda n=buffer: builder.PrependUint32Slot(2, n, 0),
                    offset(3, text),
                ],
            )
        )
    options = table(4, [lambda: builder.PrependInt8Slot(0, 1, 0)])  # RELU behind the product.
    inputs, outputs = vector([0, 1, 2]), vector([3])
    operator = table(
        9,
        [
            lambda: builder.PrependUint32Slot(0, 0, 0),
            offset(1, inputs),
            offset(2, outputs),
            lambda: builder.PrependUint8Slot(3, 8, 0),
            offset(4, options),
        ],
    )
    all_tensors, all_operators = offsets(tensors), offsets([operator])
    graph_inputs, graph_outputs = vector([0]), vector([3])
    graph = table(
        5, [offset(0, all_tensors), offset(1, graph_inputs), offset(2, graph_outputs), offset(3, all_operators)]
    )
    code = table(
        4,
        [
            lambda: builder.PrependInt8Slot(0, 9, 0),
            lambda: builder.PrependInt32Slot(2, 1, 1),
            lambda: builder.PrependInt32Slot(3, 9, 0),
        ],
    )  # FULLY_CONNECTED
    codes, graphs, all_buffers = offsets([code]), offsets([graph]), offsets(buffers)
    model = table(
        8, [lambda: builder.PrependUint32Slot(0, 3, 0), offset(1, codes), offset(2, graphs), offset(4, all_buffers)]
    )
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())


# --- Paddle ---


def paddle(w, b):
    def tensor(dims):
        return number(1, 5) + b"".join(number(2, dim) for dim in dims)

    def variable(name, dims, persistable):
        return data(3, data(1, name) + data(2, number(1, 7) + data(3, data(1, tensor(dims)))) + number(3, persistable))

    def arguments(field, pairs):
        return b"".join(data(field, data(1, key) + data(2, value)) for key, value in pairs)

    def operator(kind, inputs, outputs, attributes=b""):
        return data(4, arguments(1, inputs) + arguments(2, outputs) + data(3, kind) + attributes)

    def attribute(name, kind, field, value):
        return data(4, data(1, name) + number(2, kind) + number(field, value))

    block = number(1, 0) + number(2, -1)
    block += data(3, data(1, "feed") + data(2, number(1, 9)) + number(3, 1)) + data(
        3, data(1, "fetch") + data(2, number(1, 10)) + number(3, 1)
    )
    for name, dims, kept in (
        ("x", [1, WIDTH], 0),
        ("w", w.shape, 1),
        ("b", b.shape, 1),
        ("product", [1, CLASSES], 0),
        ("sum", [1, CLASSES], 0),
        ("y", [1, CLASSES], 0),
    ):
        block += variable(name, dims, kept)
    block += operator("feed", [("X", "feed")], [("Out", "x")], attribute("col", 0, 3, 0))
    block += operator(
        "matmul_v2",
        [("X", "x"), ("Y", "w")],
        [("Out", "product")],
        attribute("trans_x", 6, 10, 0) + attribute("trans_y", 6, 10, 0),
    )
    block += operator("elementwise_add", [("X", "product"), ("Y", "b")], [("Out", "sum")], attribute("axis", 0, 3, -1))
    block += operator("relu", [("X", "sum")], [("Out", "y")])
    block += operator("fetch", [("X", "y")], [("Out", "fetch")], attribute("col", 0, 3, 0))
    parameters = b""
    for array in (b, w):  # Ordered by name.
        description = tensor(array.shape)
        parameters += struct.pack("<IQIi", 0, 0, 0, len(description)) + description + array.astype("<f4").tobytes()
    return data(1, block) + data(4, number(1, 2000000)), parameters


def main():
    folder = pathlib.Path(sys.argv[1])
    random = np.random.default_rng(7)
    w = random.normal(size=(WIDTH, CLASSES)).astype(np.float32)
    b = random.normal(size=CLASSES).astype(np.float32)
    x = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
    (folder / "saved").mkdir(parents=True, exist_ok=True)
    graph = tf_graph(w, b)
    (folder / "frozen.pb").write_bytes(graph)
    (folder / "saved" / "saved_model.pb").write_bytes(saved_model(graph))
    (folder / "model.tflite").write_bytes(tflite(w, b))
    program, parameters = paddle(w, b)
    (folder / "model.pdmodel").write_bytes(program)
    (folder / "model.pdiparams").write_bytes(parameters)
    np.savez(folder / "data.npz", x=x)
    np.savez(folder / "expected.npz", y=np.maximum(x @ w + b, 0))


if __name__ == "__main__":
    main()
