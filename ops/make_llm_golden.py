#!/usr/bin/env python3
"""Golden logits of small random decoders, by transformers, for tests/llm.

  ops/make_llm_golden.py --out tests/llm/golden.json

Run in an environment with transformers 5.23 and torch 2.13 (processor only is enough); the suite needs neither. Weights come from
a generator that tests/llm/tiny_checkpoint.cc has too, so the file holds configurations, shapes, prompts and logits alone.
"""
import argparse
import json

import numpy as np
import torch
import transformers as T

SIZES = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=2)


def rope(kind, **more):
    return dict(rope_type=kind, rope_theta=10000.0, **more)


def window(**more):
    return dict(SIZES, sliding_window=8, **more)


LONG = dict(original_max_position_embeddings=32)
YARN = dict(factor=4.0, original_max_position_embeddings=64)


def factors(count, step):
    return [1.0 + step * i for i in range(count)]


CASES = {
    "llama": ("Llama", dict(SIZES, tie_word_embeddings=False)),
    "llama_tied_bias": ("Llama", dict(SIZES, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "llama_llama3": ("Llama", dict(SIZES, rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                               original_max_position_embeddings=64))),
    "llama_linear": ("Llama", dict(SIZES, rope_parameters=rope("linear", factor=4.0))),
    "llama_yarn": ("Llama", dict(SIZES, rope_parameters=rope("yarn", beta_fast=32.0, beta_slow=1.0, **YARN))),
    "llama_dynamic": ("Llama", dict(SIZES, rope_parameters=rope("dynamic", factor=2.0))),
    "mistral": ("Mistral", window(head_dim=16)),
    "mistral_whole": ("Mistral", dict(SIZES, sliding_window=None, head_dim=16)),
    "qwen2": ("Qwen2", dict(SIZES, tie_word_embeddings=True)),
    "qwen2_window": ("Qwen2", window(use_sliding_window=True, max_window_layers=1)),
    "qwen2_yarn": ("Qwen2", dict(SIZES, rope_parameters=rope("yarn", **YARN))),
    "qwen3": ("Qwen3", dict(SIZES, head_dim=32, tie_word_embeddings=True)),
    "qwen3_yarn": ("Qwen3", dict(SIZES, head_dim=32, rope_parameters=dict(rope_type="yarn", rope_theta=1000000.0, **YARN))),
    "phi3": ("Phi3", dict(SIZES, original_max_position_embeddings=256, sliding_window=None)),
    "phi3_window": ("Phi3", window(original_max_position_embeddings=256)),
    "phi3_long": ("Phi3", dict(SIZES, **LONG, rope_parameters=rope("longrope", short_factor=factors(8, 0.05), long_factor=factors(8, 0.5), **LONG))),
    "phi4_mini": ("Phi3", dict(dict(SIZES, hidden_size=128, head_dim=32), **LONG, partial_rotary_factor=0.5, tie_word_embeddings=True,
                               rope_parameters=rope("longrope", short_factor=factors(8, 0.05), long_factor=factors(8, 0.2),
                                                    partial_rotary_factor=0.5, **LONG))),
    "gemma": ("Gemma", dict(SIZES, head_dim=32, num_key_value_heads=1)),
    "gemma2": ("Gemma2", window(head_dim=32, query_pre_attn_scalar=48, attn_logit_softcapping=50.0, final_logit_softcapping=30.0)),
    "gemma3": ("Gemma3Text", window(head_dim=32, query_pre_attn_scalar=48) | dict(num_hidden_layers=6)),
    "gemma3_linear": ("Gemma3Text", window(head_dim=32, query_pre_attn_scalar=48) | dict(
        num_hidden_layers=6, rope_parameters={"full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                              "sliding_attention": dict(rope_type="default", rope_theta=1e4)})),
    "smollm3": ("SmolLM3", dict(SIZES, num_hidden_layers=4, no_rope_layer_interval=4)),
    "smollm3_window": ("SmolLM3", window(no_rope_layer_interval=4, use_sliding_window=True) | dict(num_hidden_layers=4)),
    "granite": ("Granite", dict(SIZES, embedding_multiplier=12.0, attention_multiplier=0.0625, residual_multiplier=0.22, logits_scaling=0.5)),
}


def as_version_4(config):
    """The same configuration as transformers 4 wrote it."""
    old = {k: v for k, v in config.items() if k not in ("rope_parameters", "layer_types")}
    rope_parameters = config["rope_parameters"]
    if "full_attention" in rope_parameters:
        whole = dict(rope_parameters["full_attention"])
        old["rope_theta"] = whole.pop("rope_theta")
        old["rope_local_base_freq"] = rope_parameters["sliding_attention"]["rope_theta"]
        old["sliding_window_pattern"] = 6
    else:
        whole = dict(rope_parameters)
        old["rope_theta"] = whole.pop("rope_theta")
    if "partial_rotary_factor" in whole:
        old["partial_rotary_factor"] = whole.pop("partial_rotary_factor")
    if "original_max_position_embeddings" in old:
        whole.pop("original_max_position_embeddings", None)
    if whole.get("rope_type", "default") != "default":
        whole["type"] = whole.pop("rope_type")
        old["rope_scaling"] = whole
    return old


def values(name, count, base, scale):
    """As tests/llm/tiny_checkpoint.cc: splitmix64 of the name's FNV-1a hash and the element's index, 24 bits of it."""
    seed = 14695981039346656037
    for byte in name.encode():
        seed = (seed ^ byte) * 1099511628211 % 2**64
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return unit * np.float32(scale) + np.float32(base)


def fill(model):
    shapes = {}
    for name, parameter in model.named_parameters():
        base, scale = 0.0, 0.25
        if "norm" in name:
            base, scale = (0.0 if "Gemma" in type(model).__name__ else 1.0), 0.25
        elif "embed" in name:
            scale = 1.0
        parameter.data = torch.from_numpy(values(name, parameter.numel(), base, scale).reshape(parameter.shape))
        shapes[name] = list(parameter.shape)
    model.tie_weights()
    return shapes


def make(name, family, settings):
    config = getattr(T, family + "Config")(**settings)
    model = getattr(T, family.removesuffix("Text") + "ForCausalLM")._from_config(config, attn_implementation="eager").eval()
    shapes = fill(model)
    tokens = [(i * 37 + 11) % 90 + 3 for i in range(48)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
        short = model(torch.tensor([tokens[:24]])).logits[0].numpy()
    written = json.loads(config.to_json_string(use_diff=False))
    written["architectures"] = [type(model).__name__]
    keep = {k: v for k, v in written.items() if v is not None and not k.startswith("_") and k not in ("id2label", "label2id", "dtype")}
    rows = lambda array, places: [[float(f"{x:.7g}") for x in array[p]] for p in places]
    return dict(name=name, config=keep, tensors=shapes, tokens=tokens, short_places=[0, 9, 23], short=rows(short, [0, 9, 23]),
                places=[31, 33, 47], logits=rows(logits, [31, 33, 47]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    cases = []
    for name, (family, settings) in CASES.items():
        case = make(name, family, settings)
        cases.append(case)
        if name in ("llama_llama3", "phi3_long", "phi4_mini", "gemma3", "gemma3_linear", "qwen2_yarn"):
            cases.append(dict(case, name=name + "_v4", config=as_version_4(case["config"])))
        print(name, "ok", max(abs(x) for row in case["logits"] for x in row))
    with open(out, "w") as file:
        file.write('{"transformers": "%s", "torch": "%s", "cases": [\n' % (T.__version__, torch.__version__))
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
