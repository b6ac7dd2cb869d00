"""What the first step on a GPU needs: with less memory, and with what it tries out switched off.

    python benchmarks/gpu/first_step.py [--seconds 120] [--out FOLDER]

Each training of trials.py has a measured peak of its first step and of later ones. Then it runs again under
limits between the two, and without a limit but with a switch. A limit at which it trains is enough, whatever
the first step takes where there is more.
"""

import argparse
import multiprocessing
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from guard import said  # noqa: E402
from report import RESULTS, Report  # noqa: E402
from steps import of_steps  # noqa: E402
from trials import train  # noqa: E402

import labkit  # noqa: E402
from labkit import format_size  # noqa: E402

NETS = {
    "convolutional, without XLA": {"net": "convolutional", "batch_size": 64, "jit_compile": False},
    "convolutional, XLA": {"net": "convolutional", "batch_size": 64},
    "dense, XLA": {"net": "dense", "batch_size": 64},
    "ResNet-50, without XLA": {"net": "resnet50", "batch_size": 16, "jit_compile": False},
    "ResNet-50, XLA": {"net": "resnet50", "batch_size": 16},
}
SWITCHES = {
    "as it is": {},
    "TF_CUDNN_USE_AUTOTUNE=0": {"TF_CUDNN_USE_AUTOTUNE": "0"},
    "xla_gpu_autotune_level=0": {"XLA_FLAGS": "--xla_gpu_autotune_level=0"},
    "LABKIT_AUTOTUNING=off, which sets both": {"LABKIT_AUTOTUNING": "off"},
}
LIMITS = (1.1, 1.5, 2)  # of the peak of later steps


def peaks(name, environ, seconds):
    """(text, peak of later steps or None) of one training without a limit, in a launcher of its own."""
    os.environ |= {"LABKIT_TURNS": "off", **environ}
    outcome = labkit.run(train, **NETS[name], profile=True, timeout=seconds)
    timeline = outcome.timeline
    if not outcome.ok or timeline is None:
        return said(outcome), None
    first, later = of_steps(timeline)
    text = f"step 1 {format_size(first):>9}, later {format_size(later):>9}, {outcome.wall_seconds:.0f} s"
    return text, later


def under(name, limit, seconds):
    os.environ["LABKIT_TURNS"] = "off"
    return said(labkit.run(train, **NETS[name], memory_limit=limit, timeout=seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120, help="for one trial; default 120")
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--slow", action="store_true", help="also ResNet-50 with XLA, minutes each")
    parser.add_argument("--out", default=RESULTS / "gpu", help="folder for the report")
    options = parser.parse_args()
    name = re.sub(r"\W+", "-", labkit.device().name.lower())
    report = Report(f"{name}-first-step", options.out)
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.at_once, mp_context=context, max_tasks_per_child=1) as pool:
        jobs = {
            (net, switch): pool.submit(peaks, net, environ, options.seconds)
            for switch, environ in SWITCHES.items()
            for net in NETS
            if options.slow or net != "ResNet-50, XLA"
        }
        later = {}
        for (net, switch), job in jobs.items():
            text, peak = job.result()
            report(f"{net:28}{switch:40}{text}")
            report.save()
            if switch == "as it is" and peak:
                for times in LIMITS:
                    limit = int(times * peak)
                    later[net, times] = limit, pool.submit(under, net, limit, options.seconds)
        report("")
        for (net, times), (limit, job) in later.items():
            report(f"{net:28}limit {times} x later = {format_size(limit):>9}:  {job.result()}")
            report.save()
    report(f"{time.monotonic() - begun:.0f} s in all")
    report.save()


if __name__ == "__main__":
    main()
