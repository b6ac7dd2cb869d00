"""One line, and one line of a dump, to what it says: sizes, kinds, and what is no message at all."""

from types import SimpleNamespace

import pytest

from labkit.logs import dumptext, messages, xlatext
from labkit.logs.failure import Failure
from labkit.outcome import Outcome
from labkit.sizes import MIB, counted
from labkit.widgets.parts.runs import MapRun

GIB = 1024 * MIB
ROOM = "2.0G. That was not possible. There are 1.0G free"
TORCH = "CUDA out of memory. Tried to allocate 2.00 GiB"


def read(text):
    return messages.failure(3, text)


@pytest.mark.parametrize(
    ("text", "kind", "requested"),
    [
        ("Allocator (cpu) ran out of memory trying to allocate 1.00GiB", "refused", GIB),
        ("Allocator (cpu) ran out of memory trying to allocate 1.0GiB (rounded to 77)", "refused", 77),
        (
            "Allocator (cpu) ran out of memory trying to allocate 1.0GiB, which is not a failure",
            "warning",
            GIB,
        ),
        ("Allocation of 99 exceeds 10% of free memory", "warning", 99),
        ("gpu_async cuMemAllocAsync failed to allocate 77 bytes", "refused", 77),
        ("Out of memory while trying to allocate 77 bytes.", "xla", 77),
        ("Out of memory while trying to allocate 77 bytes: profiling failure", "refused", 77),
        ("Out of memory while trying to allocate 77 bytes for scratch", "refused", 77),
        (f"Attempting to reserve {ROOM}", "xla", 2 * GIB),
        (f"Attempting to allocate {ROOM}", "full", 2 * GIB),
        (f"loading program: Attempting to allocate {ROOM}", "xla", 2 * GIB),
        (
            "MemoryError: Unable to allocate 1.00 MiB for an array with shape (4,) and data type u1",
            "host",
            MIB,
        ),
        ("OOM when allocating tensor with shape[3] from scratch, which is not a failure", "oom", None),
        ("CUDA_ERROR_OUT_OF_MEMORY: Attempting to allocate 5", "driver", None),
        ("MemoryError", "host", None),
        ("MemoryError: the device memory", "full", None),
        (TORCH, "torch", 2 * GIB),
        ("fine", None, None),
        ("OOM", None, None),
    ],
)
def test_kind_and_size(text, kind, requested):
    found = read(text)
    assert (found and found.kind) == kind
    assert (found and found.requested_bytes) == requested
    assert found is None or (found.line, found.last_line) == (3, 3)


@pytest.mark.parametrize(
    ("text", "requested", "limit"),
    [
        ("Ran out of memory in memory space hbm. Used 3.0G of 2.0G hbm.", 3 * GIB, 2 * GIB),
        ("HLO temporaries (3.0G) exceeds available HBM (2.0G)", 3 * GIB, 2 * GIB),
        ("Hbm usage: 3.0G is exceeding available bytes: 2.0G", 3 * GIB, 2 * GIB),
        ("Allocation (size=3000) would exceed memory (size=2000)", 3000, 2000),
    ],
)
def test_limits_of_a_tpu(text, requested, limit):
    assert (read(text).requested_bytes, read(text).limit_bytes) == (requested, limit)
    assert read(text).is_tpu == ("hbm" in text.lower())


@pytest.mark.parametrize(("size", "overflow"), [("16383.0 GiB", False), ("16384.0 GiB", True)])
def test_more_than_any_memory_has(size, overflow):
    assert read(f"CUDA out of memory. Tried to allocate {size}").is_overflow is overflow
    assert not read("Dst tensor is not initialized").is_overflow


