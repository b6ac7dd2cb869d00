"""How fast steps are on a GPU without autotuning, and with 16-bit floats. Nothing else may run meanwhile.

    python benchmarks/gpu/step_time.py [--out FOLDER]

Every line is a training of trials.py, its samples per second by the median time from step to step,
and their ratio to the first line of its group, of the same run on the same GPU.
"""

import argparse
import os
import re
import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from guard import said  # noqa: E402
from report import RESULTS, Report  # noqa: E402
from trials import train  # noqa: E402

import labkit  # noqa: E402

NETS = {
    "convolutional, 1024 images": {"net": "convolutional", "batch_size": 1024, "steps": 60},
    "ResNet-50, 256 images": {"net": "resnet50", "batch_size": 256, "steps": 30},
    "LSTM, 1024 sequences": {"net": "lstm", "batch_size": 1024, "steps": 60},
}
VARIANTS = {
    "as it is": {"jit_compile": False},
    "without autotuning": {"jit_compile": False},
    "mixed_float16": {"jit_compile": False, "policy": "mixed_float16"},
    "mixed_bfloat16": {"jit_compile": False, "policy": "mixed_bfloat16"},
    "XLA": {"jit_compile": "auto"},
    "XLA, without autotuning": {"jit_compile": "auto"},
}
SLOW = ("ResNet-50, 256 images", "XLA")  # compiled for minutes


def measure(net, variant, seconds):
    """(samples per second or None, what happened in one line)."""
    os.environ["LABKIT_AUTOTUNING"] = "off" if "without" in variant else "on"
    outcome = labkit.run(train, **NETS[net], **VARIANTS[variant], timeout=seconds)
    return outcome.samples_per_second if outcome.ok else None, said(outcome)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for one trial; default 60")
    parser.add_argument("--out", default=RESULTS / "gpu", help="folder for the report")
    options = parser.parse_args()
    name = re.sub(r"\W+", "-", labkit.device().name.lower())
    report = Report(f"{name}-step-time", options.out)
    rates = {}  # of the first variant of each
    for net in NETS:
        for variant in VARIANTS:
            if (net, variant.partition(",")[0]) == SLOW:
                continue
            rate, text = measure(net, variant, options.seconds)
            base = rates.setdefault(net, rate)
            ratio = f"{rate:10,.0f} samples/s" if rate else ""
            ratio += f"  x {rate / base:.2f}" if rate and base else ""
            report(f"{net:28}{variant:26}{ratio:32}{text}")
            report.save()


if __name__ == "__main__":
    main()
