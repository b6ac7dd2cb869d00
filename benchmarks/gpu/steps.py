"""The peak of each step, from profiles: what the first step takes, and what every later one.

    .venv/bin/python benchmarks/gpu/steps.py GPU STAND_IN --record     # without a GPU: records STAND_IN
    .venv/bin/python benchmarks/gpu/steps.py GPU STAND_IN --save NAME  # compares; no TensorFlow needed

GPU and STAND_IN are folders of profiles, NET-JIT-BATCH/**/*.xplane.pb: of `trials.train`, four steps each.
On a machine with a GPU, `steps.py GPU --record` records GPU. "auto" is compiled by XLA there, but for the
LSTM; the stand-in is told to do the same.
"""

import argparse
import datetime
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
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
    *("lstm-auto-64", "transformer-False-8", "transformer-False-16", "transformer-False-64"),
    *("transformer-auto-8", "transformer-auto-16", "transformer-auto-64"),
    *("resnet50-False-8", "resnet50-False-16", "resnet50-False-64"),
    *("resnet50-auto-8", "resnet50-auto-16", "resnet50-auto-64"),
]


def record(folder, at_once):
    """Run `train` for each of CASES; the profiles go to the folder."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        for text in pool.map(record_case, [folder] * len(CASES), CASES):
            print(text, flush=True)


def record_case(folder, case):
    net, jit, batch_size = case.split("-")
    compiled = jit == "auto" and ("auto" if labkit.device().kind == "gpu" else net != "lstm")
    options = {"net": net, "jit_compile": compiled, "batch_size": int(batch_size)}
    outcome = labkit.run(train, profile=folder / case, timeout=300, **options)
    return f"{case} {outcome.status} {format_size(outcome.peak_bytes)}"


def holds(folder, case):
    """Whether the folder has a profile of the case."""
    return any((folder / case).rglob("*.xplane.pb"))


def of_steps(timeline):
    """Bytes: peak of the first step, highest peak of a later step."""
    first, *later = (timeline.during(number).peak_bytes for number in range(1, len(timeline.steps) + 1))
    return first, max(later)


def peaks(folder, case):
    """Bytes: peak of the first step, highest peak of a later step, XLA's request for a step or None."""
    timeline = labkit.read_profile(folder / case)
    block = max((program.bytes for program in timeline.record.programs), default=None)
    return *of_steps(timeline), block


def table(gpu, stand_in):
    """Lines: for each of CASES, the peaks on the GPU and on the stand-in, and ratios."""
    yield f"{'':24}{'GPU':>10}{'':29}{'stand-in':>10}{'':20}{'GPU / stand-in':>16}"
    columns = f"{'step 1':>10}{'2 to 4':>10}{'ratio':>8}{'block':>11}"
    yield f"{'peak':24}{columns}{'step 1':>10}{'2 to 4':>10}{'block':>10}{'2 to 4':>9}{'block':>7}"
    for case in CASES:
        lacking = [
            name for name, folder in {"GPU": gpu, "stand-in": stand_in}.items() if not holds(folder, case)
        ]
        if lacking:
            yield f"{case:24}no profile of the {' nor of the '.join(lacking)}"
            continue
        here, there = peaks(gpu, case), peaks(stand_in, case)
        sizes, others = ([format_size(size) if size else "-" for size in row] for row in (here, there))
        later, block = (f"x{x / y:.2f}" if x else "" for x, y in zip(here[1:], there[1:], strict=True))
        yield (
            f"{case:24}{sizes[0]:>10}{sizes[1]:>10}{f'x{here[0] / here[1]:.2f}':>8}{sizes[2]:>11}"
            f"{others[0]:>10}{others[1]:>10}{others[2]:>10}{later:>9}{block:>7}"
        )
    yield "block: what XLA requests for a step; the allocator may hand out more, for not every block is split"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gpu", type=Path)
    parser.add_argument("stand_in", type=Path, nargs="?")
    parser.add_argument("--record", action="store_true", help="record the last folder, on this machine")
    parser.add_argument("--at-once", type=int, default=1, help="trainings side by side; default 1")
    parser.add_argument("--save", help="save the table under this name in benchmarks/results/gpu")
    options = parser.parse_args()
    if options.record:
        record(options.stand_in or options.gpu, options.at_once)
        return
    first = next(case for case in CASES if holds(options.gpu, case))
    began = labkit.read_profile(options.gpu / first).record.began
    day = datetime.datetime.fromtimestamp(began, datetime.timezone.utc).date()
    lines = [f"{options.save or options.gpu} · profiles of {day}", "", *table(options.gpu, options.stand_in)]
    print(*lines, sep="\n")
    if options.save:
        (RESULTS / "gpu" / f"{options.save}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