@pytest.mark.parametrize(
    ("more", "field", "size"),
    [
        ("GPU 0 has a total capacity of 8.00 GiB", "limit_bytes", 8 * GIB),
        ("GPU 0 has a total capacty of 8.00 GiB", "limit_bytes", 8 * GIB),
        ("(GPU 0; 8.00 GiB total capacity", "limit_bytes", 8 * GIB),
        ("max allowed: 8.00 GiB", "limit_bytes", 8 * GIB),
        ("this process has 8.00 GiB memory in use", "in_use_bytes", 8 * GIB),
        ("8.00 GiB already allocated", "in_use_bytes", 8 * GIB),
        ("MPS allocated: 8.00 GiB", "in_use_bytes", 8 * GIB),
        ("of which 8.00 GiB is free", "largest_free_bytes", 8 * GIB),
        ("1.00 GiB already allocated; 8.00 GiB free", "largest_free_bytes", 8 * GIB),
        ("8.00 GiB is reserved by PyTorch but unallocated", "unused_bytes", 8 * GIB),
        ("Driver report 8589934592 bytes free and 9 bytes total", "largest_free_bytes", 8 * GIB),
        ("Driver report 9 bytes free and 8589934592 bytes total", "limit_bytes", 8 * GIB),
        ("total capacity of 8.00 GiB; max allowed: 9.00 MiB", "limit_bytes", 8 * GIB),
        ("x; 8.00 GiB cached", "unused_bytes", 8 * GIB),
        ("8.00 GiB reserved in total by PyTorch", "pool_bytes", 8 * GIB),
    ],
)
def test_what_pytorch_says_beside_the_request(more, field, size):
    for unit, factor in {"B": 2**-30, "KiB": 2**-20, "MB": 2**-10, "GiB": 1}.items():
        said = more.replace("8.00 GiB", f"{8 / factor:.0f} {unit}")
        assert getattr(read(f"{TORCH}. {said}"), field) == size


@pytest.mark.parametrize(
    ("process", "allocated", "unused", "limit", "in_use", "others"),
    [
        (9, 8, 0, 16, 9, None), (9, 4, 0, 16, 9, None), (10, 4, 0, 16, 4, 6), (10, 4, 1, 16, 10, None),
        (10, None, 0, 16, 10, None), (9, 8, 0, None, 9, None), (8, 4, 0, None, 4, 4),
    ],
)  # fmt: skip
def test_own_process_of_a_container(process, allocated, unused, limit, in_use, others):
    said = f"{TORCH}. Process 7 has {process}.00 GiB memory in use."
    said += f" total capacity of {limit}.00 GiB" if limit else ""
    said += f" {allocated}.00 GiB is allocated by PyTorch" if allocated else ""
    said += f" {unused}.00 GiB is reserved by PyTorch but unallocated" if unused else ""
    found = read(said)
    assert found.in_use_bytes == in_use * GIB
    assert found.others_bytes == (others and others * GIB)
    own = read(f"{said} this process has 1.00 GiB memory in use")
    assert (own.in_use_bytes, own.others_bytes) == (GIB, process * GIB)


@pytest.mark.parametrize(
    ("facts", "how_much"),
    [
        ({"kind": "oom"}, False), ({"kind": "oom", "shape": (2,)}, False),
        ({"kind": "oom", "shape": (2,), "dtype": "float32"}, True),
        ({"kind": "oom", "requested_bytes": 9}, True),
        *(({"kind": kind}, False) for kind in ("refused", "xla", "torch", "driver", "host")),
        *(({"kind": kind, "requested_bytes": 9}, True) for kind in ("refused", "xla", "torch", "driver")),
        ({"kind": "host", "shape": (2,)}, True),
    ],
)  # fmt: skip
def test_what_says_how_much_is_whole(facts, how_much):
    assert messages.says_how_much(Failure(**facts)) is how_much
    assert messages.may_be_cut_off(Failure(**facts)) is not how_much


def test_what_may_be_cut_off():
    assert messages.may_be_cut_off(Failure(kind="full"))
    assert not messages.may_be_cut_off(Failure(kind="killed"))


