"""What the course and labkit say about GPUs, tested on one: a report on eight points in under ten minutes.

Each point is guarded: exceptions are written down and the rest goes on. The report is saved after every line,
so a run that is cut off keeps what it has. See README.md in this folder.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from guard import Check, cell, given_back, said  # noqa: E402
from report import RESULTS, Report  # noqa: E402
from trials import planes, product, train, train_from  # noqa: E402
from xla import named_share  # noqa: E402

import labkit  # noqa: E402
from labkit import format_size, machine  # noqa: E402
from labkit.trials.console import Console  # noqa: E402

HOLD = "import tensorflow as tf; kept = tf.zeros((64, 2**18)); print('holding', kept.device)"
IN_USE = f"{HOLD}\nfrom labkit import machine; machine.gpu_in_use()"
OVER = "import tensorflow as tf; kept = [tf.ones((32, 2**18)) for _ in range(64)]"
COPY = "import numpy as np, tensorflow as tf; tf.convert_to_tensor(np.zeros((256, 2**20), 'float32'))"
LIMIT = "512 MiB"
ENDS = [
    ("ok", IN_USE, "ok"),
    ("a whole array of 1 GiB", COPY, "oom"),
    ("one tensor too many", OVER, "oom"),
    ("crashed", f"{HOLD}\nimport os; os.abort()", "crashed"),
    ("killed", f"{HOLD}\nimport os; os.kill(os.getpid(), 9)", "killed"),
    ("timeout", f"{HOLD}\nimport time; time.sleep(600)", "timeout"),
    ("stopped", f"{HOLD}\nimport time; time.sleep(600)", "stopped"),
    ("error", f"{HOLD}\nkept.no_such_thing", "error"),
]
PIPELINES = [
    "fit(X)", "fit(X as a tensor of CPU:0)", "from_tensor_slices", "from_tensor_slices under CPU:0",
    "PyDataset", "generator",
]  # fmt: skip
MODELS = {  # the parameters of `train`
    "dense": {"net": "dense", "batch_size": 512},
    "convolutional": {"net": "convolutional", "batch_size": 64},
    "the same, mixed_float16": {"net": "convolutional", "batch_size": 64, "policy": "mixed_float16"},
    "LSTM": {"net": "lstm", "batch_size": 64},
    "ResNet-50": {"net": "resnet50", "batch_size": 16},
}
SHARES = {6: 1.5, 1: 2.5, 2: 1.5, 3: 1.5, 4: 2.5, 5: 2, 7: 0.5, 8: 1.5}  # of the time, in this order


class StopWhenHolding(Console):
    """Stops its trial as soon as the trial prints that it holds memory."""

    def output(self, text):
        if "holding" in text:
            self.trial.stop()


def ended(check, code, expected):
    """Run a trial that should end in a certain way."""
    before, show = machine.gpu_in_use(), StopWhenHolding() if expected == "stopped" else None
    seconds = 8 if expected == "timeout" else check.patience()
    trial = labkit.Trial(code, memory_limit=LIMIT, timeout=seconds, show=show)
    if show:
        show.trial = trial
    outcome = check.keep_log(trial.run())
    as_expected = "" if outcome.status == expected else f"EXPECTED {expected}, GOT "
    inside = f" · NVML inside {format_size(outcome.result)}" if outcome.result else ""
    cause = f" · diagnosis: {outcome.diagnosis.cause}" if outcome.diagnosis else ""
    return f"{as_expected}{said(outcome)}{cause}{inside} · {given_back(before)}"


def outcomes(check):
    """Every outcome, as the device reports it, and whether the memory is freed"""
    for label, code, expected in ENDS:
        check.line(label, ended, check, code, expected)
    check.line("%%trial", magic)


def magic():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    labkit.load_ipython_extension(shell)
    shell.run_cell(f"%%trial --memory-limit 512MiB\n{HOLD}")
    return said(shell.user_ns["_trial"])


def whole_arrays(check):
    """Does the whole array go to the device?"""
    rows = 16_384 if check.small else 131_072
    size = rows * 4096
    check.say(f"X is {format_size(size)}")
    for kind in PIPELINES:
        check.line(kind, lambda kind=kind: said(check.run(train_from, kind=kind, rows=rows)))
    half = size // 2
    for kind in ("fit(X)", "from_tensor_slices", "from_tensor_slices under CPU:0"):
        options = {"kind": kind, "rows": rows, "memory_limit": half}
        check.line(f"{kind}, limit half of X", lambda options=options: said(check.run(train_from, **options)))


def timelines(check):
    """The timeline versus the allocator's own count, with and without XLA"""
    options = {"net": "convolutional", "batch_size": 8 if check.small else 64, "steps": 12}
    for jit in ("auto", True, False):
        check.line(f"jit_compile={jit!r}", timeline, check, {**options, "jit_compile": jit})
    with tempfile.TemporaryDirectory() as folder:
        check.line("saved for TensorBoard", lambda: said(check.run(train, profile=folder, **options)))
        check.line("planes, allocators", lambda: check.run(planes, folder=folder).result)
        for path in Path(folder).rglob("*.xplane.pb") if not check.small else ():
            check.line("the profile", lambda path=path: shutil.copy(path, check.beside("xplane.pb")))


