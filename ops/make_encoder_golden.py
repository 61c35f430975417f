#!/usr/bin/env python3
"""Golden outputs of small random encoders, by transformers and sentence-transformers, for tests/llm.

  ops/make_encoder_golden.py --out tests/llm/encoder_golden.json

Run in an environment with transformers 5.23, torch 2.13 and sentence-transformers 6.2 (processor only is enough); the suite needs none of
them. Weights come from the generator of make_llm_golden.py, which tests/llm/tiny_checkpoint.cc has too, so the file holds configurations,
shapes, inputs and outputs alone.
"""
import argparse
import json

import torch
import transformers as T
from make_llm_golden import values
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

BERT = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=40)
ROBERTA = dict(BERT, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5)
DISTIL = dict(vocab_size=64, dim=32, hidden_dim=48, n_layers=2, n_heads=4, max_position_embeddings=40)
# As long as the buckets of its distances are different ones.
MPNET = dict(BERT, max_position_embeddings=150)
LABELS = dict(id2label={str(i): f"label {i}" for i in range(3)})

# name: (class, configuration, tokens, poolings, normalized)
CASES = {
    "bert": ("BertModel", BERT, 12, None, False),
    "bert_tanh": ("BertModel", dict(BERT, hidden_act="gelu_new", type_vocab_size=1), 12, None, False),
    "bert_relu": ("BertModel", dict(BERT, hidden_act="relu", layer_norm_eps=0.01), 7, None, False),
    "bert_sequence": ("BertForSequenceClassification", BERT | LABELS, 12, None, False),
    "bert_tokens": ("BertForTokenClassification", BERT | LABELS, 12, None, False),
    "roberta": ("RobertaModel", ROBERTA, 12, None, False),
    "roberta_types": ("RobertaModel", dict(ROBERTA, type_vocab_size=3, pad_token_id=5), 12, None, False),
    "roberta_sequence": ("RobertaForSequenceClassification", ROBERTA | LABELS, 12, None, False),
    "xlm_roberta_sequence": ("XLMRobertaForSequenceClassification", ROBERTA | dict(id2label={"0": "score"}), 12, None, False),
    "roberta_tokens": ("RobertaForTokenClassification", ROBERTA | LABELS, 12, None, False),
    "distilbert": ("DistilBertModel", DISTIL, 12, None, False),
    "distilbert_relu": ("DistilBertModel", dict(DISTIL, activation="relu"), 12, None, False),
    "distilbert_sequence": ("DistilBertForSequenceClassification", DISTIL | LABELS, 12, None, False),
    "distilbert_tokens": ("DistilBertForTokenClassification", DISTIL | LABELS, 12, None, False),
    "mpnet": ("MPNetModel", MPNET, 140, None, False),
    "mpnet_sequence": ("MPNetForSequenceClassification", MPNET | LABELS, 30, None, False),
    "embed_mean": ("BertModel", BERT, 12, ["mean"], True),
    "embed_cls": ("DistilBertModel", DISTIL, 12, ["cls"], False),
    "embed_max": ("BertModel", BERT, 12, ["max"], True),
    "embed_root": ("RobertaModel", ROBERTA, 12, ["mean_sqrt_len_tokens"], False),
    "embed_all": ("MPNetModel", MPNET, 30, ["cls", "max", "mean"], True),
}


def fill(model):
    shapes = {}
    for name, parameter in model.named_parameters():
        norm = "layernorm" in name.lower().replace("_", "")
        base = 1.0 if norm and name.endswith("weight") else 0.0
        scale = 1.0 if "embedding" in name or "attention_bias" in name else 0.25
        parameter.data = torch.from_numpy(values(name, parameter.numel(), base, scale).reshape(parameter.shape))
        shapes[name] = list(parameter.shape)
    return shapes


def tokens(config, count):
    """Two texts, the second of which is padded behind its first two thirds."""
    pad = config.pad_token_id or 0
    ids = [[(i * 37 + 11 * row) % (config.vocab_size - 8) + 8 for i in range(count)] for row in range(2)]
    mask = [[1] * count, [1] * (count * 2 // 3) + [0] * (count - count * 2 // 3)]
    ids[1] = [token if seen else pad for token, seen in zip(ids[1], mask[1])]
    given = dict(input_ids=ids, attention_mask=mask)
    if getattr(config, "type_vocab_size", 0) > 1:
        given["token_type_ids"] = [[int(i >= count // 2) for i in range(count)] for _ in range(2)]
    return given


def places(count):
    return [[0, 0], [0, count - 1], [1, 2], [1, count - 1]]


def rounded(rows):
    return [[float(f"{x:.7g}") for x in row] for row in rows]


def make(name, architecture, settings, count, poolings, normalized):
    family = architecture.split("For")[0].removesuffix("Model")
    config = getattr(T, family + "Config")(**settings)
    model = getattr(T, architecture)._from_config(config, attn_implementation="eager").eval()
    shapes = fill(model)
    given = tokens(config, count)
    with torch.no_grad():
        got = model(**{key: torch.tensor(value) for key, value in given.items()})
        if poolings:
            features = dict(token_embeddings=got.last_hidden_state, attention_mask=torch.tensor(given["attention_mask"]))
            features = Pooling(32, pooling_mode=tuple(poolings))(features)
            got = {"sentence_embedding": (Normalize()(features) if normalized else features)["sentence_embedding"]}
    outputs = {}
    for output, value in got.items():
        wide = value.dim() == 3
        outputs[output] = dict(shape=list(value.shape), places=places(count) if wide else [[0], [1]],
                               rows=rounded([value[tuple(p)] for p in places(count)] if wide else value))
    written = json.loads(config.to_json_string(use_diff=False))
    written["architectures"] = [architecture]
    dropped = ("dtype", "label2id") + (() if "For" in architecture else ("id2label",))
    kept = {k: v for k, v in written.items() if v is not None and not k.startswith("_") and k not in dropped}
    case = dict(name=name, config=kept, tensors=shapes, inputs=given, outputs=outputs)
    if poolings:
        case |= dict(poolings=poolings, normalized=normalized)
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    cases = []
    for name, how in CASES.items():
        cases.append(make(name, *how))
        print(name, {key: value["shape"] for key, value in cases[-1]["outputs"].items()})
    with open(out, "w") as file:
        file.write('{"transformers": "%s", "torch": "%s", "cases": [\n' % (T.__version__, torch.__version__))
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
