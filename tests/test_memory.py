import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit import gpus, machine
from labkit.gpus import Gpu
from labkit.sizes import format_rate, three_digits

MIB = 2**20
CARDS = [Gpu(str(n), f"GPU-{n}", name, "535", 16 * MIB + n, 0) for n, name in enumerate(("T4", "other"))]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256 MiB", 256 * MIB),
        ("256mib", 256 * MIB),
        ("1.5 GB", 1_500_000_000),
        (".5GiB", 512 * MIB),
        ("64 KiB", 65536),
        (123456789, 123456789),
        ("123456789", 123456789),
        (2.0**30, 2**30),
    ],
)
def test_sizes_that_can_be_read(text, size):
    assert labkit.parse_size(text) == size


@pytest.mark.parametrize(
    "bad", ["256M", "lots", "", "-1 MiB", "1.2.3 MiB", "nan MiB", 0, -5, True, 0.5, float("inf"), [1], None]
)
def test_sizes_that_cannot_are_quoted_beside_forms_that_work(bad):
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.parse_size(bad)
    assert repr(bad) in str(raised.value)
    assert '"256 MiB"' in str(raised.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (157286400, "150 MiB"),
        (1_622_016, "1.55 MiB"),
        (1023.9 * 2**20, "1.00 GiB"),
    ],
)
def test_sizes_are_shown_to_three_digits(size, text):
    assert labkit.format_size(size) == text


@given(st.floats(0.001, 1e9))
def test_numbers_are_shown_to_three_digits_and_without_an_exponent(number):
    text = three_digits(number)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(number, rel=0.005)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.042, "0.042"), (0.42, "0.42"), (1.44, "1.4"), (9.0, "9"), (9.96, "10"), (10.4, "10"),
     (99.6, "100"), (999.6, "1,000"), (4294.3, "4,294")],
)  # fmt: skip
def test_few_in_a_second_are_not_rounded_to_none(number, text):
    assert format_rate(number) == text


def test_a_container_with_cgroup_2_sets_the_memory(tmp_path):
    inner = tmp_path / "user" / "notebook"
    inner.mkdir(parents=True)
    (tmp_path / "user" / "memory.max").write_text(f"{2 * 2**30}\n")
    (tmp_path / "user" / "memory.current").write_text(f"{2**30}\n")
    (tmp_path / "user" / "memory.stat").write_text(
        f"anon 5\ninactive_file {60 * MIB}\nactive_file {40 * MIB}\n"
    )
    (inner / "memory.max").write_text("max\n")
    assert machine.cgroup_memory(tmp_path, "0::/user/notebook\n") == (2 * 2**30, 2**30 + 100 * MIB)


