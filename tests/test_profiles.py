"""read_profile on profiles in the forms of TensorFlow 2.2 to 2.21, made here; xprof checks some."""

import gzip
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import FORMS, Allocator, Plane, profile, step

import labkit
from labkit import machine
from labkit.__main__ import main
from labkit.predict import allocator as bfc
from labkit.predict.replay import retrace
from labkit.record import profile as profiles
from labkit.record.profiles import events as ordering
from labkit.record.profiles import folders
from labkit.record.profiles.xspace import Event
from labkit.record.record import Program
from labkit.record.timeline import HELD, Timeline

MIB = 2**20
STEP = {"dense": 4 * MIB, "dense_1": MIB, "dense_2": 2 * MIB}
RUN = Path("plugins", "profile", "2026_11_26_04_12_33")


def trained(name="GPU_0_bfc", steps=2, layers=STEP, held=12 * MIB, scope="model"):
    """An Allocator after some training steps."""
    allocator = Allocator(name, held=held)
    for _ in range(steps):
        step(allocator, layers, scope)
    return allocator


def host(*allocators, form="numbers", began=0, **more):
    plane = Plane("/host:CPU", form, **more)
    for number, allocator in enumerate(allocators):
        plane.line(f"tf_gpu_private_{number}/1", allocator.events, began)
    return plane