def test_op_by_path_or_by_type():
    text = "Allocator (cpu) ran out of memory trying to allocate 1.0GiB requested by op {}"
    assert (read(text.format("a/b")).op, read(text.format("a/b")).op_type) == ("a/b", None)
    assert (read(text.format("b")).op, read(text.format("b")).op_type) == (None, "b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No space left on device", "disk"), ("Too many open files", "files"), ("quota exceeded", "quota"),
        ("memory quota exceeded", None), ("space left", None),
        ("much space left on device", None),
        ("No space left on device: 'memory.log'", "disk"), ("fine", None),
        ("static TLS block", "dynamic linker"), ("can't start new thread", "threads"),
    ],
)  # fmt: skip
def test_no_memory(text, words):
    reason = messages.no_memory(text)
    assert (words in reason) if words else reason is None


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ("out of memory", True),
        ("OUT OF MEMORY", True),
        ("memory leak: out of memory", False),
        ("fine", False),
    ],
)
def test_speaks_of_memory(text, speaks):
    assert messages.speaks_of_memory(text) is speaks


@pytest.mark.parametrize(
    ("line", "chatter"),
    [*((f"{word}:   12", True) for word in ("InUse", "MaxInUse", "NumAllocs", "MaxAllocSize", "Reserved")),
     *((f"{word}:   12", True) for word in ("PeakReserved", "LargestFreeBlock")),
     *((f"2024-01-01 00:00:00.1: {level} x", level in "IWEF") for level in "IWEFX"),
     *((f"{level}0000 00:00:17.5   12 some_file.cc:12] x", level in "IWEF") for level in "IWEFX"),
     ("WARNING: All log messages before absl", True), ("To enable the following instructions: x", True),
     ("If the cause is memory fragmentation", True), ("Current allocation summary follows.", True),
     ("Hint: If you want to see", True), ("\t [[{{node a}}]]", True), ("[[{{function_node a}}]]", True),
     (" ", True), ("2024-01-01 00:00:00.1: I x", True), ("Limit:   12", True), ("loss 0.5", False)],
)  # fmt: skip
def test_chatter(line, chatter):
    assert messages.is_tensorflow_chatter(line) is chatter


def test_names_of_types():
    assert [messages.short_name(name) for name in ("FLOAT", "half", "double", "int8", "")] == [
        "float32", "float16", "float64", "int8", None,
    ]  # fmt: skip


def test_what_a_failure_counts():
    assert Failure(sizes={4: 3, 10: 1}).used_bytes == 22
    assert Failure(sizes={4: 3}, in_use_bytes=9).used_bytes == 9
    assert (Failure(sizes={4: 3, 10: 1}).most_equal, Failure().most_equal) == ((3, 4), (0, 0))
    assert Failure(shape=(3, 4), dtype="int64").tensor_bytes == 96
    assert Failure(shape=(3, 4)).tensor_bytes is None and Failure(dtype="int64").tensor_bytes is None
    xla = {"kind": "xla", "requested_bytes": 100}
    assert Failure(**xla).is_one_block and Failure(**xla, loop_bytes=50).is_one_block
    assert not Failure(**xla, loop_bytes=51).is_one_block and not Failure().is_one_block
    assert not Failure(**xla, quote="Used 1G of 1G hbm").is_one_block
    full = {"limit_bytes": 100, "largest_free_bytes": 10, "in_use_bytes": 20}
    assert Failure(**full).rest_bytes == 70 and Failure(**full, unused_bytes=5).rest_bytes == 65
    assert Failure(**full, pool_bytes=50, unused_bytes=5).rest_bytes == 40
    assert Failure(**full, pool_bytes=9).rest_bytes == 70
    assert all(Failure(**{**full, name: None}).rest_bytes == 0 for name in full)


# Dumps as text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8.41G", round(8.41 * GIB)),
        ("32.08MiB", round(32.08 * MIB)),
        ("77", 77),
        ("1,024B", 1024),
        ("1KiB", 1024),
        ("2T", 2048 * GIB),
        ("1.2.3", None),
        ("x", None),
        ("", None),
        (" 5 B ", 5),
    ],
)
def test_size(text, size):
    assert dumptext.size(text) == size


def dump(*lines):
    found = dumptext.TextDump()
    assert [found.read(line) for line in lines] == [True] * len(lines)
    return found


IN_USE, FREE = "InUse at 100 of size 1000 next 1", "Free  at 500 of size 500 next 2"
STARS = "x] " + "*" * 60 + "_" * 30 + "*" * 5 + "_" * 5


