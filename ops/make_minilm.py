#!/usr/bin/env python3
"""Builds MiniLM as an ONNX model from its Hugging Face folder, and tokenized sentences to feed it with.

    make_minilm.py FOLDER --out DIR      writes DIR/minilm.onnx and DIR/minilm_sentences.npz

FOLDER holds config.json, model.safetensors and vocab.txt of a BERT encoder (sentence-transformers/all-MiniLM-L6-v2). Needs numpy and
onnx; the same folder and seed give the same bytes.

The graph has the form that torch.onnx gives at opset 17, because that is what people bring: LayerNormalization as one operator, Gelu as
Div, Erf, Add, Mul, Mul; attention as MatMul, Reshape, Transpose, Div, Add of the mask, Softmax, MatMul; shapes computed in the graph, so
batch and sequence stay free; biases as the first operand of Add; parameters of MatMul transposed and without their names. The mask is made
from attention_mask as (1 - mask) * the least f32: a tensor that holds 0 and -3.4e38 alone, which a quantizer that takes every Add's
inputs into int8 by their least and largest value gives a scale of 1e36.

What is written is proved: two sentences go through the graph (onnx's reference evaluator) and through a plain forward pass in numpy.
"""
import argparse
import json
import math
import pathlib
import random
import struct
import unicodedata

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
LENGTH = 64
SENTENCES = 1280

# --- the folder ----------------------------------------------------------------------------------------------------------------------


