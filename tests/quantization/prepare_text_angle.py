"""prepare_text_angle.py MODELS FOLDER SAMPLES

Writes FOLDER/model.onnx, the text-angle classifier with named nodes and its constants as initializers (what both
quantizers see the same), and FOLDER/data.npz, pictures as the model wants them: [samples, 3, 48, 192], -1..1.
"""
import os
import sys

import numpy as np
import onnx
from PIL import Image


def main():
    models, folder, samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    model = onnx.load(os.path.join(models, "text_angle.onnx"))
    nodes = []
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            continue
        node.name = f"{node.op_type}_{index}"
        nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    pictures = []
    for label in ("0", "1"):
        names = sorted(os.listdir(os.path.join(models, "text_images", label)))[:samples // 2]
        for name in names:
            picture = Image.open(os.path.join(models, "text_images", label, name)).convert("RGB").resize((192, 48))
            pictures.append((np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5)
    np.savez(os.path.join(folder, "data.npz"), x=np.stack(pictures).astype(np.float32))


if __name__ == "__main__":
    main()
