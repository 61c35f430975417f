#!/usr/bin/env python3
"""The models that bench/peers measures on, and their data. Each is made once, from a seed.

    make_models.py NAME --models DIR --out DIR      NAME: minilm, text_angle, digits, resnet50, encoder100m

DIR (on the models' file system) gets NAME.onnx and NAME.npz: one array an input, first axis the samples, and labels where there are any.
Run with the Python of peers-bench. MiniLM and the text-angle classifier are what ops/setup made; the others are:

digits       a small convolutional network trained on scikit-learn's handwritten digits (digits.py).
resnet50     ResNet-50's graph at 224 x 224 with weights that a random seed made and data then set, as training sets them: He's spread with
             per-channel factors, every BatchNormalization with the mean and variance its inputs have on seeded pictures, gammas spread as
             in trained networks. The head is fitted (ridge regression) to 10 classes of seeded textures, so that its answers are mostly right
             on held-out pictures and an int8 form can lose something.
encoder100m  a BERT-base-shaped encoder, 109 million parameters in external data, heavy-tailed seeded weights, a few loud channels in each
             LayerNormalization as trained encoders have them; fed with MiniLM's sentences.
"""
import argparse
import os
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ops"))
import make_minilm  # noqa: E402


def link(target, name):
    """The same file under another name; hone refuses symbolic links."""
    name.unlink(missing_ok=True)
    os.link(target, name)


def minilm(models, out, _):
    link(models / "minilm.onnx", out / "minilm.onnx")
    link(models / "minilm_sentences.npz", out / "minilm.npz")


# --- the text-angle classifier -------------------------------------------------------------------------------------------------------


