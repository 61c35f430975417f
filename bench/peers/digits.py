"""A small convolutional network trained on scikit-learn's handwritten digits, in numpy: real weights, real pictures, real labels.

Three 3 x 3 convolutions with ReLU, a pooling, two layers; Adam on 1,297 pictures, judged on the other 500. The same seed gives the same
network up to the rounding of the machine's matrix products.
"""
import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

CHANNELS = (16, 32, 32)
TRAINED_ON = 1297


def columns(x):
    """[n, c, h, w] -> [n * h * w, c * 9]: the 3 x 3 neighbourhood of each pixel, zeros around."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.stack([padded[:, :, i:i + h, j:j + w] for i in range(3) for j in range(3)], -1)
    return views.transpose(0, 2, 3, 1, 4).reshape(n * h * w, c * 9)


def scatter(gradient, shape):
    """The gradient of columns()."""
    n, c, h, w = shape
    views = gradient.reshape(n, h, w, c, 9).transpose(0, 3, 1, 2, 4)
    padded = np.zeros((n, c, h + 2, w + 2), np.float32)
    for index in range(9):
        i, j = divmod(index, 3)
        padded[:, :, i:i + h, j:j + w] += views[..., index]
    return padded[:, :, 1:-1, 1:-1]


class Conv:
    def __init__(self, rng, inner, outer):
        self.parameters = [rng.normal(0, np.sqrt(2 / (9 * inner)), (inner * 9, outer)).astype(np.float32), np.zeros(outer, np.float32)]

    def forward(self, x):
        self.shape, self.seen = x.shape, columns(x)
        n, _, h, w = x.shape
        y = np.maximum(self.seen @ self.parameters[0] + self.parameters[1], 0)
        self.live = y > 0
        return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, gradient):
        gradient = gradient.transpose(0, 2, 3, 1).reshape(self.live.shape) * self.live
        self.gradients = [self.seen.T @ gradient, gradient.sum(0)]
        return scatter(gradient @ self.parameters[0].T, self.shape)


class Pool:
    """Average of 2 x 2 pixels."""
    parameters, gradients = [], []

    def forward(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

    def backward(self, gradient):
        return np.repeat(np.repeat(gradient, 2, 2), 2, 3) / 4


class Linear:
    def __init__(self, rng, inner, outer, relu):
        self.parameters = [rng.normal(0, np.sqrt(2 / inner), (inner, outer)).astype(np.float32), np.zeros(outer, np.float32)]
        self.relu = relu

    def forward(self, x):
        self.shape, self.seen = x.shape, x.reshape(len(x), -1)
        y = self.seen @ self.parameters[0] + self.parameters[1]
        self.live = (y > 0) if self.relu else np.ones_like(y)
        return y * self.live

    def backward(self, gradient):
        gradient = gradient * self.live
        self.gradients = [self.seen.T @ gradient, gradient.sum(0)]
        return (gradient @ self.parameters[0].T).reshape(self.shape)


def train(layers, pictures, labels, rng, epochs=20, batch=64, rate=2e-3):
    moments = [[np.zeros_like(p), np.zeros_like(p)] for layer in layers for p in layer.parameters]
    step = 0
    for epoch in range(epochs):
        order = rng.permutation(len(pictures))
        for begin in range(0, len(order), batch):
            chosen = order[begin:begin + batch]
            y = pictures[chosen]
            for layer in layers:
                y = layer.forward(y)
            odds = np.exp(y - y.max(1, keepdims=True))
            gradient = odds / odds.sum(1, keepdims=True)
            gradient[np.arange(len(chosen)), labels[chosen]] -= 1
            gradient /= len(chosen)
            for layer in reversed(layers):
                gradient = layer.backward(gradient)
            step += 1
            pace = rate * (1 - epoch / epochs) * np.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step)
            pairs = [pair for layer in layers for pair in zip(layer.parameters, layer.gradients)]
            for (parameter, slope), moment in zip(pairs, moments):
                moment[0] += 0.1 * (slope - moment[0])
                moment[1] += 0.001 * (slope ** 2 - moment[1])
                parameter -= pace * moment[0] / (np.sqrt(moment[1]) + 1e-8)


def model_of(layers):
    nodes, initializers, value = [], [], "image"

    def constant(name, values):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    for index, layer in enumerate(layers):
        name = f"layer{index}"
        if isinstance(layer, Pool):
            value = node("AveragePool", [value], name, kernel_shape=[2, 2], strides=[2, 2])
            continue
        weight, bias = layer.parameters
        if isinstance(layer, Conv):
            kernel = constant(name + ".weight", weight.T.reshape(weight.shape[1], -1, 3, 3))
            value = node("Conv", [value, kernel, constant(name + ".bias", bias)], name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            value = node("Relu", [value], name + ".relu")
            continue
        if value != "flat" and not value.startswith("dense"):
            value = node("Flatten", [value], "flat")
        value = node("Gemm", [value, constant(name + ".weight", weight), constant(name + ".bias", bias)], "dense" if layer.relu else "logits")
        if layer.relu:
            value = node("Relu", [value], "dense.relu")
    graph = helper.make_graph(nodes, "digits", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])], initializers)
    model = helper.make_model(graph, producer_name="make_models", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def make():
    """The model, all pictures with those it was trained on first, their labels, and its accuracy on the others."""
    from sklearn.datasets import load_digits
    rng = np.random.default_rng(1)
    data = load_digits()
    order = rng.permutation(len(data.target))
    pictures = (data.images[order, None] / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    layers = [Conv(rng, 1, CHANNELS[0]), Conv(rng, CHANNELS[0], CHANNELS[1]), Pool(), Conv(rng, CHANNELS[1], CHANNELS[2]),
              Linear(rng, 16 * CHANNELS[2], 64, True), Linear(rng, 64, 10, False)]
    train(layers, pictures[:TRAINED_ON], labels[:TRAINED_ON], rng)
    y = pictures[TRAINED_ON:]
    for layer in layers:
        y = layer.forward(y)
    return model_of(layers), pictures, labels, float(np.mean(y.argmax(1) == labels[TRAINED_ON:]))
