"""Makes the picture of docs/xla.md anew: the second step of a U-Net, without XLA and with it."""

from pathlib import Path

from trainings import train, unet

import labkit
from labkit.plots import timelines

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "xla.png"


def second_step(jit_compile):
    options = {"net": unet, "optimizer": "adam", "feed": "train_on_batch", "timeout": 300}
    outcome = labkit.run(train, profile=3, batch_size=64, jit_compile=jit_compile, **options)
    return outcome.timeline.during(2)


def main():
    picture = timelines({"without XLA": second_step(False), "with XLA": second_step(True)})
    PICTURE.write_bytes(picture._repr_png_())


if __name__ == "__main__":
    main()
