"""A hundred trials that crash, are killed, time out, are stopped or fill the host's memory, in random order.

After each one: the status is right, no process is left behind, and a good trial's peak is the same as before.
"""

import collections
import os
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
    "oom": "kept = []\nwhile True: kept.append(bytearray(10**6))",
}
os.environ["LABKIT_TRIAL_MEMORY"] = "1 GiB"  # what the last of them may fill
GOOD = "import keras; keras.ops.zeros((1024, 1024)); None"


def bad_end(status):
    trial = labkit.Trial(ENDS[status], memory_limit="64 MiB", timeout=1 if status == "timeout" else 60)
    if status == "stopped":
        threading.Timer(random.uniform(0, 0.5), trial.stop).start()
    return trial.run().status


def offspring():
    """The number of this process's descendants except the launcher itself, zombies included."""
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
            failures.append(f"{number}: expected {status}, got {became}; {left} processes left, peak {peak}")
    report(f"{dict(tally)} in {time.monotonic() - start:.0f} s")
    report(f"a good trial's peak: {expected} bytes, the same every time unless listed below")
    for failure in failures:
        report(failure)
    report(f"{count - len(failures)} of {count} right (target: all)")
    report.save()
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
