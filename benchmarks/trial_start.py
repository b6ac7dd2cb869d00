"""The time from run() to its outcome on the warm launcher versus a fresh interpreter, in one run.

Both do the same: run a first TensorFlow op under a memory limit, and report the peak.
"""

import os
import statistics
import subprocess
import sys
import time

from report import Report

import labkit
from labkit.process.launcher import ENVIRONMENT

ROUNDS = 5
CODE = """
import tensorflow as tf, keras
tf.zeros((256, 1024))
print(tf.config.experimental.get_memory_info("CPU:0")["peak"])
"""
LIMIT = {"TF_CPU_ALLOCATOR_USE_BFC": "true", "TF_CPU_BFC_MEM_LIMIT_IN_MB": "64"}


def fresh():
    environ = {**os.environ, **ENVIRONMENT, **LIMIT}
    subprocess.run([sys.executable, "-c", CODE], env=environ, check=True, capture_output=True)


def warm():
    assert labkit.run(CODE, memory_limit="64 MiB", timeout=60).ok


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    report = Report("trial_start")
    report(f"first trial, which starts the launcher: {seconds(warm):.2f} s")
    rounds = [(seconds(fresh), seconds(warm)) for _ in range(ROUNDS)]
    for number, (cold, hot) in enumerate(rounds, 1):
        report(f"round {number}: fresh interpreter {cold:.2f} s, warm launcher {hot:.3f} s")
    cold, hot = (statistics.median(column) for column in zip(*rounds, strict=True))
    report(f"median: fresh {cold:.2f} s, warm {hot:.3f} s; ratio 1/{cold / hot:.1f} (target: 1/10)")
    report.save()


if __name__ == "__main__":
    main()