def test_dump():
    found = dump(IN_USE, FREE, "Sum Total of in-use chunks: 1000B", "Limit: 4000", "MaxInUse: 3000", STARS)
    assert (found.limit_bytes, found.used_bytes, found.peak_bytes, found.ended) == (4000, 1000, 3000, True)
    assert (found.whole, found.free_bytes, found.largest_free_bytes) == (True, 500, 500)
    assert (dict(found.sizes), found.free_share) == ({1000: 1}, 0.3)
    memory_map = found.memory_map()
    assert (memory_map.in_use_bytes, memory_map.peak_bytes, memory_map.held_bytes) == (1000, 3000, 1500)
    assert [(c.address, c.in_use) for c in dump(FREE, IN_USE, "InUse: 1000").memory_map().chunks] == [
        (0x100, True), (0x500, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "whole"), [(1016, True), (1017, False), (984, True), (983, False), (None, False)]
)
def test_a_dump_is_whole_if_its_chunks_are_what_it_counts(said, whole):
    lines = [IN_USE] + ([f"InUse: {said}"] if said else [])
    found = dump(*lines)
    assert found.whole is whole
    assert (found.memory_map() is not None) is whole
    assert found.free_bytes == (0 if whole else None)
    assert not dump("InUse: 1000").whole
    large = IN_USE.replace("1000", "100000")
    assert dump(large, "InUse: 100600").whole and not dump(large, "InUse: 100608").whole
    assert dump(IN_USE, "InUse: 1000").memory_map().peak_bytes == 0
    assert dump(IN_USE, "InUse: 1000").largest_free_bytes == 0
    assert dump(IN_USE, FREE, FREE.replace("500", "700"), "InUse: 1000").largest_free_bytes == 700


def test_dump_that_is_cut_off():
    pool = "total_region_allocated_bytes_: 2000 memory_limit_: 4000 available bytes: 1900"
    found = dump(IN_USE, "3 Chunks of size 700 totalling 2KiB", pool, STARS)
    assert (found.pool_bytes, found.limit_bytes, found.available_bytes) == (2000, 4000, 1900)
    assert found.largest_free_bytes == 600
    assert dict(dump("3 Chunks of size 700 totalling 2KiB").sizes) == {700: 3}
    assert dict(dump("x/gpu_malloc_async_allocator.cc:12] 700, 3").sizes) == {700: 3}
    for more in ("InUse: 7", STARS, pool):
        assert dump("LargestFreeBlock: 70", more).largest_free_bytes == 70
    assert dump("LargestFreeBlock: 0").largest_free_bytes is None
    assert dump("Sum Total of in-use chunks: 9B", "InUse: 7").used_bytes == 7


def test_the_first_limit_counts():
    assert dump("Limit: 0", "Limit: 4000", "Limit: 5000").limit_bytes == 4000
    assert dump("Stats:  Limit:  4000").limit_bytes == 4000
    assert dump("Limit: 4000", "Limit: 5000").largest_free_bytes is None


def test_other_lines_belong_to_no_dump():
    found = dumptext.TextDump()
    assert not found.read("loss 0.5") and found.read("x of size 3")
    assert (found.chunks, found.used_bytes, found.largest_free_bytes, found.free_share) == ([], None, None, 0)


@pytest.mark.parametrize(
    "line",
    [
        IN_USE, STARS, "x] " + 100 * "_", "Limit: 5", "InUse: 7", "MaxInUse: 7", "LargestFreeBlock: 7",
        "x] Stats:", "Sum Total of in-use chunks: 9B", "gpu_malloc_async_allocator.cc:12] 700, 3",
        "3 Chunks of size 700 totalling 2KiB", "BFCAllocator dump for GPU_0_bfc",
        "total_region_allocated_bytes_: 2000 memory_limit_: 4000 available bytes: 1900",
    ],
)  # fmt: skip
def test_lines_of_a_dump_contain_one_of_the_strings_that_are_looked_for(line):
    assert any(needle in line for needle in dumptext.NEEDLES)


def test_only_so_many_chunks_are_kept(monkeypatch):
    monkeypatch.setattr(dumptext, "MOST_CHUNKS", 2)
    assert len(dump(*3 * [IN_USE]).chunks) == 2


