"""The time of a training step under run() versus the same code in a bare script with the same settings.

Rounds alternate between the two, and the medians of their steady steps are compared, so that a temporary
slowdown of the machine affects both.
"""

import json
import os
import statistics
import subprocess
import sys

from report import Report

import labkit
from labkit.process.launcher import ENVIRONMENT

ROUNDS = 7
STEPS = 60
LIMIT = {"TF_CPU_ALLOCATOR_USE_BFC": "true", "TF_CPU_BFC_MEM_LIMIT_IN_MB": "512"}

DENSE = """
model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(64), keras.layers.Dense(10)])
x = np.random.rand(32, 784).astype("float32")
"""
CONVOLUTIONAL = """
model = keras.Sequential([
    keras.Input((64, 64, 3)), keras.layers.Conv2D(16, 3), keras.layers.Conv2D(32, 3),
    keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10),
])
x = np.random.rand(16, 64, 64, 3).astype("float32")
"""
TRAIN = """
import time
import keras, numpy as np
{model}
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
y = np.zeros(len(x))
seconds = []
for _ in range({steps}):
    start = time.perf_counter()
    model.train_on_batch(x, y)
    seconds.append(time.perf_counter() - start)
"""


def bare(source):
    environ = {**os.environ, **ENVIRONMENT, **LIMIT}
    code = source + "\nimport json\nprint(json.dumps(seconds))"
    shown = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True)
    return statistics.median(json.loads(shown.stdout)[5:])


def under_run(source):
    outcome = labkit.run(source + "\nseconds", memory_limit="512 MiB")
    return statistics.median(outcome.result[5:])


def main():
    report = Report("step_time")
    for name, model in {"dense": DENSE, "convolutional": CONVOLUTIONAL}.items():
        source = TRAIN.format(model=model, steps=STEPS)
        rounds = [(bare(source), under_run(source)) for _ in range(ROUNDS)]
        ratios = [labs / alone for alone, labs in rounds]
        alone, labs = (statistics.median(column) for column in zip(*rounds, strict=True))
        report(f"{name}: bare {1000 * alone:.2f} ms, under run() {1000 * labs:.2f} ms a step")
        report(f"  ratios {' '.join(f'{r:.3f}' for r in ratios)}; median {statistics.median(ratios):.3f}")
    report("target: at most 1.05")
    report.save()


if __name__ == "__main__":
    main()
