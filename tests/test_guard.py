"""A trial cannot take the machine's memory, whatever it does: it alone is ended, and the outcome says why."""

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import labkit
from labkit import machine
from labkit.predict.estimation import trial_limit

MIB = 2**20
GROWS = "import numpy as np\nkept = []\nwhile True: kept.append(np.ones(2**21))"
INTO_THE_RESERVE = """
import time
import numpy as np
from labkit.machine import host_memory, reserve
kept, least = [], 0.75 * reserve(host_memory())
while host_memory().available > least:
    kept.append(np.ones(2**20))
time.sleep(60)
"""
IN_WORKERS = """
    import multiprocessing, time
    import numpy as np

    def grow():
        kept = []
        while True:
            kept.append(np.ones(2**21))
            time.sleep(0.1)  # what watches them comes late where other processes are busy

    context = multiprocessing.get_context("fork")
    for worker in [context.Process(target=grow) for _ in range(3)]:
        worker.start()
    time.sleep(60)
"""


def own_cgroup():
    """(folder, file names) to make a memory cgroup in, or None where this process may make none."""
    for root, limit, group_kill in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", None),
        (Path("/sys/fs/cgroup"), "memory.max", "memory.oom.group"),
    ):
        folder = root / f"labkit-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / limit).exists():
                return folder, limit, group_kill
            folder.rmdir()
    return None


@pytest.fixture
def container():
    """A function that runs Python code in a container of so many MiB, and returns what it printed."""
    made = own_cgroup()
    if made is None:
        pytest.skip("no memory cgroup can be made here: this needs root and a writable /sys/fs/cgroup")
    folder, limit, group_kill = made

    def run(mib, code):
        (folder / limit).write_text(str(mib * MIB))
        if group_kill:
            (folder / group_kill).write_text("1")
        enter = f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0')\n"
        done = subprocess.run(
            [sys.executable, "-c", enter + textwrap.dedent(code)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    yield run
    while pids := (folder / "cgroup.procs").read_text().split():
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                psutil.Process(int(pid)).kill()
        time.sleep(0.05)
    time.sleep(0.2)
    folder.rmdir()


@pytest.mark.parametrize("limit", [None, "512 MiB", "1400 MiB"])
def test_arrays_that_grow_end_the_trial_and_not_the_container(container, limit):
    told = container(
        1500,
        f"""
        import labkit
        before = labkit.machine.kernel_oom_kills()
        outcome = labkit.run({GROWS!r}, memory_limit={limit!r})
        assert outcome.status == "oom", outcome
        assert outcome.diagnosis.cause == "host_memory", outcome.diagnosis
        assert outcome.host_peak_bytes < 1500 * 2**20
        assert labkit.machine.kernel_oom_kills() == before
        assert labkit.run("1 + 1").result == 2
        print(outcome)
        """,
    )
    assert "kept.append" in told  # it has written down where it was
    assert "could take" in told


def test_a_container_is_seen_as_the_machine(container):
    container(
        1500,
        """
        import labkit
        assert labkit.device().memory_bytes == 1500 * 2**20
        try:
            labkit.run("1", memory_limit="2 GiB")
        except labkit.LabkitError as e:
            assert "1.46 GiB" in str(e) and "container" in str(e), e
        else:
            raise AssertionError("a limit above the container's was taken")
        """,
    )


def test_the_one_that_takes_more_than_it_reserved_is_ended_and_its_neighbour_is_not(container, tmp_path):
    os.mkfifo(end := tmp_path / "end")  # the neighbour runs until it is written to
    container(
        2500,
        f"""
        import subprocess, sys, labkit
        holds = "import numpy; X = numpy.ones(2**25); print('holds', flush=True); open({str(end)!r}).read()"
        code = f"import labkit; o = labkit.run({{holds!r}}, memory_limit='128 MiB'); print(o); assert o.ok"
        neighbour = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert neighbour.stdout.readline() == "holds\\n"
        outcome = labkit.run({INTO_THE_RESERVE!r}, memory_limit="128 MiB")
        assert (outcome.status, outcome.diagnosis.cause) == ("oom", "host_memory"), outcome
        assert neighbour.poll() is None
        open({str(end)!r}, "w").close()
        told, _ = neighbour.communicate()
        assert neighbour.returncode == 0, told
        """,
    )


def test_workers_that_grow_are_counted_with_their_trial(container):
    container(
        1500,
        f"""
        import labkit
        before = labkit.machine.kernel_oom_kills()
        outcome = labkit.run({textwrap.dedent(IN_WORKERS)!r})
        assert (outcome.status, outcome.diagnosis.cause) == ("oom", "host_memory"), outcome
        assert labkit.machine.kernel_oom_kills() == before
        """,
    )


def test_the_device_without_a_limit_gets_what_the_container_can_spare(container):
    container(
        1500,
        """
        import labkit
        before = labkit.machine.kernel_oom_kills()
        outcome = labkit.run("import keras\\nkept = []\\nwhile True: kept.append(keras.ops.ones((2**21,)))")
        assert outcome.status == "oom", outcome
        assert outcome.host_limit_bytes < 1500 * 2**20
        assert labkit.machine.kernel_oom_kills() == before
        """,
    )


def test_a_site_sets_the_most_for_a_trial(monkeypatch):
    monkeypatch.setenv("LABKIT_TRIAL_MEMORY", "900 MiB")
    assert machine.spare_memory() == 900 * MIB
    monkeypatch.delenv("LABKIT_TRIAL_MEMORY")
    code = textwrap.dedent(
        """
        import os
        import labkit
        assert labkit.run("1").ok
        os.environ["LABKIT_TRIAL_MEMORY"] = "900 MiB"  # the process that runs trials is there already
        outcome = labkit.run("kept = []\\nwhile True: kept.append(bytearray(10**6))")
        assert (outcome.status, outcome.diagnosis.cause) == ("oom", "host_memory"), outcome
        assert outcome.host_limit_bytes == 900 * 2**20
        assert "may take 900 MiB here (LABKIT_TRIAL_MEMORY)" in str(outcome), outcome
        assert outcome.host_peak_bytes < 3 * 2**30
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_small_trials_get_the_readers_limit_and_at_most_half_of_what_is_free(monkeypatch):
    monkeypatch.setenv("LABKIT_TRIAL_MEMORY", "1000 MiB")
    assert trial_limit(None) == 500 * MIB
    assert trial_limit("200 MiB") == 200 * MIB
    assert trial_limit("900 MiB") == 500 * MIB

    def train(length):
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((length, 4)), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.zeros((8, length, 4)), np.zeros(8), verbose=0)

    with pytest.raises(labkit.LabkitError, match="500 MiB, the most that a small trial may take"):
        labkit.estimate(train, over="length", at=(4, 30_000_000))


def test_the_reserve_is_never_more_than_a_quarter_of_what_is_free():
    gib = 2**30
    for total, available in ((24 * gib, 20 * gib), (2 * gib, gib), (256 * gib, 200 * gib), (gib, gib // 5)):
        kept = machine.reserve(machine.HostMemory(total, available, "machine"))
        assert min(256 * MIB, available // 4) <= kept <= min(gib, available // 4)
