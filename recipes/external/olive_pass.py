"""One pass of Olive's for hone: reads the request, runs the pass, leaves model.onnx in the output folder."""

import json
import os
import pathlib
import shutil
import sys

REJECTED = 9


# Olive copies files with their times, which the sandbox lets nobody set.
shutil.copystat = lambda *paths, **options: None


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    try:
        config = json.loads(request["parameters"]["pass_config"])
    except json.JSONDecodeError as error:
        print(f"pass_config is no JSON: {error}", file=sys.stderr)
        return REJECTED
    import olive.workflows

    work = pathlib.Path(os.environ["TMPDIR"]) / "olive"
    run = {
        "input_model": {"type": "ONNXModel", "model_path": request["model"]},
        "passes": {"only": {"type": request["parameters"]["pass_name"], **config}},
        "output_dir": str(work / "out"),
        "cache_dir": str(work / "cache"),
        "log_severity_level": 2,
    }
    output = olive.workflows.run(run)
    made = work / "out" / "model.onnx"
    if output is None or not made.exists():
        print("Olive ended without a model", file=sys.stderr)
        return REJECTED
    for file in (work / "out").iterdir():
        if file.name.startswith("model.onnx"):
            shutil.copyfile(file, pathlib.Path(request["output"]) / file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
