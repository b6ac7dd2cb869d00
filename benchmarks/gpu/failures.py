"""The whole logs of trainings that a GPU has no memory for: python benchmarks/gpu/failures.py FOLDER

Each is a training of trials.py under a limit that its weights fit and a step does not, or an array. Two run
out in what the first step tries out, the others run with LABKIT_AUTOTUNING=off. Each has a file of its own,
with the messages that TensorFlow wrote.
"""

import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from trials import train, train_from  # noqa: E402

import labkit  # noqa: E402

CASES = {
    "convolutional-autotuning": (train, "64 MiB", {"net": "convolutional", "batch_size": 64}),
    "convolutional": (train, "64 MiB", {"net": "convolutional", "batch_size": 256}),
    "convolutional-no-xla": (
        train, "64 MiB", {"net": "convolutional", "batch_size": 64, "jit_compile": False},
    ),
    "dense-autotuning": (train, "48 MiB", {"net": "dense", "batch_size": 64}),
    "dense": (train, "48 MiB", {"net": "dense", "batch_size": 16384}),
    "dense-no-xla": (train, "48 MiB", {"net": "dense", "batch_size": 4096, "jit_compile": False}),
    "lstm": (train, "64 MiB", {"net": "lstm", "batch_size": 1024}),
    "lstm-no-cudnn-room": (train, "24 MiB", {"net": "lstm", "batch_size": 64}),
    "transformer": (train, "64 MiB", {"net": "transformer", "batch_size": 64}),
    "transformer-no-xla": (train, "64 MiB", {"net": "transformer", "batch_size": 64, "jit_compile": False}),
    "resnet50-no-xla": (train, "256 MiB", {"net": "resnet50", "batch_size": 64, "jit_compile": False}),
    "weights": (train, "16 MiB", {"net": "dense", "batch_size": 64}),
    "fit-array": (train_from, "64 MiB", {"kind": "fit(X)", "rows": 32_768}),
    "from-tensor-slices": (train_from, "64 MiB", {"kind": "from_tensor_slices", "rows": 32_768}),
}  # fmt: skip


def fail(folder, name):
    code, limit, options = CASES[name]
    outcome = labkit.run(code, memory_limit=limit, timeout=150, **options)
    (folder / f"{name}.log").write_text(outcome.log)
    if outcome.error:
        (folder / f"{name}.error").write_text(f"{outcome.error.type}: {outcome.error.message}")
    cause = outcome.diagnosis.cause if outcome.diagnosis else None
    return f"{name}: {outcome.status}, {cause}"


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tuned = [name for name in CASES if name.endswith("autotuning")]
    with ThreadPoolExecutor(6) as pool:
        for switch, names in (("on", tuned), ("off", [name for name in CASES if name not in tuned])):
            os.environ["LABKIT_AUTOTUNING"] = switch
            for text in pool.map(fail, itertools.repeat(folder), names):
                print(text, flush=True)


if __name__ == "__main__":
    main()
