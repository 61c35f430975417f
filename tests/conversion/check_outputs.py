"""check_outputs.py MODEL FOLDER: whether MODEL, run by OpenVINO, gives expected.npz for data.npz; prints the largest difference."""

import sys

import numpy as np
import openvino

inputs = np.load(sys.argv[2] + "/data.npz")["x"]
expected = np.load(sys.argv[2] + "/expected.npz")["y"]
compiled = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
worst = max(float(np.abs(compiled([row[None]])[0] - want[None]).max()) for row, want in zip(inputs, expected))
print(worst)
sys.exit(0 if worst < 1e-4 else 1)
