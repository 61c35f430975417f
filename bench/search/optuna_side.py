#!/usr/bin/env python3
"""Optuna's samplers on the problems of search_bench, which answers over a pipe.

    optuna_side.py SEARCH_BENCH suite|TABLE_STEM... [--workers 1,8] [--seeds N] [--samplers tpe,...]
    optuna_side.py SEARCH_BENCH ask

Prints the rows that `search_bench suite` prints: median / 75 % true regret of the incumbent at 20, 50, 100 and 200 trials.
"""
import argparse
import json
import subprocess
import time

import numpy as np
import optuna

BUDGETS = (20, 50, 100, 200)


class Oracle:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "oracle"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def suggest(trial, dimensions):
    """The point of search_bench: indices of choices and steps, values of continuous ranges, None where not active."""
    point = []
    for dimension in dimensions:
        active = all(point[d] is not None and point[d] in values for d, values in dimension["conditions"])
        if not active:
            point.append(None)
        elif dimension["choices"]:
            point.append(trial.suggest_categorical(dimension["name"], list(range(dimension["choices"]))))
        elif dimension["step"] and not dimension["log"]:
            value = trial.suggest_float(dimension["name"], dimension["low"], dimension["high"], step=dimension["step"])
            point.append(round((value - dimension["low"]) / dimension["step"]))
        elif dimension["integer"]:
            value = trial.suggest_int(dimension["name"], int(dimension["low"]), int(dimension["high"]), log=True)
            point.append(value - int(dimension["low"]))
        else:
            point.append(trial.suggest_float(dimension["name"], dimension["low"], dimension["high"], log=dimension["log"]))
    return point


def make_sampler(name, seed):
    return {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
    }[name]()


def run(oracle, problem, sampler, seed, workers):
    described = oracle.ask({"open": problem})
    study = optuna.create_study(sampler=make_sampler(sampler, seed))
    waiting, done, seen = [], [], set()
    repeats, spent = 0, 0.0

    def tell():
        trial, point = waiting.pop(0)
        answer = oracle.ask({"measure": point, "seed": seed * 100003 + trial.number})
        if "invalid" in answer or answer["latency"] is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            done.append(None)
            return
        trial.set_constraint("accuracy", answer["drop"] / described["bound"] - 1)
        study.tell(trial, answer["latency"])
        done.append(answer)

    for _ in range(BUDGETS[-1]):
        begin = time.perf_counter()
        trial = study.ask()
        point = suggest(trial, described["dimensions"])
        spent += time.perf_counter() - begin
        repeats += tuple(point) in seen
        seen.add(tuple(point))
        waiting.append((trial, point))
        if len(waiting) >= workers:
            tell()
    while waiting:
        tell()
    regrets = []
    for budget in BUDGETS:
        kept = [a for a in done[:budget] if a and a["drop"] <= described["bound"]]
        best = min(kept, key=lambda a: a["latency"], default=None)
        latency = described["fallback"]
        if best and best["true_drop"] <= described["bound"]:
            latency = min(latency, best["true_latency"])
        regrets.append(100 * (latency / described["optimum"] - 1))
    return regrets, repeats, 1000 * spent / BUDGETS[-1]


def report(oracle, title, problems, options):
    print(f"\n### {title}\n\n| strategy | workers |" + "".join(f" n={n} |" for n in BUDGETS) + " repeats | ms an ask |")
    print("|---|---|" + "---|" * len(BUDGETS) + "---|---|")
    for workers in options.workers:
        for sampler in options.samplers:
            rows = [run(oracle, problem, sampler, 1000 * seed + i, workers) for i, problem in enumerate(problems) for seed in range(options.seeds)]
            table = np.array([row[0] for row in rows])
            cells = "".join(f" {np.median(column):.1f} / {np.quantile(column, 0.75):.1f} |" for column in table.T)
            share = 100 * sum(row[1] for row in rows) / (len(rows) * BUDGETS[-1])
            print(f"| Optuna {optuna.__version__} {sampler} | {workers} |{cells} {share:.1f} % | {np.mean([row[2] for row in rows]):.2f} |", flush=True)


def ask_times():
    print(f"| sampler | objectives | finished trials | ms an ask, median | 90 % |\n|---|---|---|---|---|")

    def parameters(trial):
        values = []
        for i in range(7):
            values.append(trial.suggest_categorical(f"c{i}", list("abcd")))
            values.append(trial.suggest_int(f"i{i}", 1, 32))
            values.append(trial.suggest_float(f"r{i}", 0.001, 1, log=i % 2 == 0))
        return values

    def measure(values, target):
        scaled = [("abcd".index(v) / 3) if isinstance(v, str) else (v - 1) / 31 if isinstance(v, int) else v for v in values]
        return sum((s - target) ** 2 for s in scaled)

    for objectives in (1, 2):
        for finished in (100, 500, 1000):
            study = optuna.create_study(directions=["minimize"] * objectives, sampler=optuna.samplers.RandomSampler(seed=7))
            for _ in range(finished):
                trial = study.ask()
                values = parameters(trial)
                study.tell(trial, [measure(values, t) for t in (0.3, 0.6)[:objectives]])
            study.sampler = optuna.samplers.TPESampler(seed=7)
            times = []
            for _ in range(20):
                begin = time.perf_counter()
                trial = study.ask()
                values = parameters(trial)
                times.append(1000 * (time.perf_counter() - begin))
                study.tell(trial, [measure(values, t) for t in (0.3, 0.6)[:objectives]])
            print(f"| Optuna {optuna.__version__} tpe | {objectives} | {finished} | {np.median(times):.2f} | {np.quantile(times, 0.9):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("what", nargs="+")
    parser.add_argument("--workers", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8])
    parser.add_argument("--samplers", type=lambda text: text.split(","), default=["tpe"])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if options.what == ["ask"]:
        ask_times()
        return
    oracle = Oracle(options.program)
    if options.what == ["suite"]:
        for kind, text in (("a", "additive"), ("i", "with interactions")):
            report(oracle, f"24 problems of mixed precision, {text}, {options.seeds} seeds each", [f"mixed{seed}{kind}" for seed in range(24)], options)
        return
    for stem in options.what:
        report(oracle, stem, [stem], options)


if __name__ == "__main__":
    main()
