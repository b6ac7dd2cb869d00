"""A GPU's own profile, replayed: does the model of the allocator give the sizes and addresses of the GPU's?

    .venv/bin/python benchmarks/gpu_replay.py PATH [--save]

PATH is of a `*.xplane.pb` that TensorFlow's profiler wrote on a GPU, or of a log folder. Each GPU in it is
replayed that released something, from what its record begins with: a pool with one free block. The results
that are saved are of a public profile, a step of BERT-large on eight V100: repository tensorflow/profiler,
demo/plugins/profile/GPU-multi-worker/34.83.195.179_6003.xplane.pb, at commit d6853e0 (Apache-2.0).
"""

import argparse

from report import Report

import labkit
from labkit.predict.allocator import ROUND
from labkit.predict.replay import retrace

SHOWN = (
    "  {all:,} allocations: {sizes:,} of the same size, {both:,} also at the same address\n"
    "  {reused:,} of them in memory used before, {larger:,} larger than the request rounded up"
)


def compare(record):
    """Counts of a device's allocations: all, those of the same size, those also at the same address, ..."""
    pairs, columns = retrace(record), record.allocations
    sizes = sum(recorded[0] == replayed[0] for recorded, replayed in pairs)
    both = sum(recorded == replayed for recorded, replayed in pairs)
    rounded = -(-columns["requested"] // ROUND) * ROUND
    larger = int(((columns["begin"] >= 0) & (columns["bytes"] > rounded)).sum())
    return {"all": len(pairs), "sizes": sizes, "both": both, "larger": larger, "reused": reused(pairs)}


def reused(pairs):
    """How many of the allocations lie where an earlier one has been."""
    count = top = 0
    for (size, address), _ in pairs:
        count += address < top
        top = max(top, address + size)
    return count


def released(timeline):
    """Whether this is a GPU that released something: others say little."""
    is_gpu = timeline.device.rpartition(" ")[2].startswith("GPU:")
    return is_gpu and bool((timeline.record.allocations["end"] >= 0).any())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path")
    parser.add_argument("--save", action="store_true", help="save the output in benchmarks/results")
    arguments = parser.parse_args()
    devices = labkit.read_profile(arguments.path).devices
    report, found = Report("gpu_replay"), []
    for device, timeline in devices.items():
        if not released(timeline):
            report(f"{device}: {timeline.events} events; left out: no GPU, or nothing released")
            continue
        counts = compare(timeline.record)
        found.append(counts)
        held, pool = labkit.format_size(timeline.held_bytes), labkit.format_size(timeline.pool_bytes)
        report(f"{device}: {timeline.events} events; {held} of {pool} held before them; {timeline.covers}")
        report(SHOWN.format(**counts))
    total, same = (sum(counts[name] for counts in found) for name in ("all", "both"))
    report("")
    report(f"{same:,} of {total:,} allocations get the size and the address that the GPU gave them")
    if arguments.save:
        report.save()
    return 0 if total and same == total else 1


if __name__ == "__main__":
    raise SystemExit(main())
