"""A hundred trials that crash, are killed, time out or are stopped, in a random order.

After each: the status is right, no process is left, and the next good trial's peak is what it was at first.
"""

import collections
import random
import sys
import threading
import time

import psutil
from report import Report

import labkit

ENDS = {
    "crashed": "import ctypes; ctypes.string_at(0)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "timeout": "import subprocess; subprocess.run(['sleep', '999'])",
    "stopped": "import os, time; os.fork() or os.setsid(); time.sleep(99)",
}
GOOD = "import keras; keras.ops.zeros((1024, 1024)); None"


def bad_end(status):
    trial = labkit.Trial(ENDS[status], memory_limit="64 MiB", timeout=1)
    if status == "stopped":
        threading.Timer(random.uniform(0, 0.5), trial.stop).start()
    return trial.run().status


def offspring():
    """Processes below this one but the launcher itself, zombies included."""
    return len(psutil.Process().children(recursive=True)) - 1


def main(count=100, seed=0):
    report = Report("hundred_bad_ends")
    random.seed(seed)
    expected = labkit.run(GOOD, memory_limit="64 MiB").peak_bytes
    tally, failures, start = collections.Counter(), [], time.monotonic()
    for number in range(count):
        status = random.choice(list(ENDS))
        tally[status] += 1
        became, left = bad_end(status), offspring()
        peak = labkit.run(GOOD, memory_limit="64 MiB").peak_bytes
        if (became, left, peak) != (status, 0, expected):
            failures.append(f"{number}: {status} became {became}, {left} left, peak {peak}")
    report(f"{dict(tally)} in {time.monotonic() - start:.0f} s")
    report(f"good trial's peak: {expected} bytes, every time the same unless listed below")
    for failure in failures:
        report(failure)
    report(f"{count - len(failures)} of {count} right (to reach: all)")
    report.save()
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
