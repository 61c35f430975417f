#!/usr/bin/env python3
"""OpenVINO's stateful form of a language model: hone's beside optimum-intel's, made from one checkpoint folder and run
in turns by one process in the plain runtime.

  bench/checkpoints/stateful.py CHECKPOINT [--hone build/release/bin/hone] [--forms int4,int8,f32]

Wants a Python with openvino, optimum-intel and torch. Told is processor time on one thread (the least of a round's
tokens, the median of the rounds, and the ratio's range over them), which other load disturbs least; wall time and
peak memory are those of the making, imports of Python included.
"""
import argparse, os, pathlib, statistics, subprocess, sys, time

# hone's settings, and optimum-intel's for the same: signed codes of 4 bits in groups of 32, 8 bits a row else.
FORMS = {"f32": ("precision=f32", None), "int8": ("precision=int8", {"bits": 8}),
         "int4": ("precision=int4", {"bits": 4, "sym": True, "group_size": 32, "ratio": 1.0})}
EXPORT = """
import sys, warnings
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
source, out, settings = sys.argv[1], sys.argv[2], eval(sys.argv[3])
quantized = {"quantization_config": OVWeightQuantizationConfig(**settings)} if settings else {"load_in_8bit": False}
OVModelForCausalLM.from_pretrained(source, export=True, compile=False, **quantized).save_pretrained(out)
"""


def made(command):
    """Wall seconds and peak memory in MB of a command."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    error = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command[:3])} ... failed:\n{error[-2000:]}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


class Run:
    def __init__(self, folder, settings):
        import numpy, openvino
        self.numpy = numpy
        model = openvino.Core().compile_model(str(folder / "openvino_model.xml"), "CPU",
                                              {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False, **settings})
        self.names = {name for port in model.inputs for name in port.names}
        self.request, self.length = model.create_infer_request(), 0

    def step(self, tokens):
        """Processor milliseconds."""
        n, np = len(tokens), self.numpy
        feed = {"input_ids": np.array([tokens], np.int64), "beam_idx": np.zeros(1, np.int32),
                "attention_mask": np.ones((1, self.length + n), np.int64),
                "position_ids": np.arange(self.length, self.length + n, dtype=np.int64)[None]}
        start = time.process_time()
        out = self.request.infer({name: value for name, value in feed.items() if name in self.names})
        self.length += n
        self.logits = out[0]
        return (time.process_time() - start) * 1e3

    def round(self, prompt, tokens):
        self.request.reset_state()
        self.length = 0
        return self.step(prompt), min(self.step([100 + i]) for i in range(tokens))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoint", type=pathlib.Path)
    arguments.add_argument("--hone", default="build/release/bin/hone")
    arguments.add_argument("--forms", default="int4,int8,f32")
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/stateful"))
    arguments.add_argument("--rounds", type=int, default=7)
    given = arguments.parse_args()
    print(f"{'form':5} {'by':8} {'wall s':>7} {'peak MB':>8} {'MB':>7} {'prompt 128 ms':>14} {'token ms':>9}  ratio")
    for form in given.forms.split(","):
        setting, theirs = FORMS[form]
        folders = {by: given.out / form / by for by in ("hone", "optimum")}
        commands = {"hone": [given.hone, "apply", given.checkpoint, "--pass", f"build_openvino_decoder:{setting}", "-o"],
                    "optimum": [sys.executable, "-c", EXPORT, given.checkpoint]}
        cost = {by: made([*map(str, command), str(folders[by]), *([repr(theirs)] if by == "optimum" else [])])
                for by, command in commands.items()}
        runs = {by: Run(folder, {}) for by, folder in folders.items()}
        rounds = {by: [] for by in runs}
        for number in range(given.rounds):
            for by in sorted(runs, reverse=number % 2 == 1):
                rounds[by].append(runs[by].round(list(range(100, 228)), 24))
        ratios = sorted(a[1] / b[1] for a, b in zip(rounds["hone"], rounds["optimum"]))
        for by, row in rounds.items():
            size = (folders[by] / "openvino_model.bin").stat().st_size / 1e6
            prompt, token = (statistics.median(times) for times in zip(*row))
            told = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})" if by == "hone" else ""
            wall, peak = cost[by]
            print(f"{form:5} {by:8} {wall:7.1f} {peak:8.0f} {size:7.1f} {prompt:14.1f} {token:9.2f}  {told}", flush=True)


if __name__ == "__main__":
    main()
