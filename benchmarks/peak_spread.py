"""How much the peak of the same trial varies from run to run, and under which settings it varies least.

Each cell: by how many percent the largest peak of several runs exceeds the smallest.
"""

from report import Report

import labkit
from labkit.process import launcher
from labkit.trials.trial import _launcher

RUNS = 6
ONE_THREAD = {"TF_NUM_INTEROP_THREADS": "1"}
FIXED_ORDER = {"TF_DETERMINISTIC_ORDER": "1", "PYTHONHASHSEED": "0"}
LARGE_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "65536"}
SETTINGS = {
    "TensorFlow's own": {},
    "one inter-op thread": ONE_THREAD,
    "fixed order": FIXED_ORDER,
    "both": ONE_THREAD | FIXED_ORDER,
    "large blocks separate": LARGE_BLOCKS,
    "all three (labkit's)": ONE_THREAD | FIXED_ORDER | LARGE_BLOCKS,
}


def train(net, how):
    import keras
    import numpy as np

    layers = keras.layers
    nets = {
        "dense": [keras.Input((784,)), layers.Dense(512, activation="relu"), layers.Dense(10)],
        "convolutional": [
            keras.Input((32, 32, 3)), layers.Conv2D(16, 3), layers.BatchNormalization(),
            layers.Conv2D(32, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(10),
        ],
        "LSTM": [
            keras.Input((30, 8)), layers.LSTM(32, return_sequences=True), layers.LSTM(32), layers.Dense(10),
        ],
    }  # fmt: skip
    model = keras.Sequential(nets[net])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.zeros((256, *model.input_shape[1:]), "float32"), np.zeros(256)
    if how == "fit":
        model.fit(x, y, batch_size=32, verbose=0)
    else:
        for _ in range(8):
            model.train_on_batch(x[:32], y[:32])


def spread(net, how):
    peaks = [labkit.run(train, net=net, how=how).peak_bytes for _ in range(RUNS)]
    return 100 * (max(peaks) / min(peaks) - 1)


def main():
    report = Report("peak_spread")
    cases = [(net, how) for net in ("dense", "convolutional", "LSTM") for how in ("train_on_batch", "fit")]
    report(f"{'':22}" + "".join(f"{net + ' ' + how:>30}" for net, how in cases))
    usual = dict(launcher.ENVIRONMENT)
    for name, settings in SETTINGS.items():
        for key in ONE_THREAD | FIXED_ORDER | LARGE_BLOCKS:
            launcher.ENVIRONMENT.pop(key, None)
        launcher.ENVIRONMENT.update(settings)
        _launcher.close()
        row = [spread(net, how) for net, how in cases]
        report(f"{name:22}" + "".join(f"{percent:>28.2f} %" for percent in row))
    launcher.ENVIRONMENT.update(usual)
    report(f"by how many percent the largest of {RUNS} peaks exceeds the smallest")
    report.save()


if __name__ == "__main__":
    main()
