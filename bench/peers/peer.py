"""One peer quantizes one model, in a process of its own: what bench/peers/run.py times.

    peer.py WORK MODEL DATA SAMPLES OUT      OUT is a folder; the artifact becomes OUT/model.onnx or OUT/model.xml

Writes OUT/scratch/times.json: the seconds that imports took, and the seconds of the work itself (reading the model to writing the
artifact).
Every peer gets the same samples of the same .npz, one at a time, as its documentation shows it.
"""
import json
import os
import sys
import time

START = time.perf_counter()


class Feeds:
    """The first `count` samples as dictionaries of arrays with a batch of one. Opened where the work begins."""

    def __init__(self, path, count):
        import numpy as np
        with np.load(path) as arrays:
            self.arrays = {name: arrays[name][:count] for name in arrays.files if name != "labels"}
        self.count = min(count, *(len(values) for values in self.arrays.values()))

    def __getitem__(self, index):
        return {name: values[index:index + 1] for name, values in self.arrays.items()}

    def __iter__(self):
        return (self[index] for index in range(self.count))


# --- ONNX Runtime --------------------------------------------------------------------------------------------------------------------


def import_ort_quantization():
    import onnxruntime.quantization  # noqa: F401
    import onnxruntime.quantization.matmul_nbits_quantizer  # noqa: F401
    import onnxruntime.quantization.shape_inference  # noqa: F401


def reader_of(feeds):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # No generator inside: some of its users copy it.
        def __init__(self):
            self.next = 0

        def get_next(self):
            self.next += 1
            return feeds[self.next - 1] if self.next <= feeds.count else None

        def rewind(self):
            self.next = 0

    return Reader()


def ort_static(job, method, **options):
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    for key in ("activation_type", "weight_type"):
        if key in options:
            options[key] = getattr(QuantType, options[key])
    model = job.model
    if options.pop("preprocess", False):
        from onnxruntime.quantization.shape_inference import quant_pre_process
        model = os.path.join(job.scratch, "preprocessed.onnx")
        quant_pre_process(job.model, model, skip_symbolic_shape=True)  # It fails on shapes that the graph computes.
    quantize_static(model, job.onnx, reader_of(job.feeds), calibrate_method=getattr(CalibrationMethod, method), **options)


def ort_dynamic(job, **options):
    from onnxruntime.quantization import quantize_dynamic
    quantize_dynamic(job.model, job.onnx, **options)


