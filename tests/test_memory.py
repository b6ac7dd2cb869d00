import pytest

import labkit
from labkit import machine

MIB = 2**20


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


def test_a_limit_above_the_machine_is_refused_with_both_figures():
    there = labkit.device().memory_bytes
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.run("1", memory_limit=4 * there)
    assert labkit.format_size(there) in str(raised.value)


def test_a_limit_below_a_mebibyte_is_refused():
    with pytest.raises(labkit.LabkitError, match="under 1 MiB"):
        labkit.run("1", memory_limit="100 KiB")


def test_the_device_is_described():
    device = labkit.device()
    assert device.kind in ("cpu", "gpu")
    assert labkit.format_size(device.memory_bytes) in device.describe()


@pytest.mark.parametrize(
    ("visible", "mib"), [(None, 3), ("0", 3), ("1", 70), ("1,0", 70), ("GPU-bb22", 70), ("MIG-cc33", 3)]
)
def test_the_gpu_that_cuda_visible_devices_names_is_asked_of(tmp_path, monkeypatch, visible, mib):
    columns = "index,uuid,name,driver_version,memory.total,memory.used"
    asked = f'case "$1" in --query-gpu={columns}) ;; *) exit 1 ;; esac'
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        f"#!/bin/sh\n{asked}\necho '0, GPU-aa11, T4, 535, 100, 3'\necho '1, GPU-bb22cc, T4, 535, 100, 70'\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpu_in_use() == mib * 2**20
