"""compare_static.py MODEL OURS DATA.npz OPTIONS: quantizes MODEL with ONNX Runtime's quantize_static and compares.

OPTIONS is JSON: per_channel, reduce_range, symmetric_activations, activations, weights. Exit status 0 where scales,
zero points, codes and placement are the same.
"""
import json
import logging
import os
import sys
import tempfile

import numpy as np
import onnx
from graph_view import compare
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

TYPES = {
    "uint8": QuantType.QUInt8,
    "int8": QuantType.QInt8,
    "uint16": QuantType.QUInt16,
    "int16": QuantType.QInt16,
}


class Reader(CalibrationDataReader):
    def __init__(self, arrays):
        count = len(next(iter(arrays.values())))
        self.samples = iter([{name: array[i:i + 1] for name, array in arrays.items()} for i in range(count)])

    def get_next(self):
        return next(self.samples, None)


def main():
    logging.disable(logging.WARNING)
    model_path, ours_path, data_path, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    theirs_path = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(ours_path)), "theirs.onnx")
    quantize_static(
        model_path,
        theirs_path,
        Reader(dict(np.load(data_path))),
        quant_format=QuantFormat.QDQ,
        per_channel=options.get("per_channel", False),
        reduce_range=options.get("reduce_range", False),
        activation_type=TYPES[options.get("activations", "uint8")],
        weight_type=TYPES[options.get("weights", "int8")],
        nodes_to_exclude=options.get("exclude", []),
        extra_options={"ActivationSymmetric": options.get("symmetric_activations", False)},
    )
    return 1 if compare(onnx.load(ours_path), onnx.load(theirs_path)) else 0


if __name__ == "__main__":
    sys.exit(main())