def read_safetensors(path):
    """Tensors by name. The file is an 8-byte little-endian header length, a JSON header, then the tensors' bytes."""
    raw = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", raw)
    if header_bytes > len(raw) - 8:
        raise SystemExit(f"{path}: the header is longer than the file")
    header = json.loads(raw[8:8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        values = np.frombuffer(raw, "<f4", (end - begin) // 4, 8 + header_bytes + begin)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


class WordPiece:
    """BERT's uncased tokenizer: lower case, no accents, punctuation apart, then the longest known pieces from the left."""

    def __init__(self, vocabulary):
        self.ids = {piece: index for index, piece in enumerate(vocabulary)}

    @staticmethod
    def _words(text):
        text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        word = ""
        for c in text:
            # All ASCII that is neither letter, digit nor space counts as punctuation, whatever Unicode calls it.
            punctuation = unicodedata.category(c).startswith("P") or (33 <= ord(c) <= 126 and not c.isalnum())
            if c.isspace() or punctuation:
                if word:
                    yield word
                word = ""
                if punctuation:
                    yield c
            else:
                word += c
        if word:
            yield word

    def _pieces(self, word):
        pieces, begin = [], 0
        while begin < len(word):
            end = len(word)
            while end > begin and ("##" if begin else "") + word[begin:end] not in self.ids:
                end -= 1
            if end == begin:
                return ["[UNK]"]
            pieces.append(("##" if begin else "") + word[begin:end])
            begin = end
        return pieces

    def encode(self, text, length):
        """Ids and mask, [CLS] ... [SEP], cut and padded to `length`."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)][:length - 2]
        ids = [self.ids[piece] for piece in ["[CLS]", *pieces, "[SEP]"]]
        padding = [0] * (length - len(ids))
        return ids + padding, [1] * len(ids) + padding


# --- sentences -----------------------------------------------------------------------------------------------------------------------

WORDS = {
    "person": """engineer teacher nurse farmer lawyer captain journalist baker student surgeon mayor violinist carpenter translator
        astronomer librarian goalkeeper accountant gardener referee pilot novelist shepherd plumber economist""".split(),
    "name": """Amelia Rajesh Yuki Olufemi Ingrid Mateo Fatima Dmitri Chen Beatrice Kwame Leila Patrick Sunita Henrik""".split(),
    "place": """harbour village airport laboratory monastery market valley stadium archive factory hospital courthouse vineyard glacier
        theatre railway station embassy greenhouse lighthouse""".split(),
    "city": """Lisbon Nairobi Osaka Winnipeg Tallinn Valparaiso Marrakesh Adelaide Krakow Hanoi Porto Reykjavik Montevideo""".split(),
    "thing": """telescope contract bicycle manuscript engine violin bridge vaccine satellite recipe ladder painting database microscope
        letter turbine parcel hard drive wristwatch kettle blanket map sensor generator""".split(),
    "abstract": """inflation courage gravity migration privacy erosion democracy photosynthesis nutrition insomnia bankruptcy folklore
        symmetry recycling jurisdiction biodiversity""".split(),
    "adjective": """ancient fragile enormous reliable noisy transparent expensive abandoned colourful efficient suspicious portable
        frozen delicate temporary famous narrow bitter electric rusty""".split(),
    "adverb": """quietly suddenly carefully reluctantly twice rarely immediately deliberately almost never gladly slowly""".split(),
    "verb": """repaired photographed sold inherited measured described painted hid examined borrowed donated rebuilt dropped translated
        weighed rejected cleaned""".split(),
    "think": """believes doubts explained announced suspects forgot admitted reported insisted discovered""".split(),
    "animal": """otter falcon donkey salmon beetle wolf tortoise parrot hedgehog whale mosquito goat""".split(),
    "food": """lentil soup, grilled sardines, rye bread, goat cheese, mango chutney, roasted chestnuts, black coffee, rice noodles""".split(", "),
    "month": """January March April June August September November December""".split(),
    "unit": """kilometres litres dollars degrees hours volts tonnes pages seconds percent""".split(),
    "field": """chemistry law medicine geology music finance linguistics agriculture robotics history""".split(),
}

TEMPLATES = [
    "The {person} {verb} the {adjective} {thing} near the {place}.",
    "{name} {adverb} {verb} a {thing} that nobody in {city} had seen since {month} {year}.",
    "How many {unit} does a {adjective} {thing} need before it stops working?",
    "A {adjective} {animal} crossed the {place} while the {person} was eating {food}.",
    "{name} {think} that {abstract} matters more than {abstract2}.",
    "In {month} {year}, {city} opened a {adjective} {place} which cost {number} million dollars.",
    "Please send the {thing} to {name} in {city} by the {day}th of {month}.",
    "The price of {food} rose by {number} percent, although every {person} had expected the opposite.",
    "What is the difference between {abstract} and {abstract2}?",
    "I would rather keep the {thing} than give it to that {adjective} {person}.",
    "According to the report, the {thing} failed after {number} {unit}; the {person} blames {abstract}.",
    "Our {field} department is looking for a {person} who has studied {abstract} for at least {day} years.",
    "\"Don't touch the {thing}!\" shouted the {person}, but the {animal} had {adverb} moved it.",
    "{city}",
    "buy {adjective} {thing} online",
    "Error {number}: the {thing} is {adjective}.",
    "Having {verb} the {thing}, {name} {adverb} walked from the {place} to the {place2}, where a {person} {think} that the {animal} "
    "was {adjective} and that {food} would be served at {day} o'clock.",
    "Researchers in {field} compared {number} {animal}s from {city} with {number2} from {city2} and found that {abstract} depends on "
    "temperature, light and the {adjective} {place}, while {abstract2} does not.",
    "My neighbour, a retired {person}, {verb} {number} {thing}s last {month} because she {think} that {abstract} was coming.",
    "Is it true that the {animal} can travel {number} {unit} without {food}?",
    "The contract between the {person} and the {person2} ends in {month} {year}, unless either of them {verb} the {thing} before the court "
    "in {city} has decided about {abstract}, {abstract2} and the {adjective} {place}.",
    "We stayed in {city} for {day} nights: the {place} was {adjective}, the {food} cold, and the {person} at the desk {adverb} smiled.",
    "{field} {abstract} {thing}",
    "Mix {number} grams of {food} with water, wait {day} minutes, and serve it to the {person}.",
]


def sentence(rng):
    slots = {kind: rng.choice(words) for kind, words in WORDS.items()}
    slots |= {kind + "2": rng.choice(words) for kind, words in WORDS.items()}
    slots |= {"year": rng.randint(1850, 2030), "number": rng.randint(2, 999), "number2": rng.randint(2, 999), "day": rng.randint(4, 28)}
    text = rng.choice(TEMPLATES).format(**slots)
    # Some samples are more than one sentence: they fill the 64 tokens.
    return text + " " + sentence(rng) if rng.random() < 0.3 else text


def sentences(count, seed):
    rng = random.Random(seed)
    return [sentence(rng) for _ in range(count)]


def tokenize(tokenizer, texts):
    encoded = [tokenizer.encode(text, LENGTH) for text in texts]
    ids = np.array([ids for ids, _ in encoded], np.int64)
    mask = np.array([mask for _, mask in encoded], np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


# --- the graph -----------------------------------------------------------------------------------------------------------------------


class Graph:
    """Nodes and initializers, named as an export names them: by the path of the module that the node belongs to."""

    def __init__(self):
        self.nodes, self.initializers, self.names, self.anonymous = [], {}, {}, 0

    def node(self, operator, inputs, scope, output=None, **attributes):
        base = f"{scope}/{operator}"
        count = self.names[base] = self.names.get(base, -1) + 1
        name = base if count == 0 else f"{base}_{count}"
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, value, scope):
        return self.node("Constant", [], scope, value=numpy_helper.from_array(np.asarray(value)))

    def parameter(self, name, values):
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def matmul_weight(self, values):
        """A Linear's weight as MatMul takes it: transposed, and so without the parameter's name."""
        self.anonymous += 1
        return self.parameter(f"onnx::MatMul_{self.anonymous}", values.T)


class Builder:
    def __init__(self, config, tensors):
        self.config, self.tensors, self.g = config, tensors, Graph()
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]

    def linear(self, x, name, scope):
        product = self.g.node("MatMul", [x, self.g.matmul_weight(self.tensors[name + ".weight"])], scope)
        bias = self.g.parameter(name + ".bias", self.tensors[name + ".bias"])
        return self.g.node("Add", [bias, product], scope)

    def layer_norm(self, x, name, scope, output=None):
        weight = self.g.parameter(name + ".weight", self.tensors[name + ".weight"])
        bias = self.g.parameter(name + ".bias", self.tensors[name + ".bias"])
        return self.g.node("LayerNormalization", [x, weight, bias], scope, output, axis=-1, epsilon=self.config["layer_norm_eps"])

    def size(self, x, axis, scope):
        """The length of an axis as a list of one, as a view's shape needs it."""
        shape = self.g.node("Shape", [x], scope)
        length = self.g.node("Gather", [shape, self.g.constant(np.int64(axis), scope)], scope, axis=0)
        return self.g.node("Unsqueeze", [length, self.g.constant(np.array([0], np.int64), scope)], scope)

    def view(self, x, tail, scope):
        """x [batch, sequence, ...] seen as [batch, sequence, *tail]."""
        sizes = [self.size(x, 0, scope), self.size(x, 1, scope)]
        sizes += [self.g.constant(np.array([n], np.int64), scope) for n in tail]
        return self.g.node("Reshape", [x, self.g.node("Concat", sizes, scope, axis=0)], scope)

    def mask(self):
        scope = ""
        mask = self.g.node("Unsqueeze", ["attention_mask", self.g.constant(np.array([1], np.int64), scope)], scope)
        mask = self.g.node("Unsqueeze", [mask, self.g.constant(np.array([2], np.int64), scope)], scope)
        mask = self.g.node("Cast", [mask], scope, to=TensorProto.FLOAT)
        absent = self.g.node("Sub", [self.g.constant(np.float32(1), scope), mask], scope)
        return self.g.node("Mul", [absent, self.g.constant(np.finfo(np.float32).min, scope)], scope)

    def embeddings(self):
        g, scope = self.g, "/embeddings"
        tables = {kind: g.parameter(f"embeddings.{kind}_embeddings.weight", self.tensors[f"embeddings.{kind}_embeddings.weight"])
                  for kind in ("word", "token_type", "position")}
        all_positions = g.parameter("embeddings.position_ids", np.arange(self.config["max_position_embeddings"], dtype=np.int64)[None])
        zero, one = g.constant(np.array([0], np.int64), scope), g.constant(np.array([1], np.int64), scope)
        positions = g.node("Slice", [all_positions, zero, self.size("input_ids", 1, scope), one, one], scope)
        words = g.node("Gather", [tables["word"], "input_ids"], scope + "/word_embeddings")
        types = g.node("Gather", [tables["token_type"], "token_type_ids"], scope + "/token_type_embeddings")
        total = g.node("Add", [words, types], scope)
        places = g.node("Gather", [tables["position"], positions], scope + "/position_embeddings")
        return self.layer_norm(g.node("Add", [total, places], scope), "embeddings.LayerNorm", scope + "/LayerNorm")

    def attention(self, x, mask, name, scope):
        g, inner, size = self.g, scope + "/self", self.hidden // self.heads
        split = {kind: self.view(self.linear(x, f"{name}.self.{kind}", f"{inner}/{kind}"), [self.heads, size], inner)
                 for kind in ("query", "key", "value")}
        query = g.node("Transpose", [split["query"]], inner, perm=[0, 2, 1, 3])
        key = g.node("Transpose", [split["key"]], inner, perm=[0, 2, 3, 1])
        value = g.node("Transpose", [split["value"]], inner, perm=[0, 2, 1, 3])
        scores = g.node("MatMul", [query, key], inner)
        scores = g.node("Div", [scores, g.constant(np.float32(math.sqrt(size)), inner)], inner)
        weights = g.node("Softmax", [g.node("Add", [scores, mask], inner)], inner, axis=-1)
        mixed = g.node("Transpose", [g.node("MatMul", [weights, value], inner)], inner, perm=[0, 2, 1, 3])
        out = self.linear(self.view(mixed, [self.hidden], inner), f"{name}.output.dense", scope + "/output/dense")
        return self.layer_norm(g.node("Add", [out, x], scope + "/output"), f"{name}.output.LayerNorm", scope + "/output/LayerNorm")

    def gelu(self, x, scope):
        g = self.g
        erf = g.node("Erf", [g.node("Div", [x, g.constant(np.float32(math.sqrt(2)), scope)], scope)], scope)
        product = g.node("Mul", [x, g.node("Add", [erf, g.constant(np.float32(1), scope)], scope)], scope)
        return g.node("Mul", [product, g.constant(np.float32(0.5), scope)], scope)

    def layer(self, x, mask, index, output):
        name, scope = f"encoder.layer.{index}", f"/encoder/layer.{index}"
        x = self.attention(x, mask, name + ".attention", scope + "/attention")
        up = self.gelu(self.linear(x, name + ".intermediate.dense", scope + "/intermediate/dense"), scope + "/intermediate/intermediate_act_fn")
        down = self.linear(up, name + ".output.dense", scope + "/output/dense")
        return self.layer_norm(self.g.node("Add", [down, x], scope + "/output"), name + ".output.LayerNorm", scope + "/output/LayerNorm", output)

    def model(self):
        mask = self.mask()
        x = self.embeddings()
        layers = self.config["num_hidden_layers"]
        for index in range(layers):
            x = self.layer(x, mask, index, "last_hidden_state" if index == layers - 1 else None)
        tokens = lambda name: helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        graph = helper.make_graph(
            self.g.nodes, "main_graph", [tokens(name) for name in ("input_ids", "attention_mask", "token_type_ids")],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", self.hidden])],
            list(self.g.initializers.values()))
        return helper.make_model(graph, producer_name="make_minilm", ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)])


# --- the proof -----------------------------------------------------------------------------------------------------------------------


def forward(config, tensors, feed):
    """The encoder's last hidden state in plain numpy, f64."""
    t = {name: values.astype(np.float64) for name, values in tensors.items()}
    erf = np.vectorize(math.erf, otypes=[np.float64])

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + config["layer_norm_eps"]) * t[name + ".weight"] + t[name + ".bias"]

    def linear(x, name):
        return x @ t[name + ".weight"].T + t[name + ".bias"]

    ids, mask = feed["input_ids"], feed["attention_mask"]
    batch, length = ids.shape
    heads = config["num_attention_heads"]
    size = config["hidden_size"] // heads
    x = norm(t["embeddings.word_embeddings.weight"][ids] + t["embeddings.token_type_embeddings.weight"][feed["token_type_ids"]] +
             t["embeddings.position_embeddings.weight"][:length], "embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        query, key, value = (linear(x, f"{name}.attention.self.{kind}").reshape(batch, length, heads, size).transpose(0, 2, 1, 3)
                             for kind in ("query", "key", "value"))
        scores = np.where(mask[:, None, None, :] == 1, query @ key.transpose(0, 1, 3, 2) / math.sqrt(size), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True) @ value).transpose(0, 2, 1, 3).reshape(batch, length, -1)
        x = norm(linear(mixed, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm")
        up = linear(x, f"{name}.intermediate.dense")
        x = norm(linear(up * (erf(up / math.sqrt(2)) + 1) / 2, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    return x


def prove(model, config, tensors, feed):
    from onnx.reference import ReferenceEvaluator
    (got,) = ReferenceEvaluator(model).run(None, feed)
    error = np.abs(got - forward(config, tensors, feed)).max()
    if not error < 1e-3:
        raise SystemExit(f"the graph and the plain forward pass differ by {error:.3g}")
    return error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=SENTENCES)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    config = json.loads((args.folder / "config.json").read_text())
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu" or config["position_embedding_type"] != "absolute":
        raise SystemExit(f"{args.folder} is no BERT encoder with exact Gelu and absolute positions")
    tensors = read_safetensors(args.folder / "model.safetensors")
    tokenizer = WordPiece((args.folder / "vocab.txt").read_text(encoding="utf-8").split("\n"))
    feed = tokenize(tokenizer, sentences(args.count, args.seed))
    model = Builder(config, tensors).model()
    onnx.checker.check_model(model)
    error = prove(model, config, tensors, {name: values[:2] for name, values in feed.items()})
    args.out.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, args.out / "minilm.onnx")
    np.savez(args.out / "minilm_sentences.npz", **feed)
    print(f"{args.out}/minilm.onnx: {len(model.graph.node)} nodes, within {error:.1g} of a plain forward pass; "
          f"{args.count} sentences of {feed['attention_mask'].sum(1).mean():.0f} tokens on average")


if __name__ == "__main__":
    main()
