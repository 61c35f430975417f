"""Exports a Hugging Face checkpoint for hone: batch and sequence stay free."""

import json
import pathlib
import sys

HEADS = {
    "features": "AutoModel",
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "causal_lm": "AutoModelForCausalLM",
}


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    parameters = request["parameters"]
    import torch
    import transformers

    torch.manual_seed(request["seed"])
    torch.set_num_threads(request["threads"])
    path = pathlib.Path(request["model"])
    folder = path if path.is_dir() else path.parent
    model = getattr(transformers, HEADS[parameters["task"]]).from_pretrained(
        folder, local_files_only=True, attn_implementation="eager"
    )
    model.eval()
    model.config.use_cache = False
    model.config.return_dict = False
    names = ["input_ids", "attention_mask"]
    ids = torch.ones((1, parameters["length"]), dtype=torch.int64)
    output = "last_hidden_state" if parameters["task"] == "features" else "logits"
    axes = {name: {0: "batch", 1: "sequence"} for name in names}
    axes[output] = {0: "batch"} if parameters["task"] == "sequence_classification" else {0: "batch", 1: "sequence"}

    class First(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask)[0]

    torch.onnx.export(
        First(),
        (ids, torch.ones_like(ids)),
        str(pathlib.Path(request["output"]) / "model.onnx"),
        input_names=names,
        output_names=[output],
        dynamic_axes=axes,
        opset_version=parameters["opset"],
        dynamo=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
