"""What estimate() predicts from the trials that an H200 recorded: python benchmarks/gpu/estimates.py [GPU]

It needs no GPU: the timelines of some trials are in tests/h200. GPU is a folder of profiles, as steps.py
records them: then they are predicted as well. Predicted from batches of 8 and 16 for one of 64: without
autotuning, beside the peak of later steps; and with it, beside the peak of all.
"""

import argparse
import datetime
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT)]
from report import RESULTS, Report  # noqa: E402

import labkit  # noqa: E402
from labkit import format_size  # noqa: E402
from labkit.predict.prediction import Estimate  # noqa: E402
from labkit.record.timeline import Timeline  # noqa: E402

NETS = {
    "convolutional-False": "convolutional, without XLA",
    "convolutional-auto": "convolutional, XLA",
    "dense-auto": "dense, XLA",
    "lstm-auto": "LSTM (cuDNN, no XLA)",
    "transformer-False": "transformer, without XLA",
    "transformer-auto": "transformer, XLA",
    "resnet50-False": "ResNet-50, without XLA",
}


def saved(case):
    """The Timeline of a trial in tests/h200."""
    return Timeline.load(ROOT / "tests" / "h200" / f"{case}.timeline")


def estimate(timelines):
    """The Estimate from {batch: Timeline}."""
    trials = []
    for batch, timeline in timelines.items():
        facts = {"device": "gpu", "peak_bytes": timeline.peak_bytes, "wall_seconds": 0}
        trials.append(({"batch_size": batch}, SimpleNamespace(timeline=timeline, **facts)))
    return Estimate("batch_size", tuple(timelines), trials)


def table(nets, timeline_of):
    """Lines: for each net what is predicted at 64, and what its trial there took."""
    yield f"{'':27}{'predicted':>11}{'measured':>11}{'off':>9}{'interval with it':>24}{'measured':>11}"
    remarks = []
    for net in nets:
        found = estimate({batch: timeline_of(f"{net}-{batch}") for batch in (8, 16)})
        real = timeline_of(f"{net}-64")
        later = int(real.total()[real.steps[0] :].max())
        predicted, (low, high) = found.peak_bytes(64, autotuning=False), found.interval(64)
        off = 100 * (predicted / later - 1)
        sizes = f"{format_size(predicted):>11}{format_size(later):>11}{off:>+7.1f} %"
        interval = f"{format_size(low)} to {format_size(high)}"
        missed = "" if low <= real.peak_bytes <= high else "  missed"
        yield f"{NETS[net]:27}{sizes}{interval:>24}{format_size(real.peak_bytes):>11}{missed}"
        if abs(off) > 1:
            remarks += [f"{NETS[net]}, what was measured: {note}" for note in real.tries()]
    yield from remarks


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gpu", type=Path, nargs="?")
    options = parser.parse_args()
    report = Report("nvidia-h200-estimates", RESULTS / "gpu")
    report("at batch 64: without autotuning, beside later steps; with it, beside the whole training")
    report("")
    report("trials of 2026-11-26, but of 2026-11-27 the transformer and the LSTM at 64 (tests/h200)")
    for line in table([net for net in NETS if net != "resnet50-False"], saved):
        report(line)
    if options.gpu:
        began = labkit.read_profile(options.gpu / "lstm-auto-64").record.began
        report("")
        report(f"trials of {datetime.datetime.fromtimestamp(began, datetime.timezone.utc).date()}")
        for line in table(NETS, lambda case: labkit.read_profile(options.gpu / case)):
            report(line)
    report("")
    report(
        "dense: the peak without what is tried out, which is predicted, is in the first step, in which the"
    )
    report(
        "optimizer's slots are replaced; the stand-in's first step takes 39.5 MiB too (nvidia-h200-steps.txt)"
    )
    report.save()


if __name__ == "__main__":
    main()
