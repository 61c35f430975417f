"""Fine-tunes a checkpoint with LoRA for hone, deterministically by the request's seed, and writes the merged checkpoint."""

import json
import pathlib
import shutil
import sys

REJECTED = 9
HEADS = {
    "sequence_classification": ("AutoModelForSequenceClassification", "SEQ_CLS"),
    "causal_lm": ("AutoModelForCausalLM", "CAUSAL_LM"),
}


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    parameters = request["parameters"]
    import numpy
    import peft
    import torch
    import transformers

    calibration = request["calibration"]
    arrays = dict(numpy.load(calibration["path"]))
    if "input_ids" not in arrays or (parameters["task"] != "causal_lm" and "labels" not in arrays):
        print("the data need input_ids, and labels for a head that classifies", file=sys.stderr)
        return REJECTED
    count = len(arrays["input_ids"])
    first = calibration["from"]
    last = min(count, first + calibration["samples"]) if calibration["samples"] else count
    torch.manual_seed(request["seed"])
    torch.set_num_threads(request["threads"])
    torch.use_deterministic_algorithms(True)
    path = pathlib.Path(request["model"])
    folder = path if path.is_dir() else path.parent
    head, kind = HEADS[parameters["task"]]
    more = {}
    if parameters["task"] == "sequence_classification":
        more["num_labels"] = int(arrays["labels"].max()) + 1
    model = getattr(transformers, head).from_pretrained(folder, local_files_only=True, **more)
    model = peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type=kind, r=parameters["rank"], lora_alpha=parameters["alpha"], target_modules="all-linear"
        ),
    )
    model.train()
    steps = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=parameters["learning_rate"])
    order = torch.Generator().manual_seed(request["seed"])
    for _ in range(parameters["epochs"]):
        samples = first + torch.randperm(last - first, generator=order)
        for chunk in samples.split(parameters["batch"]):
            rows = chunk.numpy()
            ids = torch.from_numpy(arrays["input_ids"][rows]).long()
            mask = (
                torch.from_numpy(arrays["attention_mask"][rows]).long()
                if "attention_mask" in arrays
                else torch.ones_like(ids)
            )
            labels = torch.from_numpy(arrays["labels"][rows]).long() if "labels" in arrays else ids
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            steps.step()
            steps.zero_grad()
    merged = model.merge_and_unload()
    output = pathlib.Path(request["output"])
    merged.save_pretrained(output, safe_serialization=True)
    for file in folder.iterdir():
        if file.suffix in (".json", ".txt", ".model") and not (output / file.name).exists():
            shutil.copyfile(file, output / file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