@pytest.mark.parametrize(
    ("line", "inside"),
    [
        ("x] Stats:", True),
        ("Limit: 5", True),
        ("a Limit: 5", False),
        (IN_USE, True),
        (STARS, True),
        ("of size", False),
        ("x of size 3", False),
        ("3 Chunks of size 700 totalling 2KiB", True),
        ("Sum Total of in-use chunks: 9B", True),
    ],
)
def test_inside(line, inside):
    assert dumptext.is_inside(line) is inside


# What XLA prints of a block


PLAN = """
             parameter allocation:    1.50MiB
              constant allocation:         0B
        maybe_live_out allocation:    3.00MiB
     preallocated temp allocation:    2.00KiB
Peak buffers:
\tBuffer 1:
\t\tSize: 1.00MiB
\t\tOperator: op_type="MatMul" op_name="model/dense/MatMul" source_file="x.py"
\t\tEntry Parameter Subshape: bf16[256,8]
\t\t==========================
\tBuffer 2:
\t\tSize: 77B
\t\tXLA Label: fusion
\t\tShape: f32[]
""".splitlines()


def division(*lines):
    found = xlatext.Division()
    return found, [line.strip() for line in lines if found.read(line)]


def test_plan_of_a_block():
    found, of_plan = division(*PLAN)
    assert found.totals == {"parameter": 3 * MIB // 2, "maybe_live_out": 3 * MIB, "preallocated temp": 2048}
    assert (found.given, found.scratch, found.is_whole, found.complete) == (3 * MIB // 2, 2048, True, False)
    assert found.buffers == [
        xlatext.Buffer(MIB, "model/dense/MatMul", "bf16[256,8]"), xlatext.Buffer(77, "", "f32[]"),
    ]  # fmt: skip
    assert [str(buffer) for buffer in found.buffers] == [
        "1.00 MiB bf16[256,8] of model/dense/MatMul", "77 B f32[]",
    ]  # fmt: skip
    assert [line for line in PLAN if any(needle in line for needle in xlatext.NEEDLES)] == [
        line for line in PLAN if line.strip() in of_plan or "constant" in line
    ]
    assert [line.partition(":")[0] for line in of_plan] == [
        "parameter allocation", "maybe_live_out allocation", "preallocated temp allocation",
        "Size", "Operator", "Entry Parameter Subshape", "Size", "Shape",
    ]  # fmt: skip


@pytest.mark.parametrize("size", ["1.91Gi", "1.9.1GiB", "1.91GiBs", "1.91"])
@pytest.mark.parametrize(
    "line", ["\t\tSize: {}", "Unpadded size: {}", "program   {}", "Unpadded ({}) Padded (5.0G)"]
)
def test_what_is_no_size_is_not_read_as_one(line, size):
    plan = [*PLAN[:6], line.format(size), *PLAN[6:]]
    found, _ = division(*plan)
    assert all(isinstance(buffer.bytes, int) for buffer in found.buffers) and str(found.buffers[0])
    assert None not in found.totals.values() and found.padded == (0, 0)


def test_a_plan_that_is_printed_again_or_cut_off():
    once, of_plan = division(*PLAN)
    twice, of_both = division(*PLAN, *PLAN)
    assert (twice.totals, twice.buffers, of_both) == (once.totals, once.buffers, 2 * of_plan)
    for start, end in ((0, 4), (2, None)):
        assert not division(*PLAN[start:end])[0].is_whole
    cut, of_plan = division(PLAN[8], PLAN[9])
    assert (cut.buffers, len(of_plan), cut.given, cut.scratch) == ([], 2, None, None)
    assert not division("loss 0.5", "Size: 5B of 9", "xSize: 5B")[1]


def test_one_of_a_thing_is_singular():
    assert counted(1, "step") == "1 step" and counted(0, "step") == "0 steps"
    sweep = SimpleNamespace(tried=[((8, 16), Outcome("ok"))])
    run = MapRun({}, sweep, limit=2, predicted={(8, 16): 1})
    assert run.result == "1 of 1 trial as predicted"
