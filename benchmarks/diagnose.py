"""How much of the corpus diagnose() gets right, and its speed and memory use on long logs.

The logs are generated here: lines of a real training run (progress bars, TensorFlow's chatter), with a real
failure at the end or throughout, a log that is nothing but dumps, and hostile ones. Each is read in a
separate process.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from report import Report

import labkit

CORPUS = Path(__file__).parent.parent / "tests" / "corpus"
NOTES = ("source", "held_out", "at_first_sight", "missed", "helps")
LONG_BYTES = 200 * 10**6
READ = """
import resource, sys, time
import labkit
at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
cause = labkit.diagnose(sys.argv[1] if sys.argv[1] != "-" else "").cause
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, (peak - at_first) * 1024, cause)
"""


def right(name, expected):
    """Whether the diagnosis of a corpus file is right in every expected field."""
    found = labkit.diagnose(CORPUS / name).to_dict()
    return all(found[field] == value for field, value in expected.items() if field not in NOTES)


def score(report):
    expected = json.loads((CORPUS / "expected.json").read_text())
    total, good, first = Counter(), Counter(), Counter()
    wrong = []
    for name, entry in expected.items():
        kind = ("set aside" if entry.get("held_out") else "seen", "made here" if name[0] == "r" else "typed")
        total[kind] += 1
        good[kind] += right(name, entry)
        first[kind] += "at_first_sight" not in entry
        wrong += [] if right(name, entry) else [f"  {name}: {entry['missed']}"]
    report("The corpus: right means the cause, and shape, bytes and layer where they are expected")
    report(f"{'':24}{'texts':>7}{'right':>7}{'at first sight':>17}")
    for kind in sorted(total):
        seen = "" if kind[0] == "seen" else first[kind]
        report(f"{', '.join(kind):24}{total[kind]:7}{good[kind]:7}{seen:>17}")
    report(
        "made here: real trials on the CPU stand-in; typed: texts from public threads, each with its source."
    )
    report(
        "set aside: first read after the rules were written; misses are marked in expected.json. The rules"
    )
    report('have been fixed since, so only "at first sight" shows how they do on unseen texts.')
    report("Still wrong:")
    for line in wrong:
        report(line)
    report("")


def long_logs():
    """(name, a function that writes it to a file) for each long log."""
    failure = (CORPUS / "real" / "activations_a.txt").read_bytes()
    bar = b"".join(
        b"\r%4d/1000 [=====>......] - ETA: 12s - loss: 0.1234 - accuracy: 0.5" % n for n in range(999)
    )
    epoch = (
        b"Epoch 1/50\n"
        + bar
        + b"\n"
        + b"INFO:root:step 12 loss 0.123 learning rate 0.001 of the schedule\n" * 300
    )
    dumps = b"".join(line for line in failure.splitlines(True) if b" of size " in line)
    yield "a training, failing at the end", lambda f: (fill(f, epoch), f.write(failure))
    yield "a training without failure", lambda f: fill(f, epoch.replace(b"Epoch 1/50", b"one more"))
    yield "failures throughout", lambda f: fill(f, failure)
    yield "only the chunks of a dump", lambda f: fill(f, dumps)
    yield "one line, no line break", lambda f: fill(f, b"loss: 0.1234 - ")
    yield "hostile: OOM in every line", lambda f: fill(f, b"OOM when allocating tensor with shape[\n")
    yield "hostile: {{node in every line", lambda f: fill(f, b"{{node " + b"{{node " * 9 + b"\n")


def fill(file, text):
    for _ in range(LONG_BYTES // len(text)):
        file.write(text)


def speed(report):
    report(f"Logs of {LONG_BYTES // 10**6} MB (target: 50 MB/s, in memory that does not grow with the log)")
    report(f"{'':32}{'MB/s':>7}{'grew by':>12}  cause")
    for name, write in long_logs():
        with tempfile.NamedTemporaryFile(suffix=".log") as file:
            write(file)
            file.flush()
            answer = subprocess.run([sys.executable, "-c", READ, file.name], capture_output=True, text=True)
            seconds, memory, cause = answer.stdout.split()
            size = Path(file.name).stat().st_size
        speed = size / 1e6 / float(seconds)
        report(f"{name:32}{speed:7.0f}{labkit.format_size(int(memory)):>12}  {cause}")


if __name__ == "__main__":
    report = Report("diagnose")
    score(report)
    speed(report)
    report.save()
