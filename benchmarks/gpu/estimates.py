"""What estimate() predicts from the trials that an H200 recorded: python benchmarks/gpu/estimates.py

It needs no GPU: the timelines of the trials are in tests/h200. Predicted from batches of 8 and 16 for one of
64: without autotuning, beside the peak of later steps; and with it, beside the peak of all.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT)]
from report import RESULTS, Report  # noqa: E402

from labkit import format_size  # noqa: E402
from labkit.predict.prediction import Estimate  # noqa: E402
from labkit.record.timeline import Timeline  # noqa: E402

NETS = {
    "convolutional-False": "convolutional, without XLA",
    "convolutional-auto": "convolutional, XLA",
    "dense-auto": "dense, XLA",
}


def recorded(net, batch):
    return Timeline.load(ROOT / "tests" / "h200" / f"{net}-{batch}.timeline")


def estimate(net):
    trials = []
    for batch in (8, 16):
        timeline = recorded(net, batch)
        facts = {"device": "gpu", "peak_bytes": timeline.peak_bytes, "wall_seconds": 0}
        trials.append(({"batch_size": batch}, SimpleNamespace(timeline=timeline, **facts)))
    return Estimate("batch_size", (8, 16), trials)


def main():
    report = Report("nvidia-h200-estimates", RESULTS / "gpu")
    report("at batch 64: without autotuning, beside later steps; with it, beside the whole training")
    report("")
    report(f"{'':28}{'predicted':>11}{'measured':>11}{'off':>9}{'interval with it':>24}{'measured':>11}")
    for net, name in NETS.items():
        found, real = estimate(net), recorded(net, 64)
        later = int(real.total()[real.steps[0] :].max())
        predicted = found.peak_bytes(64, autotuning=False)
        off = 100 * (predicted / later - 1)
        interval = " to ".join(map(format_size, found.interval(64)))
        sizes = f"{format_size(predicted):>11}{format_size(later):>11}{off:>+7.1f} %"
        report(f"{name:28}{sizes}{interval:>24}{format_size(real.peak_bytes):>11}")
    report("")
    report("dense: the first step, in which the optimizer's slots are replaced, is predicted; the stand-in's")
    report("first step takes 39.5 MiB too (nvidia-h200-steps.txt), a later one 32.4")
    report.save()


if __name__ == "__main__":
    main()