def timeline(check, options):
    outcome = check.run(train, profile=True, **options)
    found = outcome.timeline
    if found is None:
        return said(outcome)
    shares = {name: f"{100 * size / found.peak_bytes:.0f} %" for name, size in found.by_category().items()}
    without = 100 * found.by_layer().get(None, 0) / found.peak_bytes
    call = statistics.median(outcome.step_seconds[1:])
    apart = options["batch_size"] / outcome.samples_per_second
    counts = f"allocator {outcome.peak_bytes}, get_memory_info {outcome.result['peak']} B"
    times = f"a step's call takes {1000 * call:.2f} ms, steps are {1000 * apart:.2f} ms apart"
    known = f"{shares} · {without:.0f} % without a layer{inside(found)}"
    return f"timeline {found.peak_bytes}, {counts} · {known} · {times}"


def inside(timeline):
    """How much is known of the blocks of compiled steps."""
    programs = [format_size(program.bytes) for program in timeline.record.programs]
    if not programs:
        return ""
    named = [named_share(timeline, block) for block in timeline.blocks]
    least = f", at least {100 * min(named):.0f} % of each named" if named else ""
    return f" · programs of {programs}; {len(named)} blocks divided{least}"


def peaks(check, **options):
    """{model: peak in bytes, or the status if it failed} for each model."""
    found = {}
    for name, model in models(check).items():
        outcome = check.run(train, **model, **options) if check.left() > 3 else None
        found[name] = outcome.peak_bytes if outcome and outcome.ok else outcome and outcome.status
    return found


def models(check):
    """MODELS; with --rehearse, smaller and without the slow one."""
    if not check.small:
        return MODELS
    return {name: {**m, "batch_size": 8} for name, m in MODELS.items() if name != "ResNet-50"}