def written(path, *planes, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(profile(*planes, **more))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_stats_gives_the_same_timeline(tmp_path, form):
    allocator = trained()
    timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", host(allocator, form=form)))
    assert [timeline.device, timeline.allocator] == ["GPU:0", "GPU_0_bfc"]
    in_use = [stats["bytes_allocated"] for *_, stats in allocator.events]
    assert timeline.total().tolist() == in_use
    assert timeline.pool_bytes == timeline.limit_bytes == 2**30
    rows = {row.op: row for row in timeline.at_peak()}
    assert rows["model/dense/MatMul"].shape == f"[{MIB}]"
    assert rows["model/dense/MatMul"].dtype == "float32"
    assert {row.layer for row in rows.values()} >= set(STEP)
    assert timeline.by_category()["activations"] == sum(STEP.values())
    assert rows[HELD].bytes == timeline.held_bytes == 12 * MIB
    assert "held before the record" in timeline.notes[0]
    assert timeline.curves()["held before the record"].tolist() == [12 * MIB] * len(in_use)
    assert timeline.covers == "whole steps 1 to 2"


def test_a_shape_that_is_not_known_is_none(tmp_path):
    allocator = Allocator()
    allocator.allocate(1000, "model/a/Conv2D")
    for form in FORMS:
        [row] = labkit.read_profile(written(tmp_path / "x.xplane.pb", host(allocator, form=form))).at_peak()
        assert (row.shape, row.requested_bytes, row.bytes) == ("", 1000, 1024)


@given(seed=st.integers(0, 2**32), held=st.integers(0, 10), form=st.sampled_from(FORMS))
@settings(max_examples=60)
def test_events_in_any_order_and_on_any_thread_give_what_the_allocator_counted(
    tmp_path_factory, seed, held, form
):
    rng = random.Random(seed)
    allocator = Allocator(held=held * MIB)
    allocator.allocate(
        MIB, "net/kept/Relu", at=0
    )  # else an allocation and its release could be read backwards
    live, early = [], [2**45 + 2**21 * i for i in range(held)]
    for i in range(rng.randint(1, 120)):
        choice = rng.random()
        if early and choice < 0.1:
            allocator.release(early.pop(), size=MIB)
        elif live and choice < 0.5:
            allocator.release(live.pop(rng.randrange(len(live))))
        else:
            free = [address for address in range(2**46, 2**46 + 40 * 2**22, 2**22) if address not in live]
            address = rng.choice(free)
            live.append(allocator.allocate(rng.randint(1, 2**22), f"net/layer_{i % 5}/Relu", address=address))
    # Clocks of threads differ: neighbours come in another order, or at the same time.
    first, *others = allocator.events
    events = [first, *((10**6 * (n + rng.randint(0, 3)), *event[1:]) for n, event in enumerate(others, 1))]
    plane = Plane("/host:CPU", form)
    threads = [[], [], []]
    for event in events:
        rng.choice(threads).append(event)
    for number, events in enumerate(threads):
        rng.shuffle(events)
        plane.line(f"thread/{number}", events, began=0)
    path = written(tmp_path_factory.mktemp("x") / "x.xplane.pb", plane)
    timeline = labkit.read_profile(path)
    assert timeline.events == len(allocator.events)
    assert timeline.peak_bytes == max(stats["bytes_allocated"] for *_, stats in allocator.events)
    assert timeline.total()[-1] == allocator.in_use
    assert timeline.total()[0] in {stats["bytes_allocated"] for *_, stats in allocator.events}
    assert sum(row.bytes for row in timeline.at_peak()) == timeline.peak_bytes
    assert not any("missing" in note for note in timeline.notes)


@pytest.mark.parametrize("held", [0, 12 * MIB])
def test_events_that_the_profiler_lost_are_told_of_where_the_allocator_counts(tmp_path, held):
    allocator = trained(held=held)
    del allocator.events[3]
    record = profiles.read(written(tmp_path / "x.xplane.pb", host(allocator)))
    assert "Events are missing in 1 place: the profiler lost them." in record.notes
    for *_, stats in allocator.events:
        del stats["bytes_allocated"], stats["bytes_available"]
    record = profiles.read(written(tmp_path / "x.xplane.pb", host(allocator)))
    assert not any("missing" in note for note in record.notes) and record.pool_bytes is None


def test_lives_begin_and_end_where_they_were_seen(tmp_path):
    allocator = Allocator()
    early, first = 2**45, allocator.allocate(1000, "a/b", "[25,10]", region="temp")
    allocator.release(early, size=2048)
    del allocator._live[first]  # its deallocation is lost
    allocator.allocate(512, "a/b", "[25,10]", address=first)
    del allocator.events[-1][-1]["allocation_bytes"]  # where it is not told, it is what was requested
    record = profiles.read(written(tmp_path / "x.xplane.pb", host(allocator)))
    names = ("begin", "end", "bytes", "requested", "address", "op", "thread", "shape", "dtype", "temp")
    assert list(zip(*(record.allocations[name].tolist() for name in names), strict=True)) == [
        (0, 2, 1024, 1000, first, 1, 1, 1, 1, 1),
        (-1, 1, 2048, 0, early, 0, 0, 0, 0, 0),
        (2, -1, 512, 512, first, 1, 1, 1, 1, 0),
    ]


@pytest.mark.parametrize(
    ("marks", "steps", "snapshots", "starts"),
    [
        ({"snapshot": [15, 35, 60], "step": [60, 90]}, [6, 9], [2, 4, 6], [4, 6]),
        ({"snapshot": [60], "step": [60, 90]}, [6, 9], [6], [0, 6]),
        ({"snapshot": [25, 60, 75], "step": [60]}, [6], [3, 6, 8], [3]),
        ({"snapshot": [15, 35]}, [], [2, 4], []),
    ],
)
def test_labkits_own_marks_are_places_between_events(tmp_path, marks, steps, snapshots, starts):
    """marks: tenths of the time between two events, of which there are ten."""
    allocator = Allocator()
    for _ in range(10):
        allocator.allocate(256, "net/a/Relu")
    told = [(10**6 + 10**5 * at, 0, f"labkit:{name}", {}) for name, places in marks.items() for at in places]
    plane = host(allocator)
    plane.line("python", [(10**6 + 5, 0, "labkit:training", {}), *reversed(told)])
    record = profiles.read(written(tmp_path / "x.xplane.pb", plane))
    assert (record.steps, record.snapshots_at, record.starts) == (steps, snapshots, starts)
    assert record.moments == [[1, "training"]]


def test_backward_passes_are_where_their_ops_allocate(tmp_path):
    record = profiles.read(written(tmp_path / "x.xplane.pb", host(trained())))
    assert (record.steps, record.backward_at, record.backward_to) == ([18, 36], [3, 21], [18, 36])


def test_what_is_in_a_compiled_program_has_layers_and_an_optimizer_too(tmp_path):
    allocator = Allocator()
    allocator.allocate(MIB, "net/a/Relu")
    record = profiles.read(written(tmp_path / "x.xplane.pb", host(allocator)))
    assert (record.scopes, record.optimizers) == ({"net": "net"}, [])
    compiled = Program("step", MIB, {"op": ["net/b/Relu", "Adam/Adam/update_a/mul"], "bytes": [MIB, 256]})
    record = profiles._completed(replace(record, programs=[compiled]), [])
    assert (record.scopes, record.optimizers) == ({"net/a": "a", "net/b": "b"}, ["Adam"])


BOOT, LONG_AGO = 2 * 10**12, 10**9 * 10**12  # picoseconds since a start, and since 1970 (in 2001)


@pytest.mark.parametrize(
    ("at", "told", "began", "first_event"),
    [
        (BOOT, None, None, 2.0),
        (BOOT, 1_780_000_000, 1_780_000_000, 2.0),
        (LONG_AGO, None, None, 1e9),
        (2 * LONG_AGO, None, 2 * 10**9, 0.0),
        (2 * LONG_AGO, 2 * 10**9 - 1, 2 * 10**9 - 1, 1.0),
    ],
)
def test_when_a_profile_began(tmp_path, at, told, began, first_event):
    plane = Plane("/host:CPU", stats={"profile_start_time": told * 10**9} if told else None)
    allocator = Allocator()
    allocator.allocate(256, at=at)
    plane.line("thread", allocator.events, began=at // 1000)
    record = profiles.read(written(tmp_path / "x.xplane.pb", plane))
    assert (record.began, record.first_event) == (began, first_event)


def test_a_type_is_the_same_by_its_number_and_by_its_name():
    """As TensorFlow's own header has them."""
    folders = importlib.util.find_spec("tensorflow").submodule_search_locations  # once imported, it has two
    headers = [Path(folder, "include/tensorflow/core/framework/types.pb.h") for folder in folders]
    header = next(path for path in headers if path.exists()).read_text()
    types = {name: int(number) for name, number in re.findall(r"^  DT_(\w+) = (\d+),", header, re.MULTILINE)}
    assert types["HALF"] == 19
    for name, number in types.items():
        if not name.endswith("_REF"):
            assert profiles._dtype({"data_type": number}) == profiles._dtype({"data_type": f"DT_{name}"})
    told = [
        profiles._dtype({"data_type": value}) for value in (19, "half", 2, "INT8", 34, 101, -1, "<?>", "")
    ]
    assert told == ["float16", "float16", "float64", "int8", "", "", "", "", ""]


def test_the_gpu_with_most_to_tell_is_taken_and_the_others_are_there(tmp_path):
    few, many = trained("GPU_1_bfc", steps=1), trained("GPU_10_bfc", steps=3)
    pinned = trained("gpu_host_bfc", steps=9)
    path = written(tmp_path / "x.xplane.pb", host(few, many, trained("GPU_2_bfc", steps=2), pinned))
    timeline = labkit.read_profile(path)
    assert timeline.device == "GPU:10"
    assert list(timeline.devices) == ["GPU:1", "GPU:2", "GPU:10", "gpu_host_bfc"]
    assert timeline.devices["GPU:1"].events == len(few.events)
    for name in ("GPU:1", "gpu:1", "/device:GPU:1", "GPU_1_bfc", 1, "1"):
        other = labkit.read_profile(path, device=name)
        assert (other.device, other.events) == ("GPU:1", len(few.events))
        assert other.on(10).events == timeline.events
    with pytest.raises(labkit.LabkitError, match=r"no device 'GPU:3'.* GPU:1 \(\d+ events\), GPU:2"):
        labkit.read_profile(path, device="GPU:3")


@pytest.mark.parametrize("name", ["bfc_cpu_allocator_for_gpu", "mklcpu", "cpu"])
def test_a_profile_of_a_cpu(tmp_path, name):
    path = written(tmp_path / "x.xplane.pb", host(trained(name)))
    assert labkit.read_profile(path).device == "CPU:0"


def test_two_allocators_of_one_device_are_told_apart(tmp_path):
    path = written(tmp_path / "x.xplane.pb", host(trained("cpu", steps=1), trained("mklcpu", steps=2)))
    assert list(labkit.read_profile(path).devices) == ["CPU:0", "CPU:0 (cpu)"]
    assert labkit.read_profile(path, device="cpu").allocator == "cpu"


def test_steps_are_those_that_the_profile_marks(tmp_path):
    allocator = trained(steps=3)
    third = 10**6 * len(allocator.events) // 3
    spans = [(n * third + 10**5, third, "Profiled batch", {"step_num": 5 + n}) for n in range(3)]
    evaluation = [(n * third // 4, third // 9, "test", {"step_num": n}) for n in range(12)]
    plane = host(allocator)
    plane.line("python", spans + evaluation)
    timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", plane))
    assert timeline.covers == "whole steps 1 to 3"
    assert any("the steps 5 to 7" in note for note in timeline.notes)
    assert sum(timeline.during(number).events for number in (1, 2, 3)) == timeline.events
    assert timeline.during(2).by_category()["activations"] == sum(STEP.values())


def test_a_profile_that_begins_within_a_marked_step_has_the_steps_that_it_shows(tmp_path):
    allocator = trained(steps=3)
    third = 10**6 * len(allocator.events) // 3
    plane = host(allocator)
    plane.line("python", [(third + 10**5, third, "train", {"step_num": 3})])
    timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", plane))
    assert timeline.covers == "whole steps 1 to 3"
    assert any("Not all steps are marked" in note for note in timeline.notes)
    for number in (1, 2, 3):
        assert timeline.during(number).by_category()["activations"] == sum(STEP.values())


def test_a_marked_step_of_several_backward_passes_is_one(tmp_path):
    allocator = trained(steps=4)
    half = 10**6 * len(allocator.events) // 2
    plane = host(allocator)
    plane.line("python", [(10**5 + n * half, half, "train", {"step_num": n + 1}) for n in range(2)])
    timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", plane))
    assert timeline.covers == "whole steps 1 to 2"
    assert timeline.during(1).events == timeline.during(2).events == len(allocator.events) // 2


@given(
    layers=st.lists(st.integers(2**16, 2**23), min_size=2, max_size=6),
    steps=st.integers(2, 5),
    part=st.booleans(),
)
@settings(max_examples=40)
def test_steps_without_marks_are_told_apart_by_their_ops(tmp_path_factory, layers, steps, part):
    sizes = {f"layer_{number}": size for number, size in enumerate(layers)}
    allocator = trained(steps=steps, layers=sizes)
    count = len(allocator.events)
    if part:  # the record ends within the forward pass of another step
        allocator.allocate(layers[0], "model/layer_0/MatMul")
    path = written(tmp_path_factory.mktemp("x") / "x.xplane.pb", host(allocator))
    timeline = labkit.read_profile(path)
    assert timeline.covers == f"whole steps 1 to {steps}"
    assert [timeline.during(number).events for number in range(1, steps + 1)] == [count // steps] * steps


def test_a_record_of_part_of_a_step_says_so(tmp_path):
    allocator = trained(steps=1)
    backward = next(i for i, event in enumerate(allocator.events) if "gradient" in event[3].get("tf_op", ""))
    for events, covers in [
        (allocator.events[:backward], "it ends before a backward pass"),
        (allocator.events, "it is not known whether to their end"),
        (allocator.events[backward:], "it begins in the backward pass"),
    ]:
        allocator.events = events
        timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", host(allocator)))
        assert timeline.covers.startswith("part of a step: ") and covers in timeline.covers
        assert timeline.during(1).events == timeline.events
        assert any("No whole step" in note for note in timeline.notes)
        with pytest.raises(ValueError, match="steps 1 to 1"):
            timeline.during("building")
        allocator = trained(steps=1)


@pytest.mark.parametrize("since", ["profile", "1970", "the start"])
def test_a_point_in_time_is_found_as_far_as_the_profile_knows_its_own(tmp_path, since):
    allocator, start = trained(), 1_780_000_000 * 10**9
    began = start if since == "1970" else 0
    allocator.events = [(1000 * began + at, *rest) for at, *rest in allocator.events]
    planes = [host(allocator, began=began)]
    if since == "the start":
        planes.append(Plane("Task Environment", stats={"profile_start_time": start}))
    timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", *planes))
    assert timeline.until(4.5e-6).events == 5
    if since == "profile":
        with pytest.raises(labkit.LabkitError, match="seconds since its first event"):
            timeline.until(start / 1e9)
    else:
        assert timeline.until(start / 1e9 + 1).events == timeline.events
        assert timeline.until(start / 1e9 - 1).events == 1


@pytest.mark.parametrize(
    ("ops", "layers"),
    [
        (["net/a/MatMul", "net/b/Conv2D"], ["a", "b"]),
        (["net/sub/a/x/Y", "net/b/MatMul", "net/b/while/body/_5/net/b/while/cell/Mul"], ["sub", "b", "b"]),
        (["replica_3/net/a/MatMul", "gradient_tape/replica_3/net/b/MatMul/MatMul_1"], ["a", "b"]),
        (["ConstantFolding/gradient_tape/replica_1/net/a/S", "PartitionedCall/net/b/Add"], ["a", "b"]),
        (["gen/a/M", "gen/b/M", "critic/a/M", "critic/c/M"], ["gen/a", "b", "critic/a", "c"]),
        (["net/enc/t/layer_0/q/M", "net/enc/t/layer_1/q/M", "net/enc/t/layer_2/q/M", "net/pool/M"],
         ["layer_0", "layer_1", "layer_2", "pool"]),
        (["sequential/dense/MatMul", "Adam/Adam/update/mul", "compile_loss/mse/Sub"], ["dense", None, None]),
        (["dense/MatMul", "AddN_2"], ["dense", None]),
        (["cond/then/_3/cond/net/a/Mul", "net/b/Mul"], ["a", "b"]),
    ],
)  # fmt: skip
def test_layers_are_the_scopes_between_model_and_op(tmp_path, ops, layers):
    allocator = Allocator()
    for op in ops:
        allocator.allocate(MIB, op)
    rows = labkit.read_profile(written(tmp_path / "x.xplane.pb", host(allocator))).at_peak()
    assert {row.op.partition(" (")[0]: row.layer for row in rows} == dict(zip(ops, layers, strict=True))


def test_the_newest_profile_of_a_log_folder_is_read_with_all_its_hosts(tmp_path):
    old, new = tmp_path / "logs" / RUN, tmp_path / "logs" / RUN.with_name("2026_11_27_00_00_01")
    written(new / "b.xplane.pb", host(trained(steps=3)), hostname="b")
    written(new / "a.xplane.pb", host(trained(steps=2)), hostname="a")
    written(old / "a.xplane.pb", host(trained(steps=9)))
    timeline = labkit.read_profile(tmp_path / "logs")
    assert timeline.device == "b GPU:0" and list(timeline.devices) == ["a GPU:0", "b GPU:0"]
    assert any("1 older file left out" in note for note in timeline.notes)
    assert labkit.read_profile(tmp_path, device="a GPU:0").events == len(trained(steps=2).events)
    assert labkit.read_profile(tmp_path, device="GPU:0").device == "b GPU:0"
    (new / "a.xplane.pb").write_bytes(b"\xff")
    timeline = labkit.read_profile(tmp_path)
    assert timeline.device == "b GPU:0" and any("Left out: " in note for note in timeline.notes)


def test_a_profile_beside_folders_of_runs_is_the_newest_if_it_was_written_last(tmp_path):
    run = written(tmp_path / RUN / "a.xplane.pb", host(trained(steps=2)))
    alone = written(tmp_path / "b.xplane.pb", host(trained(steps=3)))
    for newer, steps in ((alone, 3), (run, 2)):
        for path in (alone, run):
            os.utime(path, (1e9, 1e9 + (path == newer)))
        timeline = labkit.read_profile(tmp_path)
        assert timeline.events == len(trained(steps=steps).events)
        assert any("1 older file left out" in note for note in timeline.notes)


def test_files_of_one_folder_are_of_one_run_if_written_together(tmp_path):
    written(tmp_path / "a.xplane.pb", host(trained(steps=5)))
    written(tmp_path / "b.xplane.pb", host(trained(steps=2)))
    assert list(labkit.read_profile(tmp_path).devices) == ["a GPU:0", "b GPU:0"]
    os.utime(tmp_path / "a.xplane.pb", (10**9, 10**9))
    assert labkit.read_profile(tmp_path).events == len(trained(steps=2).events)


def test_a_compressed_profile_is_read(tmp_path):
    path = written(tmp_path / "x.xplane.pb", host(trained()))
    packed = tmp_path / "gz" / "x.xplane.pb.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert labkit.read_profile(packed.parent).at_peak() == labkit.read_profile(path).at_peak()
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(labkit.LabkitError, match="cut off"):
        labkit.read_profile(packed)


def test_where_there_is_nothing_to_read_it_is_said_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "c").touch()
    for path, told in [
        (tmp_path / "empty", r"no profile \(\*.xplane.pb\).*TensorBoard\(log_dir, profile_batch="),
        (tmp_path / "missing", "cannot be read: there is no such file or folder"),
        (
            written(tmp_path / "a", Plane("/host:CPU")),
            "no allocator events.*TF_CPU_ALLOCATOR_USE_BFC.*profile_batch",
        ),
        (written(tmp_path / "b", host(trained(steps=0))), "no allocator events"),
        (tmp_path / "c", "c is empty: it has no allocator events"),
    ]:
        with pytest.raises(labkit.LabkitError, match=told):
            labkit.read_profile(path)


@given(data=st.data())
@settings(max_examples=150)
def test_a_damaged_profile_is_read_or_refused_in_a_sentence(tmp_path_factory, data):
    whole = bytearray(profile(host(trained(steps=1), form=data.draw(st.sampled_from(FORMS)))))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for place in data.draw(st.lists(st.integers(0, max(0, len(whole) - 1)), max_size=4)):
        whole[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
    path = tmp_path_factory.mktemp("x") / "x.xplane.pb"
    path.write_bytes(whole)
    try:
        timeline = labkit.read_profile(path)
    except labkit.LabkitError:
        return
    assert timeline.by_category() and timeline.covers


def test_xprof_finds_the_same_peaks(tmp_path):
    from xprof.convert import raw_to_tool_data

    allocators = [trained(), trained("GPU_1_bfc", steps=1, held=0), trained("gpu_host_bfc", steps=1)]
    for form in ("numbers", "references"):
        path = written(tmp_path / f"{form}.xplane.pb", host(*allocators, form=form))
        told, _ = raw_to_tool_data.xspace_to_tool_data([str(path)], "memory_profile", {})
        peaks = {
            name: int(found["profileSummary"]["peakStats"]["peakBytesInUse"])
            for name, found in json.loads(told)["memoryProfilePerAllocator"].items()
        }
        devices = labkit.read_profile(path).devices.values()
        assert {timeline.allocator: timeline.peak_bytes for timeline in devices} == peaks


def test_reading_needs_no_tensorflow(tmp_path):
    path = written(tmp_path / "x.xplane.pb", host(trained()))
    code = f"import sys, labkit; labkit.read_profile({str(path)!r}); print('tensorflow' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_a_saved_timeline_is_the_same_with_its_devices_and_its_part(tmp_path):
    path = written(tmp_path / "x.xplane.pb", host(trained(steps=3), trained("GPU_1_bfc")))
    timeline, saved = labkit.read_profile(path), tmp_path / "saved"
    for part in (timeline, timeline.during(2)):
        part.save(saved)
        again = Timeline.load(saved)
        assert np.array_equal(again.total(), part.total())
        assert again.at_peak() == part.at_peak() and again.notes == part.notes
        assert (again.steps, again.covers, again.limit_bytes) == (part.steps, part.covers, part.limit_bytes)
        assert again.on("GPU:1").at_peak() == timeline.on("GPU:1").at_peak()
    with pytest.raises(labkit.LabkitError, match="cannot be written"):
        timeline.save(tmp_path / "no" / "folder")


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_saved_timeline_is_read_or_refused_in_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("x")
    path, saved = written(folder / "x.xplane.pb", host(trained(steps=1))), folder / "saved"
    labkit.read_profile(path).save(saved)
    whole = bytearray(saved.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    saved.write_bytes(whole)
    try:
        Timeline.load(saved).at_peak()
    except labkit.LabkitError as e:
        assert str(saved) in str(e)


@pytest.mark.parametrize(
    ("place", "bits"),
    [
        (6, 0x01),  # encrypted
        (6, 0x20),  # a patch
        (6, 0x40),  # encrypted by another method
        *((8, method) for method in (1, 9, 12, 14, 99)),  # compressed by other methods
        (14, 0xFF),  # the checksum
    ],
)
def test_a_saved_timeline_whose_parts_say_something_else_is_refused_in_a_sentence(tmp_path, place, bits):
    """place: of the header of a part of the archive; in the central directory it stands two bytes later."""
    path, saved = written(tmp_path / "x.xplane.pb", host(trained(steps=1))), tmp_path / "saved"
    labkit.read_profile(path).save(saved)
    whole = bytearray(saved.read_bytes())
    for start, offset in ((b"PK\3\4", place), (b"PK\1\2", place + 2)):
        at = whole.find(start)
        while at >= 0:
            whole[at + offset] ^= bits
            at = whole.find(start, at + 1)
    saved.write_bytes(whole)
    with pytest.raises(labkit.LabkitError, match="cannot be read as a labkit record"):
        Timeline.load(saved)


@pytest.mark.parametrize(
    "view", [{"part": [0, 10**9]}, {"part": [3, 1]}, {"part": [-1, 2]}, {"limit": "x"}, {"limit": 2**63}]
)
def test_a_saved_timeline_whose_view_is_damaged_is_refused_in_a_sentence(tmp_path, view):
    path, saved = written(tmp_path / "x.xplane.pb", host(trained(steps=1))), tmp_path / "saved"
    timeline = labkit.read_profile(path)
    timeline.record.save(saved, {"limit": None, "refused": None, "part": None, **view})
    with pytest.raises(labkit.LabkitError, match="cannot be read as a labkit record"):
        Timeline.load(saved)
    assert timeline.during(np.int64(1)).peak_bytes == timeline.during(1).peak_bytes


@pytest.mark.parametrize("packed", [False, True])
def test_no_more_is_read_of_a_profile_than_can_be_one(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_MOST", 1000)
    with (gzip.open if packed else open)(tmp_path / "x.xplane.pb", "wb") as file:
        file.write(bytes(1001))
    with pytest.raises(labkit.LabkitError, match="larger than 2 GiB"):
        labkit.read_profile(tmp_path / "x.xplane.pb")


@pytest.mark.parametrize("path", [None, 5, b"logs", ""])
def test_what_is_no_path_is_refused_in_a_sentence(path, tmp_path):
    with pytest.raises(labkit.LabkitError, match="is not the path of a profile"):
        labkit.read_profile(path)
    timeline = labkit.read_profile(written(tmp_path / "x.xplane.pb", host(trained(steps=1))))
    if path is None:
        with pytest.raises(labkit.LabkitError, match="is not the path of a file"):
            timeline.save(path)
    with pytest.raises(labkit.LabkitError, match="cannot be written"):
        timeline.save(tmp_path)
    assert not (tmp_path.parent / f"{tmp_path.name}.part").exists()


def test_the_command_shows_a_profile_and_a_saved_timeline(tmp_path, capsys):
    path = written(tmp_path / RUN / "x.xplane.pb", host(trained(), trained("GPU_1_bfc", steps=1)))
    assert main(["timeline", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "GPU:0 (GPU_0_bfc): " in shown and "whole steps 1 to 2" in shown
    for words in ("held before the record", "dense_1", "GPU:1 (", "--device", "of the allocator's 1.00 GiB"):
        assert words in shown
    labkit.read_profile(path, device=1).save(tmp_path / "saved")
    assert main(["timeline", str(tmp_path / "saved"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["device"] == "GPU:1" and sum(facts["by_category"].values()) == facts["peak_bytes"]
    assert main(["timeline", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "dense_1" in page and "default-src 'none'" in page and "GPU:0: " in page
    assert main(["timeline", str(tmp_path), "--html", str(tmp_path / "nowhere" / "page.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["timeline", str(tmp_path), "--device", "GPU:7"]) == 2
    assert "no device 'GPU:7'" in capsys.readouterr().err


def test_a_replay_gives_the_sizes_and_addresses_of_the_model_and_sees_where_they_differ(tmp_path):
    model = bfc.Allocator.of_pool(2**30, 2**44, 2**30 - 12 * MIB)
    allocator, live, rng = Allocator(held=12 * MIB), {}, random.Random(0)
    for _ in range(300):
        if live and rng.random() < 0.45:
            address = rng.choice(list(live))
            model.release(live.pop(address))
            allocator.release(address)
        else:
            requested = rng.randint(1, 3 * MIB)
            chunk = model.allocate(requested)
            live[chunk.address] = chunk
            allocator.allocate(requested, "a/b", address=chunk.address, size=chunk.size)
    path = written(tmp_path / "x.xplane.pb", host(allocator))
    pairs = retrace(labkit.read_profile(path).record)
    assert len(pairs) > 100 and all(recorded == replayed for recorded, replayed in pairs)
    assert any(size > requested + 256 for requested, size in allocator.sizes)
    record = labkit.read_profile(path).record
    moved = {**record.allocations, "requested": record.allocations["requested"] + 2 * MIB}
    assert not all(a == b for a, b in retrace(replace(record, allocations=moved)))


@pytest.mark.parametrize(("alike", "count"), [(True, 400), (False, 4000)])
def test_one_event_less_is_not_looked_for_in_every_order(alike, count, monkeypatch):
    use, whole = 10**6, []
    for i in range(count):
        size, place = (256, 0) if alike else (256 * (i // 2 % 977 + 1), i // 2)
        use += size if i % 2 == 0 else -size
        stats = {"addr": 4096 + 2**20 * place, "allocation_bytes": size, "bytes_allocated": use}
        whole.append(
            Event(1000 * i, 0, ordering.ALLOCATION if i % 2 == 0 else ordering.DEALLOCATION, "t", stats)
        )
    assert ordering.in_order(whole[::-1]) == whole
    looks, is_allocation = [], ordering.is_allocation
    monkeypatch.setattr(ordering, "is_allocation", lambda event: looks.append(1) or is_allocation(event))
    cut = [*whole[: count // 4], *whole[count // 4 + 1 :]]
    assert sorted(ordering.in_order(cut), key=lambda event: event.at) == cut
    assert len(looks) < 20 * count + 3 * ordering._LOOKS * count


def test_a_long_profile_of_threads_that_are_mixed_up_is_put_in_order(count=6000):
    draw, use, whole, live = random.Random(0), 10**6, [], []
    for i in range(count):
        frees = bool(live) and draw.random() < 0.5
        place, size = live.pop(draw.randrange(len(live))) if frees else (i, 256 * draw.randint(1, 4000))
        use += -size if frees else size
        live += [] if frees else [(place, size)]
        stats = {"addr": 2**20 * place, "allocation_bytes": size, "bytes_allocated": use}
        name = ordering.DEALLOCATION if frees else ordering.ALLOCATION
        whole.append(Event(1000 * i + draw.randint(0, 2500), 0, name, "t", stats))
    assert ordering.breaks(ordering.in_order(whole)) == 0


def test_a_small_file_that_unpacks_to_more_than_there_is_room_for_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "small.timeline"
    with open(path, "wb") as file:
        np.savez_compressed(file, header=np.zeros(2**20, "uint8"))
    assert path.stat().st_size < 2**13
    room = machine.HostMemory(2**30, 2**21, "machine")
    monkeypatch.setattr("labkit.record.record.host_memory", lambda: room)
    with pytest.raises(labkit.LabkitError, match=r"would take 1\.00 MiB of memory; 1\.00 MiB may be used"):
        Timeline.load(path)
