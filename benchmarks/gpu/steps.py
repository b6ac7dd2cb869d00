"""The peak of each step, from profiles: what the first step takes, and what every later one.

    .venv/bin/python benchmarks/gpu/steps.py GPU STAND_IN --record     # without a GPU: records STAND_IN
    .venv/bin/python benchmarks/gpu/steps.py GPU STAND_IN --save NAME  # compares; no TensorFlow needed

GPU and STAND_IN are folders of profiles, NET-JIT-BATCH/**/*.xplane.pb: of `trials.train`, four steps each.
On a machine with a GPU, `steps.py GPU --record` records GPU. "auto" is compiled by XLA there, but for the
LSTM; the stand-in is told to do the same.
"""

import argparse
import datetime
import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from report import RESULTS  # noqa: E402
from trials import train  # noqa: E402

import labkit  # noqa: E402
from labkit import format_size  # noqa: E402

CASES = [
    *("convolutional-False-8", "convolutional-False-16", "convolutional-False-64"),
    *("convolutional-auto-8", "convolutional-auto-16", "convolutional-auto-64"),
    *("dense-False-8", "dense-auto-8", "dense-auto-16", "dense-auto-64", "lstm-auto-8", "lstm-auto-16"),
]


def record(folder):
    """Run `train` for each of CASES; the profiles go to the folder."""
    on_gpu = labkit.device().kind == "gpu"
    for case in CASES:
        net, jit, batch_size = case.split("-")
        compiled = jit == "auto" and ("auto" if on_gpu else net != "lstm")
        outcome = labkit.run(
            train, profile=folder / case, net=net, jit_compile=compiled, batch_size=int(batch_size)
        )
        print(case, outcome.status, format_size(outcome.peak_bytes), flush=True)


def peaks(folder, case):
    """(peak of the first step, highest peak of a later step) of one profile, in bytes."""
    timeline = labkit.read_profile(folder / case)
    first, *later = (timeline.during(number).peak_bytes for number in range(1, len(timeline.steps) + 1))
    return first, max(later)


def table(gpu, stand_in):
    """Lines: for each of CASES, the peaks on the GPU and on the stand-in, and their ratio."""
    yield f"{'':24}{'GPU':>11}{'':19}{'stand-in':>11}{'':11}{'GPU / stand-in':>17}"
    yield f"{'peak in step':24}{'1':>11}{'2 to 4':>11}{'ratio':>8}{'1':>11}{'2 to 4':>11}{'2 to 4':>17}"
    for case in CASES:
        (first, later), (there_first, there_later) = peaks(gpu, case), peaks(stand_in, case)
        yield (
            f"{case:24}{format_size(first):>11}{format_size(later):>11}{f'x{first / later:.2f}':>8}"
            f"{format_size(there_first):>11}{format_size(there_later):>11}{f'x{later / there_later:.2f}':>17}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gpu", type=Path)
    parser.add_argument("stand_in", type=Path, nargs="?")
    parser.add_argument("--record", action="store_true", help="record the last folder, on this machine")
    parser.add_argument("--save", help="save the table under this name in benchmarks/results/gpu")
    options = parser.parse_args()
    if options.record:
        record(options.stand_in or options.gpu)
        return
    began = labkit.read_profile(options.gpu / CASES[0]).record.began
    day = datetime.datetime.fromtimestamp(began, datetime.timezone.utc).date()
    lines = [f"{options.save or options.gpu} · profiles of {day}", "", *table(options.gpu, options.stand_in)]
    print(*lines, sep="\n")
    if options.save:
        (RESULTS / "gpu" / f"{options.save}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
