"""What a training step keeps, with XLA and without: activation functions, loops, and mixed precision.

"tensors per layer": the highest total of activations, in units of one layer's output, divided by the
number of layers.
"""

from report import Report
from trainings import deep_dense, train, transformer, unet, vgg

import labkit

WIDTH, DEPTH, ROWS = 256, 6, 2048
FUNCTIONS = ("relu", "silu", "gelu", "tanh")
LENGTH, UNITS = 400, 64
BATCHES = (1, 8, 64)


def dense(activation, jit_compile):
    import keras
    import numpy as np

    hidden = [keras.layers.Dense(WIDTH, activation=activation) for _ in range(DEPTH)]
    model = keras.Sequential([keras.Input((WIDTH,)), *hidden, keras.layers.Dense(10)])
    model.compile("adam", "mse", jit_compile=jit_compile)
    for _ in range(2):
        model.train_on_batch(np.ones((ROWS, WIDTH), "float32"), np.zeros((ROWS, 10), "float32"))


def recurrent(cell, batch_size, jit_compile):
    import keras
    import numpy as np

    layers = [keras.Input((LENGTH, 8)), getattr(keras.layers, cell)(UNITS), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse", jit_compile=jit_compile)
    for _ in range(2):
        model.train_on_batch(np.ones((batch_size, LENGTH, 8), "float32"), np.zeros((batch_size, 1)))


def both(train, **options):
    return [labkit.run(train, profile=True, jit_compile=jit, timeout=300, **options) for jit in (False, True)]


def main():
    report = Report("xla_kept")
    report(f"{f'{DEPTH} dense layers of {WIDTH}, batch {ROWS}':40}{'tensors per layer':>24}{'peak':>24}")
    report(f"{'':40}{'without':>12}{'XLA':>12}{'without':>12}{'XLA':>12}")
    for function in FUNCTIONS:
        outcomes = both(dense, activation=function)
        highest = [o.timeline.during(2).curves()["activations"].max() for o in outcomes]
        kept = [size / (4 * WIDTH * ROWS * DEPTH) for size in highest]
        peaks = [labkit.format_size(o.peak_bytes) for o in outcomes]
        report(f"{function:40}{kept[0]:>12.2f}{kept[1]:>12.2f}{peaks[0]:>12}{peaks[1]:>12}")
    report("")
    report(f"{f'{LENGTH} time steps, {UNITS} units':40}{'peak':>24}{'largest tensor with XLA':>34}")
    report(f"{'':40}{'without':>12}{'XLA':>12}")
    for cell in ("SimpleRNN", "GRU", "LSTM"):
        for batch_size in BATCHES:
            outcomes = both(recurrent, cell=cell, batch_size=batch_size)
            peaks = [labkit.format_size(o.peak_bytes) for o in outcomes]
            rows = (row for row in outcomes[1].timeline.at_peak() if row.shape)
            row = next(rows)
            largest = f"{row.shape} {labkit.format_size(row.bytes)}"
            report(f"{f'{cell}, batch {batch_size}':40}{peaks[0]:>12}{peaks[1]:>12}{largest:>34}")
    report("")
    report(f"{'adam, batch 256':40}{'peak, float32':>24}{'peak, mixed_float16':>24}")
    report(f"{'':40}{'without':>12}{'XLA':>12}{'without':>12}{'XLA':>12}")
    for net in (deep_dense, vgg, unet, transformer):
        options = {"batch_size": 256, "net": net, "optimizer": "adam", "pipeline": "train_on_batch"}
        policies = ("float32", "mixed_float16")
        outcomes = [o for policy in policies for o in both(train, policy=policy, **options)]
        report(f"{net.__name__:40}" + "".join(f"{labkit.format_size(o.peak_bytes):>12}" for o in outcomes))
    report.save()


if __name__ == "__main__":
    main()
