"""Redraws the README's figure: a ResNet-50 that runs out of memory in its second step."""

from pathlib import Path

import labkit

FIGURE = Path(__file__).parent.parent / "notebooks" / "images" / "resnet50.png"


def train(batch_size):
    import keras
    import numpy as np

    model = keras.applications.ResNet50(weights=None, input_shape=(96, 96, 3), classes=10)
    model.compile("adam", "sparse_categorical_crossentropy")
    for _ in range(2):
        model.train_on_batch(np.zeros((batch_size, 96, 96, 3), "float32"), np.zeros(batch_size))


def main():
    outcome = labkit.run(train, memory_limit="600 MiB", timeout=300, profile=True, batch_size=16)
    print(outcome)
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_bytes(outcome.timeline.plot(title="ResNet-50, batch 16")._repr_png_())


if __name__ == "__main__":
    main()
