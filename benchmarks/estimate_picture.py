"""Redraws the figure of docs/how-estimate-works.md: an estimate, and the trials that were run after it."""

from pathlib import Path

from trainings import train, unet

import labkit
from labkit.show.sweeps import prediction

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "estimate.png"
LIMIT = "256 MiB"


def main():
    options = {"net": unet, "optimizer": "adam", "pipeline": "train_on_batch"}
    found = labkit.estimate(train, **options)
    largest = found.largest(LIMIT)
    values = [round(largest * share) for share in (0.25, 0.5, 0.75, 1, 1.2)]
    tried = [(v, labkit.run(train, memory_limit=LIMIT, timeout=300, batch_size=v, **options)) for v in values]
    print(found, *(f"{value}: {outcome.headline}" for value, outcome in tried), sep="\n")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    FIGURE.write_bytes(prediction(found, labkit.parse_size(LIMIT), "U-Net", tried)._repr_png_())


if __name__ == "__main__":
    main()
