"""Redraws the figure of docs/xla.md: the second step of a U-Net, without XLA and with it."""

from pathlib import Path

from trainings import train, unet

import labkit
from labkit.plots import timelines

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "xla.png"


def second_step(jit_compile):
    options = {"net": unet, "optimizer": "adam", "pipeline": "train_on_batch", "timeout": 300}
    outcome = labkit.run(train, profile=3, batch_size=64, jit_compile=jit_compile, **options)
    return outcome.timeline.during(2)


def main():
    figure = timelines({"without XLA": second_step(False), "with XLA": second_step(True)})
    FIGURE.write_bytes(figure._repr_png_())


if __name__ == "__main__":
    main()