def stand_in(check):
    """What a child process without a GPU measures for the same models, without XLA and with it."""
    environ = {k: v for k, v in os.environ.items() if k != "LABKIT_FORK"} | {"CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.NamedTemporaryFile() as file:
        small = ["--rehearse"] if check.small else []
        seconds = max(60, check.left())
        command = [sys.executable, __file__, *small, "--peaks-to", file.name, "--seconds", str(0.9 * seconds)]
        subprocess.run(command, env=environ, timeout=seconds, check=True, capture_output=True)
        return json.load(file)


def against_the_stand_in(check):
    """The same code here and on the CPU stand-in"""
    measured = check.stand_in and json.loads(Path(check.stand_in).read_text())
    plain, compiled = measured or check.line("on the stand-in", stand_in, check) or ({}, {})
    kinds = {
        "stand-in": (plain, plain),
        "its XLA": (compiled, plain),
        "no XLA": (check.line("jit_compile=False", peaks, check, jit_compile=False), plain),
        "XLA": (check.line('jit_compile="auto"', peaks, check), compiled),
    }
    check.say(f"{'peak, versus the stand-in':26}" + "".join(f"{kind:>11}{'':>8}" for kind in kinds))
    for name in models(check):
        found = [((column or {}).get(name), base.get(name)) for column, base in kinds.values()]
        check.say(f"{name:26}" + "".join(cell(value, base) for value, base in found))


def estimates(check):
    """estimate() and find_batch_size(): predicted versus measured"""
    for net in ("dense", "convolutional", "lstm"):
        for jit in (False, "auto"):
            check.line(f"{net}, jit_compile={jit!r}", estimate, check, {"net": net, "jit_compile": jit})
    check.line("find_batch_size", find_batch_size, check)


def estimate(check, options):
    found = labkit.estimate(train, timeout=check.patience(1 / 2), **options)
    texts = []
    for value in (16, 32) if check.small else (64, 256):
        predicted, outcome = found.peak_bytes(value), check.run(train, batch_size=value, **options)
        error = f"{100 * (predicted / outcome.peak_bytes - 1):+.1f} %" if outcome.ok else said(outcome)
        texts.append(f"{value}: {format_size(predicted)} predicted, off by {error}")
    return " · ".join([*texts, *found.notes])


def find_batch_size(check):
    limit = "32 MiB" if check.small else "1 GiB"
    found = labkit.find_batch_size(
        train, memory_limit=limit, net="convolutional", maximum=4096, timeout=check.patience(1 / 3)
    )
    return f"{found} in {limit}: {[(value, outcome.status) for value, outcome in found.history]}"


def forking(check):
    """Forks of a process that has imported TensorFlow, versus fresh processes"""
    asked = os.environ.get("LABKIT_FORK")
    try:
        for fork, count in (("1", 3 if check.small else 10), ("0", 2 if check.small else 3)):
            os.environ["LABKIT_FORK"] = fork
            kind = "forked" if fork == "1" else "fresh"
            for number in range(1, count + 1):
                check.line(f"{kind} {number}", products, check)
            check.line(f"{kind}, stopped", ended, check, ENDS[6][1], "stopped")
            check.line(f"{kind}, a training", lambda: said(check.run(train, **MODELS["dense"], timeout=60)))
    finally:
        os.environ.pop("LABKIT_FORK")
        os.environ |= {"LABKIT_FORK": asked} if asked else {}


def products(check):
    """Run one trial whose result is known."""
    before = machine.gpu_in_use()
    outcome = check.run(product, memory_limit=LIMIT, timeout=min(60, check.patience()))
    right = f"{outcome.result[0]}, correct: {outcome.result[1]}" if outcome.ok else said(outcome)
    return f"{right} · {given_back(before)}"


def turns(check):
    """Two trials at once that together need more than the GPU has: does the second wait?"""
    half = labkit.device().memory_bytes * 6 // 10
    hold = f"{HOLD}; import time; time.sleep(8)"
    first = f"import labkit; labkit.run({hold!r}, memory_limit={half})"
    with subprocess.Popen([sys.executable, "-c", first], stdout=subprocess.PIPE, text=True) as other:
        for line in other.stdout:
            if "holding" in line:
                break
        show = Waiting()
        check.line(
            "the second", lambda: said(labkit.Trial(HOLD, memory_limit=half, timeout=60, show=show).run())
        )
    check.say(f"it said: {show.texts or 'nothing'}")


class Waiting(Console):
    """Remembers what the trial said of waiting."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def status(self, text):
        if text not in self.texts and "waiting" in text:
            self.texts.append(text)


def kit(check):
    """The kit's own check of a device, then try_fixes()"""
    check.line("device().check()", lambda: repr(labkit.device().check()))
    options = {"net": "convolutional", "batch_size": 32 if check.small else 256}
    check.line("try_fixes()", lambda: repr(labkit.try_fixes(train, memory_limit=LIMIT, **options)))


POINTS = {
    1: outcomes,
    2: whole_arrays,
    3: timelines,
    4: against_the_stand_in,
    5: estimates,
    6: forking,
    7: turns,
    8: kit,
}


def facts(check):
    """What this machine has: GPU, driver, TensorFlow's build."""
    names = "name,driver_version,compute_cap,memory.total,memory.used"
    if not check.small:
        check.line(
            "nvidia-smi", subprocess.getoutput, f"nvidia-smi --query-gpu={names} --format=csv,noheader"
        )
    check.line("device()", lambda: labkit.device().describe())
    build = "import tensorflow as tf; {k: v for k, v in tf.sysconfig.get_build_info().items() if 'cud' in k}"
    check.line("TensorFlow's build", lambda: check.run(build).result)
    for time_ in (
        "first",
        "second",
    ):  # kernels that the build lacks are compiled once, then cached by the driver
        check.line(f"{time_} training", lambda: said(check.run(train, **MODELS["dense"], timeout=240)))
    check.say(f"LABKIT_FORK: {os.environ.get('LABKIT_FORK', 'not set')}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rehearse", action="store_true", help="smaller, on the CPU stand-in; proves nothing about GPUs"
    )
    parser.add_argument("--points", type=int, nargs="+", choices=sorted(POINTS), default=list(SHARES))
    parser.add_argument("--seconds", type=float, default=540, help="for all points together; default 540")
    parser.add_argument("--out", default=RESULTS / "gpu", help="folder for the report")
    parser.add_argument(
        "--peaks-to", help="only measure the models of point 4, on the stand-in, to this file"
    )
    parser.add_argument("--stand-in", help="what --peaks-to wrote, so that point 4 does not measure it again")
    return parser.parse_args()


def main():
    options = arguments()
    os.environ.setdefault("CUDA_CACHE_MAXSIZE", str(4 * 2**30))  # or the driver may drop what it compiled
    if options.rehearse:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if options.peaks_to:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        check = Check(None, False, options.rehearse)
        check.deadline += options.seconds
        found = [peaks(check, jit_compile=jit) for jit in (False, True)]
        Path(options.peaks_to).write_text(json.dumps(found))
        return 0
    device = labkit.device()
    if device.kind != "gpu" and not options.rehearse:
        print(
            "There is no GPU here that TensorFlow can use; --rehearse tests the script itself.",
            file=sys.stderr,
        )
        return 2
    name = re.sub(r"\W+", "-", device.name.lower())
    if set(options.points) != set(POINTS):
        name += "-" + "".join(map(str, options.points))
    if options.rehearse:
        name = "A rehearsal on the CPU stand-in, which proves nothing about a GPU"
    check = Check(Report(name, options.out), not options.rehearse, options.rehearse, options.stand_in)
    end = time.monotonic() + options.seconds
    check.deadline = end
    facts(check)
    for place, number in enumerate(options.points):
        share = SHARES[number] / sum(SHARES[other] for other in options.points[place:])
        check.deadline = time.monotonic() + share * (end - time.monotonic())
        check.say(f"\n({number}) {POINTS[number].__doc__}")
        check.line(f"point {number}", POINTS[number], check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
