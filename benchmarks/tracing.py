"""What tracing costs: the time of a step with and without it, in one run; and the time to read the record.

Steps are timed in rounds that alternate between the two.
"""

import statistics
import time

from report import Report

import labkit

ROUNDS = 5


def dense(batch_size, steps):
    import keras
    import numpy as np

    layers = keras.layers
    model = keras.Sequential([keras.Input((784,)), layers.Dense(512, activation="relu"), layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(steps):
        model.train_on_batch(np.zeros((batch_size, 784), "float32"), np.zeros(batch_size))


def convolutional(batch_size, steps):
    import keras
    import numpy as np

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            layers.Conv2D(16, 3),
            layers.BatchNormalization(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(steps):
        model.train_on_batch(np.zeros((batch_size, 64, 64, 3), "float32"), np.zeros(batch_size))


def lstm(batch_size, steps, units):
    import keras
    import numpy as np

    layers = keras.layers
    model = keras.Sequential([keras.Input((100, 8)), layers.LSTM(units), layers.Dense(1)])
    model.compile("adam", "mse")
    for _ in range(steps):
        model.train_on_batch(np.zeros((batch_size, 100, 8), "float32"), np.zeros((batch_size, 1)))


CASES = [
    (dense, {"batch_size": 64, "steps": 40}),
    (convolutional, {"batch_size": 16, "steps": 20}),
    (lstm, {"batch_size": 32, "steps": 10, "units": 64}),
    (lstm, {"batch_size": 256, "steps": 10, "units": 128}),
]


def read_seconds(folder):
    """(seconds to read a saved profile, number of its events), in a trial, where TensorFlow is."""
    code = """
import glob, time
from labkit.record.profile import read
[path] = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
start = time.perf_counter()
record = read(path)
time.perf_counter() - start, record.events
"""
    return labkit.run(code, folder=folder).result


def median_step(train, profile, **params):
    outcome = labkit.run(train, profile=profile, **params)
    assert outcome.ok, outcome
    return statistics.median(outcome.step_seconds[3:])


def main():
    import tempfile

    report = Report("tracing")
    for train, params in CASES:
        ratios = []
        for _ in range(ROUNDS):
            without = median_step(train, False, **params)
            ratios.append(median_step(train, True, **params) / without)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            outcome = labkit.run(train, profile=folder, **params)
            whole = time.perf_counter() - start
            seconds, events = read_seconds(folder)
            start = time.perf_counter()
            outcome.timeline.by_category()
            summed = time.perf_counter() - start
        named = ", ".join(f"{name} {value}" for name, value in params.items())
        report(f"{train.__name__}, {named}: step {1000 * without:.2f} ms without tracing")
        report(
            f"  with / without {' '.join(f'{r:.2f}' for r in ratios)}; median {statistics.median(ratios):.2f}"
        )
        report(
            f"  {params['steps']} steps make {events} events, read in {seconds:.2f} s, "
            f"peak by category in {summed:.3f} s; the trial took {whole:.1f} s in all"
        )
    report("target: a ratio of at most 1.25; a record read in less than a second")
    report.save()


if __name__ == "__main__":
    main()
