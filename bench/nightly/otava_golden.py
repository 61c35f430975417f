#!/usr/bin/env python3
"""Writes the change points that Apache Otava finds in some series: tests/data/golden_otava_0_8_0.json.

    python3 -m venv v && v/bin/pip install apache-otava==0.8.0
    v/bin/pip download apache-otava==0.8.0 --no-deps --no-binary :all: && tar xf apache_otava-0.8.0.tar.gz
    v/bin/python bench/nightly/otava_golden.py apache_otava-0.8.0 > tests/data/golden_otava_0_8_0.json

The series: those of Otava's own tests and examples, read from its sources, and 20 drawn from seeds (steps, drifts, spikes, whole numbers with
ties). Each is analysed with the default settings, and with those that Otava's own tests use.
"""
import ast
import csv
import json
import pathlib
import random
import sys

from otava.analysis import compute_change_points

SETTINGS = [{"window": 50, "max_p": 0.001, "min_magnitude": 0.0}, {"window": 30, "max_p": 0.01, "min_magnitude": 0.05},
            {"window": 30, "max_p": 0.1, "min_magnitude": 0.05}]
EDGES = {"constant": [4.0] * 30, "zeros_then_ones": [0.0] * 10 + [1.0] * 10, "two_values": [1.0, 2.0], "one_value": [1.0], "empty": []}


def numbers_in(path):
    """Every list of more than 8 plain numbers in a Python file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.List) or len(node.elts) <= 8:
            continue
        try:
            values = ast.literal_eval(node)
        except ValueError:
            continue
        if all(isinstance(value, (int, float)) for value in values):
            yield f"{path.stem}:{node.lineno}", [float(value) for value in values]


def own(source):
    for name in ("analysis_test", "change_point_divisive_test", "series_test", "tigerbeetle_test"):
        yield from numbers_in(source / "tests" / f"{name}.py")
    rows = list(csv.DictReader((source / "examples/csv/data/local_sample.csv").open()))
    for column in ("metric1", "metric2"):
        yield f"local_sample:{column}", [float(row[column]) for row in rows]


def noise(rng, kind, at, length):
    level = 100.0 * (1 + 0.05 * sum(at >= step for step in (length // 3, 2 * length // 3)))
    if kind == "steps":
        return level + rng.gauss(0, 1)
    if kind == "drift":
        return 100 + 0.02 * at + rng.gauss(0, 1)
    if kind == "spikes":
        return level + rng.gauss(0, 1) + (20 if rng.random() < 0.03 else 0)
    return float(round(level / 5 + rng.gauss(0, 1)))


def seeded():
    kinds = ["steps", "drift", "spikes", "ties"]
    for seed in range(20):
        rng = random.Random(seed)
        length = rng.choice([40, 75, 120, 300, 500])
        kind = kinds[seed % len(kinds)]
        yield f"{kind}:{seed}", [round(noise(rng, kind, at, length), 6) for at in range(length)]


def main():
    rows = []
    for name, values in list(own(pathlib.Path(sys.argv[1]))) + list(EDGES.items()) + list(seeded()):
        for settings in SETTINGS:
            found, _ = compute_change_points(list(values), settings["window"], settings["max_p"], settings["min_magnitude"])
            rows.append({"name": name, **settings, "values": values,
                         "change_points": [int(point.index) for point in found]})
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


if __name__ == "__main__":
    main()
