"""What people published of their GPUs, and what estimate() predicts on the stand-in for the same training.

    .venv/bin/python benchmarks/published.py

Nothing of the published size is run: each prediction is from two or three small trials. Where the source does
not tell how much of its memory the GPU's allocator had, only the peak is predicted.
docs/how-far-to-trust.md has the sources.
"""

from report import Report

import labkit

AT = (2, 4)  # small: a trial takes 3 GiB at most
CASES = [  # source, network, images, optimizer, what was published, batch sizes to predict
    ("tensorflow#53608", "ResNet50", (240, 320, 3), "adam", "RTX 3080 10 GB: at most 48", (48,)),
    ("tensorflow#13591", "ResNet101", (224, 224, 3), "sgd", "GTX 1080 8 GB: 61, not 62", (61, 62)),
    ("tensorflow/docs", "ResNet152", (224, 224, 3), "sgd", "K80 12 GB, P100 16 GB: 32, 64 ran", (32, 64)),
    ("tensorflow/docs", "VGG16", (224, 224, 3), "sgd", "K80 12 GB, P100 16 GB: 32, 64 ran", (32, 64)),
    ("efficientnet#64", "InceptionV3", (299, 299, 3), "adam", "RTX 2080 11 GB: at most 64", (64, 128)),
    ("efficientnet#64", "EfficientNetB4", (380, 380, 3), "adam", "RTX 2080 11 GB: at most 8", (8, 16)),
]
LIMITS = {"tensorflow#53608": ("7.4 GiB", "8.2 GiB")}


def train(batch_size, network, shape, optimizer):
    import keras
    import numpy as np

    model = getattr(keras.applications, network)(weights=None, input_shape=shape)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    for _ in range(3):
        model.train_on_batch(np.zeros((batch_size, *shape), "float32"), np.zeros(batch_size))


def main():
    report = Report("published")
    for source, network, shape, optimizer, published, sizes in CASES:
        estimate = labkit.estimate(
            train, at=AT, timeout=900, network=network, shape=shape, optimizer=optimizer
        )
        report(f"{network} {shape[0]} x {shape[1]}, {optimizer} ({source}). {published}")
        for size in sizes:
            low, high = (labkit.format_size(bound) for bound in estimate.interval(size))
            report(f"  batch {size}: {labkit.format_size(estimate.peak_bytes(size))} ({low} to {high})")
        for limit in LIMITS.get(source, ()):
            report(f"  largest under {limit}: {estimate.largest(labkit.parse_size(limit))}")
        for note in estimate.notes:
            report(f"  {note}")
        report.save()


if __name__ == "__main__":
    main()