def text_angle(models, out, _):
    """Pictures as recipes/text_angle.yaml feeds them: 48 x 192, aspect kept, filled on the right, BGR, -1 .. 1."""
    from PIL import Image
    folders = {label: sorted((models / "text_images" / str(label)).glob("*.png")) for label in (0, 1)}
    pictures, labels = [], []
    for pair in zip(folders[0], folders[1]):
        for label, path in enumerate(pair):
            image = Image.open(path).convert("RGB")
            width = min(192, -(-48 * image.width // image.height))
            pixels = np.asarray(image.resize((width, 48), Image.BILINEAR), np.float32)[:, :, ::-1] / 255
            padded = np.zeros((3, 48, 192), np.float32)
            padded[:, :, :width] = ((pixels - 0.5) / 0.5).transpose(2, 0, 1)
            pictures.append(padded)
            labels.append(label)
    link(models / "text_angle.onnx", out / "text_angle.onnx")
    np.savez(out / "text_angle.npz", x=np.stack(pictures), labels=np.array(labels, np.int64))


def handwritten(_, out, __):
    import digits
    model, pictures, labels, accuracy = digits.make()
    onnx.save(model, out / "digits.onnx")
    np.savez(out / "digits.npz", image=pictures, labels=labels)
    print(f"digits: right on {accuracy:.1%} of 500 pictures that it was not trained on")


# --- a ResNet-50 ---------------------------------------------------------------------------------------------------------------------

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # Blocks and inner width; a block gives four times its inner width.
CLASSES = 10
SIZE = 224


def textures(rng, count):
    """Pictures of CLASSES kinds of texture: three waves each, of the class's directions, lengths and colours, with random phases, under
    light and noise that differ from picture to picture."""
    kinds = np.random.default_rng(50)
    waves = kinds.uniform(4, 40, (CLASSES, 3, 1)) * np.stack([np.cos(t := kinds.uniform(0, np.pi, (CLASSES, 3))), np.sin(t)], -1)
    colours, tints = kinds.normal(0, 0.6, (CLASSES, 3, 3)), kinds.normal(0, 0.5, (CLASSES, 3, 1, 1))
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    labels = np.arange(count) % CLASSES
    pictures = np.empty((count, 3, SIZE, SIZE), np.float32)
    for index, label in enumerate(labels):
        picture = np.zeros((3, SIZE, SIZE), np.float32)
        for wave, colour in zip(waves[label], colours[label]):
            stretch = rng.uniform(0.9, 1.1)
            phase = rng.uniform(0, 2 * np.pi)
            picture += colour[:, None, None].astype(np.float32) * np.sin(2 * np.pi * stretch * (wave[0] * x + wave[1] * y) + phase, dtype=np.float32)
        picture = picture * rng.uniform(0.7, 1.3) + tints[label] + rng.normal(0, 0.1, (3, 1, 1))
        pictures[index] = picture + rng.normal(0, 0.2, picture.shape)
    return pictures, labels.astype(np.int64)


class ResNet:
    """Writes the graph operator by operator and carries a batch of pictures through it, from which BatchNormalization gets its statistics."""

    def __init__(self, batch):
        self.rng = np.random.default_rng(50)
        self.nodes, self.initializers = [], []
        self.values = {"image": batch}

    def parameter(self, name, values):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def run(self, node, constants=()):
        """The node's output for the batch."""
        import onnxruntime as ort
        inputs = [name for name in node.input if name in self.values]
        graph = helper.make_graph(
            [node], "one", [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.values[name].shape) for name in inputs],
            [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)], list(constants))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (self.values[node.output[0]],) = session.run(None, {name: self.values[name] for name in inputs})

    def node(self, operator, inputs, output, constants=(), **attributes):
        node = helper.make_node(operator, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        self.run(node, constants)
        return output

    def forget(self, name):
        del self.values[name]

    def conv(self, x, name, width, kernel, stride, loudness=1.0):
        """Conv without bias and BatchNormalization, as trained networks are exported."""
        inner = self.values[x].shape[1]
        weights = self.rng.standard_t(6, (width, inner, kernel, kernel)) * np.sqrt(2 / (inner * kernel * kernel))
        weights *= self.rng.lognormal(0, 0.4, (width, 1, 1, 1))
        weight = self.parameter(name + ".weight", weights)
        y = self.node("Conv", [x, weight], name + ".conv", self.initializers[-1:], kernel_shape=[kernel, kernel], strides=[stride, stride],
                      pads=[kernel // 2] * 4)
        batch = self.values[y]
        scale = loudness * self.rng.lognormal(-0.2, 0.35, width)
        parts = [self.parameter(f"{name}.{part}", values)
                 for part, values in (("scale", scale), ("shift", self.rng.normal(-0.1, 0.3, width) * loudness),
                                      ("mean", batch.mean((0, 2, 3))), ("variance", batch.var((0, 2, 3)) + 1e-4))]
        out = self.node("BatchNormalization", [y, *parts], name + ".norm", self.initializers[-4:], epsilon=1e-5)
        self.forget(y)
        return out

    def relu(self, x, name):
        out = self.node("Relu", [x], name)
        self.forget(x)
        return out

    def block(self, x, name, width, stride):
        y = self.relu(self.conv(x, name + ".a", width, 1, 1), name + ".a.relu")
        z = self.relu(self.conv(y, name + ".b", width, 3, stride), name + ".b.relu")
        self.forget(y)
        # The branch is quieter than the way round it, as trained residual networks have it.
        branch = self.conv(z, name + ".c", 4 * width, 1, 1, 0.5)
        self.forget(z)
        around = x
        if stride != 1 or self.values[x].shape[1] != 4 * width:
            around = self.conv(x, name + ".around", 4 * width, 1, stride)
        total = self.node("Add", [branch, around], name + ".add")
        self.forget(branch)
        for gone in {x, around}:
            self.forget(gone)
        return self.relu(total, name + ".relu")

    def trunk(self):
        x = self.relu(self.conv("image", "stem", 64, 7, 2), "stem.relu")
        pooled = self.node("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        self.forget(x)
        x = pooled
        for stage, (blocks, width) in enumerate(STAGES):
            for index in range(blocks):
                x = self.block(x, f"stage{stage}.{index}", width, 2 if index == 0 and stage > 0 else 1)
        x = self.node("GlobalAveragePool", [x], "pool")
        return self.node("Flatten", [x], "features")

    def model(self, nodes, initializers, output, width):
        graph = helper.make_graph(
            nodes, "resnet50", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])], initializers)
        return helper.make_model(graph, producer_name="make_models", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resnet50(_, out, samples):
    import onnxruntime as ort
    rng = np.random.default_rng(1)
    net = ResNet(textures(rng, 2 * CLASSES)[0])
    features = net.trunk()
    trunk = ort.InferenceSession(net.model(net.nodes, net.initializers, features, 2048).SerializeToString(), providers=["CPUExecutionProvider"])

    def features_of(pictures):
        return np.concatenate([trunk.run(None, {"image": picture[None]})[0] for picture in pictures])

    # The head: ridge regression of the centred features onto the classes.
    pictures, labels = textures(rng, 24 * CLASSES)
    x = features_of(pictures).astype(np.float64)
    mean = x.mean(0)
    x -= mean
    targets = np.eye(CLASSES)[labels] - 1 / CLASSES
    ridge = 0.1 * np.trace(x @ x.T) / len(x)
    weights = x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(x)), targets)
    # Logits of a usual size, whatever the ridge left.
    loud = 10 / np.abs(x @ weights).max()
    net.parameter("head.weight", loud * weights)
    net.parameter("head.bias", -loud * (mean @ weights))
    gemm = helper.make_node("Gemm", [features, "head.weight", "head.bias"], ["logits"], name="head")
    model = net.model([*net.nodes, gemm], net.initializers, "logits", CLASSES)
    onnx.checker.check_model(model)
    onnx.save(model, out / "resnet50.onnx")

    held_out, held_labels = textures(rng, samples)
    checked = held_out[-64:], held_labels[-64:]
    right = np.mean(np.argmax((features_of(checked[0]) - mean) @ weights, 1) == checked[1])
    np.savez(out / "resnet50.npz", image=held_out, labels=held_labels)
    print(f"resnet50: right on {right:.0%} of 64 pictures that the head was not fitted to")