def ort_4bit(job, algorithm=None, block_size=128):
    import onnx
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits
    config = None
    if algorithm == "GPTQ":
        config = nbits.GPTQWeightOnlyQuantConfig(calibration_data_reader=reader_of(job.feeds), block_size=block_size)
    elif algorithm:
        config = getattr(nbits, algorithm + "WeightOnlyQuantConfig")()
    external = os.path.getsize(job.model) < 1 << 20
    quantizer = nbits.MatMulNBitsQuantizer(onnx.load(job.model), block_size=block_size, algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(job.onnx, use_external_data_format=external)


# --- NNCF ----------------------------------------------------------------------------------------------------------------------------


def import_nncf_openvino():
    import nncf
    import openvino
    # NNCF reads a backend where it is first asked for.
    import nncf.openvino  # noqa: F401
    return nncf, openvino


def import_nncf_onnx():
    import nncf
    import nncf.onnx  # noqa: F401
    import onnx
    return nncf, onnx


def nncf_quantize(job, frontend, transformer=False, **options):
    import nncf
    if transformer:
        options["model_type"] = nncf.ModelType.TRANSFORMER
    if "preset" in options:
        options["preset"] = getattr(nncf.QuantizationPreset, options["preset"])
    model = job.read(frontend)
    quantized = nncf.quantize(model, nncf.Dataset(job.feeds), subset_size=job.feeds.count, **options)
    job.write(frontend, quantized)


def nncf_compress(job, frontend, mode, data=False, **options):
    import nncf
    if data:
        options["dataset"] = nncf.Dataset(job.feeds)
    # Widths that the group size does not divide would be refused.
    if mode != "INT8_ASYM":
        options.setdefault("group_size", 128)
    model = job.read(frontend)
    compressed = nncf.compress_weights(model, mode=getattr(nncf.CompressWeightsMode, mode), **options)
    job.write(frontend, compressed)


# What can be asked for: imports, function, its options. The names are the rows of the table.
WORKS = {
    "ort-static-minmax": (import_ort_quantization, ort_static, dict(method="MinMax")),
    "ort-static-minmax-u8-perchannel": (import_ort_quantization, ort_static,
                                        dict(method="MinMax", activation_type="QUInt8", weight_type="QInt8", per_channel=True, preprocess=True)),
    "ort-static-percentile": (import_ort_quantization, ort_static, dict(method="Percentile")),
    "ort-static-entropy": (import_ort_quantization, ort_static, dict(method="Entropy")),
    "ort-dynamic": (import_ort_quantization, ort_dynamic, dict()),
    "ort-dynamic-perchannel": (import_ort_quantization, ort_dynamic, dict(per_channel=True)),
    "ort-4bit": (import_ort_quantization, ort_4bit, dict(block_size=128)),
    "ort-4bit-g32": (import_ort_quantization, ort_4bit, dict(block_size=32)),
    # These three go wrong where a column has an odd number of blocks, as 384 / 128 is.
    "ort-4bit-g32-rtn": (import_ort_quantization, ort_4bit, dict(algorithm="RTN", block_size=32)),
    "ort-4bit-g32-kquant": (import_ort_quantization, ort_4bit, dict(algorithm="KQuant", block_size=32)),
    "ort-4bit-g32-gptq": (import_ort_quantization, ort_4bit, dict(algorithm="GPTQ", block_size=32)),
    "nncf-ov-int8": (import_nncf_openvino, nncf_quantize, dict(frontend="openvino")),
    "nncf-ov-int8-transformer": (import_nncf_openvino, nncf_quantize, dict(frontend="openvino", transformer=True)),
    "nncf-onnx-int8": (import_nncf_onnx, nncf_quantize, dict(frontend="onnx")),
    "nncf-onnx-int8-transformer": (import_nncf_onnx, nncf_quantize, dict(frontend="onnx", transformer=True)),
    "nncf-ov-w8": (import_nncf_openvino, nncf_compress, dict(frontend="openvino", mode="INT8_ASYM")),
    "nncf-ov-w4": (import_nncf_openvino, nncf_compress, dict(frontend="openvino", mode="INT4_ASYM")),
    "nncf-ov-w4-g32": (import_nncf_openvino, nncf_compress, dict(frontend="openvino", mode="INT4_ASYM", group_size=32)),
    "nncf-ov-w4-awq": (import_nncf_openvino, nncf_compress, dict(frontend="openvino", mode="INT4_ASYM", data=True, awq=True)),
    "nncf-ov-w4-gptq": (import_nncf_openvino, nncf_compress, dict(frontend="openvino", mode="INT4_ASYM", data=True, gptq=True)),
    "nncf-ov-w4-scale": (import_nncf_openvino, nncf_compress, dict(frontend="openvino", mode="INT4_ASYM", data=True, scale_estimation=True)),
    "nncf-onnx-w4": (import_nncf_onnx, nncf_compress, dict(frontend="onnx", mode="INT4_ASYM")),
}


class Job:
    def __init__(self, model, data, samples, out):
        self.model, self.out, self.onnx = model, out, os.path.join(out, "model.onnx")
        self.scratch = os.path.join(out, "scratch")
        os.makedirs(self.scratch, exist_ok=True)
        self._data, self._samples, self._feeds = data, samples, None

    @property
    def feeds(self):
        if self._feeds is None:
            self._feeds = Feeds(self._data, self._samples)
        return self._feeds

    def read(self, frontend):
        if frontend == "onnx":
            import onnx
            return onnx.load(self.model)
        import openvino
        return openvino.Core().read_model(self.model)

    def write(self, frontend, model):
        if frontend == "onnx":
            import onnx
            onnx.save(model, self.onnx)
        else:
            import openvino
            openvino.save_model(model, os.path.join(self.out, "model.xml"))


def main():
    work, model, data, samples, out = sys.argv[1:]
    imports, function, options = WORKS[work]
    imports()
    imported = time.perf_counter()
    job = Job(model, data, int(samples), out)
    function(job, **options)
    done = time.perf_counter()
    with open(os.path.join(job.scratch, "times.json"), "w") as times:
        json.dump({"imports_s": imported - START, "work_s": done - imported}, times)


if __name__ == "__main__":
    main()