def test_a_container_with_cgroup_1_sets_the_memory(tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{300 * MIB}\n")
    (folder / "memory.stat").write_text(
        f"active_file 7\ntotal_active_file {MIB}\ntotal_inactive_file {2 * MIB}\n"
    )
    membership = "4:memory:/docker/0123\n2:cpuacct:/\n"  # as seen in a container: the path is the host's
    assert machine.cgroup_memory(tmp_path, membership) == (2**30, 727 * MIB)


def cgroup(folder, limit, used=None, stat=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    if used is not None:
        (folder / "memory.current").write_text(f"{used}\n")
    if stat is not None:
        (folder / "memory.stat").write_text(stat)


def test_of_containers_in_containers_the_least_counts(tmp_path):
    cgroup(tmp_path / "a", 8 * MIB, 7 * MIB)
    cgroup(tmp_path / "a" / "b", 9 * MIB, 2 * MIB, "broken")
    cgroup(tmp_path / "a" / "c", MIB, 0)
    cgroup(tmp_path, 7 * MIB)  # says nothing of what is in use
    assert machine.cgroup_memory(tmp_path, "0::/a/b\n") == (7 * MIB, MIB)
    cgroup(tmp_path / "a", 8 * MIB, 9 * MIB)
    assert machine.cgroup_memory(tmp_path, "0::/a/b\n") == (7 * MIB, 0)


def test_odd_lines_of_statistics_are_passed_over(tmp_path):
    stat = f"anon x\n\ninactive_file many\nactive_file {MIB}\nof several words\n"
    cgroup(tmp_path / "a", 8 * MIB, 7 * MIB, stat)
    assert machine.cgroup_memory(tmp_path, "0::/a\n") == (8 * MIB, 2 * MIB)


@pytest.mark.parametrize(("most", "high", "limit"), [("max", 3 * MIB, 3), (2 * MIB, 3 * MIB, 2)])
def test_what_linux_throttles_above_is_a_limit(tmp_path, most, high, limit):
    cgroup(tmp_path / "a", most, 0)
    (tmp_path / "a" / "memory.high").write_text(f"{high}\n")
    assert machine.cgroup_memory(tmp_path, "0::/a\n") == (limit * MIB, limit * MIB)


def test_without_a_limit_there_is_no_container(tmp_path):
    physical = machine.psutil.virtual_memory().total
    cgroup(tmp_path / "a", "max")
    assert machine.cgroup_memory(tmp_path, "0::/a\n") is None
    cgroup(tmp_path / "a", physical)
    assert machine.cgroup_memory(tmp_path, "0::/a\n") is None
    cgroup(tmp_path / "a", physical - 1, 1)
    assert machine.cgroup_memory(tmp_path, "0::/a\n") == (physical - 1, physical - 2)
    assert machine.cgroup_memory(tmp_path, "3:cpu:/a\n") is None


@pytest.mark.parametrize(
    ("membership", "limit"),
    [
        ("0::/a:b/c\n", 4),
        ("5:cpu:/a:b\n0::/a:b\n", 4),
        ("5:cpu:/old\n4:cpu,memory:/old\n", 2),
        ("5:cpu:/old\n4:memory:/\n", None),
        ("4:memory:/old\n0::/a:b\n", 2),
        ("4:memory:/old\n0::/tight\n", 1),
        ("", None),
        ("\nmemory of this container\n5:memory\n0::/a:b\n\n", 4),
    ],
)
def test_only_memory_cgroups_below_the_root_count(tmp_path, membership, limit):
    root = tmp_path / "root"
    for folder in (tmp_path, tmp_path / "tight", root / "tight"):
        cgroup(folder, MIB)
    cgroup(root / "a:b", 4 * MIB)
    (root / "memory" / "old").mkdir(parents=True)
    (root / "memory" / "old" / "memory.limit_in_bytes").write_text(f"{2 * MIB}\n")
    assert machine.cgroup_memory(root, membership) == (limit and (limit * MIB, limit * MIB))


@pytest.mark.parametrize(("inside", "available"), [(MIB, MIB), (2**62, None)])
def test_of_container_and_machine_what_is_less_is_free(monkeypatch, inside, available):
    monkeypatch.setattr(machine, "cgroup_memory", lambda: (5 * MIB, inside))
    host = machine.host_memory()
    assert (host.total, host.source) == (5 * MIB, "container")
    assert host.available == available if available else host.available < inside
    monkeypatch.setattr(machine, "cgroup_memory", lambda: None)
    host = machine.host_memory()
    assert host.source == "machine" and 0 < host.available < host.total


@pytest.mark.parametrize(
    ("total", "available", "reserve"),
    [(4096, 4096, 256), (20_000, 20_000, 600), (100_000, 100_000, 1024), (4096, 400, 100)],
)
def test_reserve(monkeypatch, total, available, reserve):
    host = machine.HostMemory(total * MIB, available * MIB, "machine")
    assert machine.reserve(host) == reserve * MIB
    monkeypatch.setattr(machine, "host_memory", lambda: host)
    spare = (available - reserve) * MIB
    for setting, expected in [("", spare), ("7 MiB", 7 * MIB), ("1000 GiB", spare)]:
        monkeypatch.setenv("LABKIT_TRIAL_MEMORY", setting)
        assert machine.spare_memory() == expected


def test_a_setting_that_is_no_size_is_named(monkeypatch):
    monkeypatch.setenv("LABKIT_TRIAL_MEMORY", "lots")
    with pytest.raises(labkit.LabkitError, match="LABKIT_TRIAL_MEMORY must be a size"):
        machine.trial_memory()


def test_a_limit_is_taken_in_whole_mebibytes_up_to_what_there_is():
    on = machine.Device("gpu", "T4", "GPU_0_bfc", 8 * MIB)
    assert machine.check_limit(3 * MIB - 1, on) == 2 * MIB
    assert machine.check_limit(MIB, on) == MIB
    assert machine.check_limit("8 MiB", on) == 8 * MIB
    with pytest.raises(labkit.LabkitError, match=r"9.00 MiB requested, 8.00 MiB in total \(T4\)"):
        machine.check_limit("9 MiB", on)
    assert "this GPU" in on.describe()


def test_a_limit_above_the_machine_is_refused_with_both_figures():
    there = labkit.device().memory_bytes
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.run("1", memory_limit=4 * there)
    assert labkit.format_size(there) in str(raised.value)


def test_a_limit_below_a_mebibyte_is_refused():
    with pytest.raises(labkit.LabkitError, match="under 1 MiB"):
        machine.check_limit(MIB - 1, labkit.device())


def test_the_device_is_described():
    device = labkit.device()
    assert device.kind in ("cpu", "gpu")
    assert labkit.format_size(device.memory_bytes) in device.describe()


@pytest.mark.parametrize(
    ("vmstat", "kills"),
    [
        ("nr_free_pages 7\noom_kill 3\n", 3),
        ("nr_free_pages 7\n", 0),
        ("oom_kill 3\n\nin other words\n", 3),
        ("oom_kill none\n", 0),
        (None, 0),
    ],
)
def test_what_linux_has_killed(tmp_path, vmstat, kills):
    if vmstat:
        (tmp_path / "vmstat").write_text(vmstat)
    assert machine.kernel_oom_kills(tmp_path / "vmstat") == kills


def program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Set what the Python answers that is asked of its TensorFlow."""
    machine._ask_tensorflow.cache_clear()
    yield lambda script: monkeypatch.setattr(sys, "executable", program(tmp_path / "python", script))
    machine._ask_tensorflow.cache_clear()


@pytest.mark.parametrize(
    ("script", "timeout", "answer"),
    [
        ("echo Loading; echo 'answer {\"gpus\": 1}'; echo 'answer {\"gpus\": 2}'; echo", 60, {"gpus": 2}),
        ("echo Traceback >&2; echo 'No module' >&2; exit 1", 60, {"error": "No module"}),
        ("echo 'No answer'; exit 3", 60, {"error": "exit status 3"}),
        ("exec sleep 60", 0.1, {"error": "no answer after 0.1 s"}),
    ],
)
def test_what_a_python_answers_of_its_tensorflow(python, script, timeout, answer):
    python(script)
    assert machine.ask_tensorflow(timeout) == answer


def test_trials_run_on_a_gpu_that_the_driver_lists_and_tensorflow_can_use(tmp_path, monkeypatch, python):
    python('echo "answer {\\"gpus\\": $CUDA_VISIBLE_DEVICES}"; echo >> "$0.asked"')
    for usable, cards, kind in 2 * [
        ("0", [], "cpu"),
        ("0", CARDS, "cpu"),
        ("1", [], "cpu"),
        ("1", CARDS, "gpu"),
    ]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", usable)
        monkeypatch.setattr(machine, "visible_gpus", lambda cards=cards: cards)
        assert machine.device().kind == kind
    assert machine.device() == machine.Device("gpu", "T4", "GPU_0_bfc", 16 * MIB, "GPU-0")
    assert (tmp_path / "python.asked").read_text() == "\n" * 2  # once for each choice of GPUs
    shared = Gpu("0", "GPU-0", "GB10", "580", None, None)
    monkeypatch.setattr(machine, "visible_gpus", lambda: [shared])
    assert machine.device().kind == "gpu"
    assert machine.device().memory_bytes == machine.host_memory().total


def test_after_an_error_tensorflow_is_asked_again(tmp_path, python):
    answers = """[ -e "$0.asked" ] && echo 'answer {"gpus": 1}' && exit"""
    python(answers + """\ntouch "$0.asked"; printf 'no m\\366dule' >&2; exit 1""")
    assert machine.ask_tensorflow() == {"error": "no m\N{REPLACEMENT CHARACTER}dule"}
    assert machine.ask_tensorflow() == {"gpus": 1}


@pytest.mark.parametrize(
    ("visible", "mib"), [(None, 3), ("0", 3), ("1", 70), ("1,0", 70), ("GPU-bb22", 70), ("MIG-cc33", 3)]
)
def test_the_gpu_that_cuda_visible_devices_names_is_asked_of(tmp_path, monkeypatch, visible, mib):
    columns = "index,uuid,name,driver_version,memory.total,memory.used"
    asked = f'case "$1" in --query-gpu={columns}) ;; *) exit 1 ;; esac'
    rows = "echo '0, GPU-aa11, T4, 535, 100, 3'\necho '1, GPU-bb22cc, T4, 535, 100, 70'"
    program(tmp_path / "nvidia-smi", f"{asked}\n{rows}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpu_in_use() == mib * 2**20


def nvidia_smi(tmp_path, monkeypatch, gpus, processes=()):
    """An nvidia-smi that lists these GPUs and processes, lines of CSV."""
    answers = {"gpu": gpus, "compute-apps": processes}
    cases = (f"--query-{of}=*) printf '%s\\n' '" + "' '".join(rows) + "' ;;" for of, rows in answers.items())
    program(tmp_path / "nvidia-smi", f'case "$1" in {" ".join(cases)} esac')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_who_holds_the_memory_of_a_gpu_is_told_the_most_first(tmp_path, monkeypatch):
    card, me = "0, GPU-aa11, T4, 535, 1000, 950", os.getpid()
    jobs = [
        f"{me}, /usr/bin/python3, 300",
        "8, [Not Found], [N/A]",
        "9, julia, 600",
        "10, a, 20",
        "11, b, 10",
    ]
    nvidia_smi(tmp_path, monkeypatch, [card], jobs)
    largest, own, last = gpus.holders()
    assert largest == "Process 9 (julia) holds 600 MiB." and "Process 10" in last
    assert f"Process {me} (python3) holds 300 MiB: this kernel itself." in own
    nvidia_smi(tmp_path, monkeypatch, [card, card.replace("0, GPU-aa11", "1, GPU-bb22")], jobs)
    assert gpus.holders() == []  # of which GPU?


@pytest.mark.parametrize(
    ("total", "used", "full"),
    [(16_000, 14_977, True), (16_000, 14_976, False), (4000, 3601, True), (4000, 3600, False)],
)
def test_a_gpu_is_full_that_has_hardly_any_room(total, used, full):
    assert gpus.is_full(Gpu("0", "GPU-0", "T4", "535", total * MIB, used * MIB)) == full
    assert not gpus.is_full(Gpu("0", "GPU-0", "T4", "535", None, None))


@pytest.mark.parametrize(("used", "told"), [(1600, False), (1601, True), (None, False)])
def test_what_programs_hold_of_a_gpu_is_told_before_any_trial(monkeypatch, used, told):
    card = Gpu("0", "GPU-0", "T4", "535", 16_000 * MIB, used and used * MIB)
    monkeypatch.setattr(machine, "visible_gpus", lambda: [card])
    on = machine.Device("gpu", "T4", "GPU_0_bfc", 16_000 * MIB)
    assert ("Programs hold 1.56 GiB of it now" in on.describe()) == told


@pytest.mark.parametrize(
    "size",
    [
        "\N{SUPERSCRIPT TWO}",
        "9" * 5000,
        "1e999 MiB",
        10**400,
        pytest.param(10**5000, id="huge"),
        pytest.param(-(10**5000), id="hugely negative"),
        pytest.param("1" * 6000 + "!", id="long"),
        float("inf"),
    ],
)
def test_what_is_no_size_is_refused_with_a_sentence(size):
    with pytest.raises(labkit.LabkitError, match="Forms that work"):
        labkit.parse_size(size)


@pytest.mark.parametrize("size", [pytest.param(10**400, id="400 digits"), float("inf")])
def test_no_size_is_too_large_to_be_told(size):
    assert labkit.format_size(size) == "more than any machine has"
    assert labkit.format_size(-size) == "less than any machine has"
    assert labkit.format_size(float("nan")) == "unknown"