# --- an encoder of 109 million parameters --------------------------------------------------------------------------------------------

BERT_BASE = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072, "vocab_size": 30522,
             "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12}


def encoder_tensors(config, rng):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors = {}

    def norm(name):
        gain = rng.lognormal(-0.2, 0.25, hidden)
        gain[rng.choice(hidden, 6, replace=False)] *= 6
        tensors[name + ".weight"] = gain
        tensors[name + ".bias"] = rng.normal(0, 0.1, hidden)

    def linear(name, width, depth, loudness=1.0):
        rows = rng.lognormal(0, 0.25, (width, 1))
        tensors[name + ".weight"] = loudness * rows * rng.standard_t(5, (width, depth), ) / np.sqrt(depth)
        tensors[name + ".bias"] = rng.normal(0, 0.1, width)

    for kind, rows in (("word", "vocab_size"), ("position", "max_position_embeddings"), ("token_type", "type_vocab_size")):
        tensors[f"embeddings.{kind}_embeddings.weight"] = rng.normal(0, 1 if kind == "word" else 0.3, (config[rows], hidden))
    norm("embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        for kind in ("query", "key", "value"):
            linear(f"{name}.attention.self.{kind}", hidden, hidden, 1 if kind == "value" else 0.7)
        linear(f"{name}.attention.output.dense", hidden, hidden, 0.5)
        norm(f"{name}.attention.output.LayerNorm")
        linear(f"{name}.intermediate.dense", inner, hidden)
        linear(f"{name}.output.dense", hidden, inner, 0.5)
        norm(f"{name}.output.LayerNorm")
    return {name: values.astype(np.float32) for name, values in tensors.items()}


def encoder100m(models, out, _):
    model = make_minilm.Builder(BERT_BASE, encoder_tensors(BERT_BASE, np.random.default_rng(100))).model()
    (out / "encoder100m.data").unlink(missing_ok=True)
    onnx.save_model(model, out / "encoder100m.onnx", save_as_external_data=True, all_tensors_to_one_file=True, location="encoder100m.data",
                    size_threshold=1024)
    link(models / "minilm_sentences.npz", out / "encoder100m.npz")


MAKERS = {"minilm": minilm, "text_angle": text_angle, "digits": handwritten, "resnet50": resnet50, "encoder100m": encoder100m}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MAKERS)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=256, help="pictures of resnet50.npz")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    MAKERS[args.name](args.models, args.out, args.samples)


if __name__ == "__main__":
    main()
