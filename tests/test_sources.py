"""From a text to the failure that is explained: which of several it is, and what is put together for it."""

from types import SimpleNamespace

import numpy as np
import pytest

import labkit
from labkit.explain import sources
from labkit.explain.sources import _growth_per_step, of_trial, with_timeline
from labkit.logs import reader
from labkit.logs.failure import Failure
from labkit.outcome import TrialError
from labkit.sizes import MIB

OOM = (
    "OOM when allocating tensor with shape[64,100,100,32] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n"
)
MILD = "2020-01-01 00:00:00.1: I tensorflow/x.cc:1] failed to allocate {} bytes from device: {}\n"
CUDA = "CUDA_ERROR_OUT_OF_MEMORY: out of memory"
WARNED = (
    "W tensorflow/x.cc:1] Allocator (GPU_0_bfc) ran out of memory trying to allocate {}GiB. The caller "
    "indicates that this is not a failure\n"
)
TRACEBACK = "Traceback (most recent call last):\n"


def known(text):
    return labkit.diagnose(text).failure


def first_evidence(text):
    found = labkit.diagnose(text)
    return found.cause, found.confidence, found.evidence


# Where nothing failed


@pytest.mark.parametrize(
    ("after", "sure"), [("", "likely"), ("\n", "likely"), ("\na\nEpoch 2/9\n", "certain")]
)
def test_after_the_last_warning_of_host_memory_the_process_may_have_ended(after, sure):
    said = first_evidence(f"a\nW x.cc:1] Allocation of 77 exceeds 10% of system memory.{after}")
    assert said[:2] == ("warning_only", sure)
    assert any("The text ends there" in sentence for sentence in said[2]) == (sure == "likely")


def test_of_warnings_alone_the_largest_is_told():
    cause, sure, evidence = first_evidence("a\n" + WARNED.format(1) + WARNED.format(3) + WARNED.format(2))
    assert (cause, sure) == ("warning_only", "certain")
    assert evidence[0].startswith('Line 3: "Allocator (GPU_0_bfc) ran out')
    assert known(WARNED.format(1) + WARNED.format(3)).requested_bytes == 3 * 2**30


@pytest.mark.parametrize(
    ("text", "cause", "sure", "words"),
    [
        ("", "unknown", "a guess", "There is no text."),
        ("fine", "not_oom", "likely", "Nothing in 1 line speaks"),
        ("fine\nand well\n", "not_oom", "likely", "Nothing in 2 lines speaks"),
        (f"{TRACEBACK}ValueError: x\n", "not_oom", "certain", "Nothing in 2 lines speaks"),
        ("OSError: No space left on device\n", "not_oom", "certain", 'Line 1: "OSError: No space'),
        ("a\nRuntimeError: can't start new thread\n", "not_oom", "likely", 'Line 2: "RuntimeError'),
        ("a\nthe memory is exhausted\n", "unknown", "a guess", "in no form known here"),
    ],
)
def test_no_failure(text, cause, sure, words):
    found = labkit.diagnose(text.encode())
    assert (found.cause, found.confidence) == (cause, sure)
    assert found.evidence[0].startswith(words) or words in found.evidence[0]


def test_words_that_no_form_knows_are_quoted_with_their_line():
    assert labkit.diagnose("a\nthe memory is exhausted\n").evidence[1] == 'Line 2: "the memory is exhausted"'
    assert labkit.diagnose(b"disk quota exceeded\n").evidence[-1].startswith("No memory ran out here")


def test_words_that_no_form_knows_are_explained_where_predict_joins_its_outputs():
    text = f'{TRACEBACK}  File "x.py", in potentially_ragged_concat\nmemory is exhausted\n'
    cause, _, evidence = first_evidence(text)
    assert (cause, evidence[0]) == ("predict_output", 'Line 3: "memory is exhausted"')
    assert labkit.diagnose(text.replace("potentially_ragged_concat", "f")).cause == "unknown"


@pytest.mark.parametrize("length", [150, 151])
def test_long_words_are_shortened(length):
    text = f"memory is exhausted {'x' * (length - 20)}"
    said = labkit.diagnose(text.encode()).evidence[1]
    assert said == f'Line 1: "{text if length == 150 else text[:147] + "..."}"'


# Of several failures


SEGFAULT, DIED = "Segmentation fault (core dumped)\n", "The kernel appears to have died.\n"
REFUSED = "Allocator (GPU_0_bfc) ran out of memory trying to allocate 1.00GiB.\n"
DRIVER = "failed to allocate 2048 bytes from device\n"
PINNED = "could not allocate pinned host memory of size: 4096\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (DIED + "Killed\n", "killed"),
        (DIED + SEGFAULT, "crashed"),
        (DIED + PINNED, "pinned"),
        (SEGFAULT + "Killed\n", "killed"),
        (PINNED + "Killed\n", "killed"),
        (DRIVER + REFUSED, "refused"),
        ("Killed\n" + OOM, "oom"),
        ("exceeded job memory limit\n" + OOM, "oom"),
        ("slurmstepd: Detected 1 oom-kill event(s)\n" + OOM, "oom"),
        ("GPU out of memory\n" + OOM, "oom"),
        (OOM + "Killed\n", "oom"),
        ("MemoryError\n" + OOM, "host"),  # alike: the first of them
        (OOM + "MemoryError\n", "oom"),
    ],
)
def test_the_failure_that_says_most_is_explained(text, kind):
    assert known(text).kind == kind


def test_all_others_are_listed_and_what_was_only_warned_of():
    text = f"{WARNED.format(1)}{OOM}Killed\nWARNING: x triggered tf.function retracing\n"
    assert [said.partition(",")[0] for said in labkit.diagnose(text).others] == [
        "line 3: killed",
        "warnings that TensorFlow carried on with less memory: 1.",
        "TensorFlow warned of retracing: each new trace stays in the host's memory.",
    ]
    assert labkit.diagnose(OOM).others == []


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ValueError: SavedModel larger than 2GB\n", "not_oom"),
        (f"{TRACEBACK}  in x.py\n    model.save('a')\nValueError: larger than 2GB\n", "not_oom"),
        (f"{TRACEBACK}  File saved_model/x.py\nValueError: larger than 2GB\n", "not_oom"),
        ("ValueError: larger than 2GB\n", "array_copied_to_device"),
    ],
)
def test_a_model_too_large_for_its_format_is_no_lack_of_memory(text, cause):
    assert labkit.diagnose(text).cause == cause


def test_memory_that_ran_out_as_a_model_was_saved_did_run_out():
    assert labkit.diagnose(f"{TRACEBACK}  in x.py\n    model.save('a')\n{OOM}").cause == "activations"


@pytest.mark.parametrize(
    ("text", "where"),
    [(OOM, "Line 1 of 1"), (OOM.strip(), "Line 1 of 1"), (f"a\n{OOM}b\n", "Line 2 of 3")],
)
def test_where_it_stands(text, where):
    assert labkit.diagnose(text).evidence[0].startswith(f'{where}: "OOM when')


def test_a_crash_after_a_refusal_is_that_of_a_copy():
    assert known(REFUSED + SEGFAULT).crashed and labkit.diagnose(REFUSED + SEGFAULT).confidence == "certain"
    assert not known(SEGFAULT + REFUSED).crashed
    assert not known(REFUSED).crashed
    assert not known(OOM + SEGFAULT).crashed
    of_op = REFUSED.replace("GiB.", "GiB requested by op MatMul/x")
    assert not known(of_op + SEGFAULT).crashed


def test_the_allocator_is_that_of_the_others_if_all_have_the_same():
    copy, host = "Dst tensor is not initialized\n", REFUSED.replace("GPU_0_bfc", "cuda_host_bfc")
    assert labkit.diagnose(f"{'x' * 9}\n{copy}Killed\n{host}").cause == "host_memory"
    assert known(f"{copy}{host}{REFUSED}").allocator is None
    assert known(OOM + host).allocator == "GPU_0_bfc"


def test_facts_of_the_whole_log_go_with_the_failure():
    text = (
        "Created device /device:GPU:0 with 8000 MB memory\ntotalMemory: 10.00GiB freeMemory: 9.00GiB\n"
        "batch_size=48\nW x.cc:1] Allocation of 77 exceeds 10% of system memory\n"
        "W x.cc:1] Allocation of 99 exceeds 10% of system memory\n"
        f"{DRIVER}{OOM}"
    )
    failure = known(text)
    assert (failure.batch, failure.limit_bytes, failure.device_bytes) == (48, 8000 * MIB, 10 * 2**30)
    assert (failure.warned_bytes, failure.driver_refused_bytes) == (99, 2048)
    assert (known(OOM).warned_bytes, known(OOM).driver_refused_bytes) == (None, None)
    assert known(OOM + DRIVER).driver_refused_bytes is None  # it came later
    evidence = labkit.diagnose(text).evidence[0]
    assert evidence.startswith('Line 7 of 7: "OOM when allocating')


def test_the_least_that_the_driver_refused_counts():
    text = "\n" * 9 + MILD.format(4096, CUDA) + "x\n" * 40 + MILD.format(1024, CUDA) + "x\n" * 40
    assert known(text + OOM).driver_refused_bytes == 1024


@pytest.mark.parametrize(
    ("text", "framework"),
    [
        (OOM, "tensorflow"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n", "torch"),
        (f"jaxlib.xla_extension.XlaRuntimeError: x\n{OOM}", "jax"),
    ],
)
def test_framework(text, framework):
    assert known(text).framework == framework


# What belongs to a refusal


def test_a_mild_driver_is_only_warned_of_if_tensorflow_carried_on():
    assert labkit.diagnose(MILD.format(2048, CUDA) + WARNED.format(1)).cause == "warning_only"
    assert labkit.diagnose(MILD.format(2048, CUDA)).cause == "memory_taken_before_start"
    assert labkit.diagnose(MILD.format(2048, CUDA) + WARNED.format(1) + OOM).cause == "activations"


RECEIVED = "Arguments received by Dense.call(): inputs=tf.Tensor(shape=({}), dtype={})\n"


@pytest.mark.parametrize(
    ("shape", "dtype", "taken"),
    [
        ("64, 1000, 4096", "float32", True),
        ("64, 1000, 4057", "float32", True),
        ("64, 1000, 4055", "float32", False),
        ("64, 1000, 4136", "float32", True),
        ("64, 1000, 4138", "float32", False),
        ("64, 1000, 4096", "float16", False),
        ("64, 1000, 8192", "float16", True),
        ("64, 1000, 4096", "string", False),
    ],
)
def test_shape_of_an_argument_that_is_as_large_as_what_was_refused(shape, dtype, taken):
    failure = known(f"Error allocating 1048576000 bytes of device memory\n{RECEIVED.format(shape, dtype)}")
    expected = tuple(int(n) for n in shape.split(","))
    assert failure.shape == (expected if taken else None)
    assert failure.requested_bytes == (failure.tensor_bytes if taken else 1048576000)


def test_without_a_size_no_argument_is_taken_for_what_was_refused():
    assert known(f"Dst tensor is not initialized\n{RECEIVED.format('64, 9', 'float32')}").shape is None


@pytest.mark.parametrize(
    ("listed", "shape", "dtype"),
    [
        ("f32[64,1000,4096]", (64, 1000, 4096), "float32"),
        ("s32[64,1000,4096]", (64, 1000, 4096), "int32"),
        ("u8[64,4000,4096]", (64, 4000, 4096), "uint8"),
        ("bf16[64,2000,4096]", (64, 2000, 4096), "bfloat16"),
        ("pred[64,4000,4096]", (64, 4000, 4096), "bool"),
        ("f64[64,500,4096]", (64, 500, 4096), "float64"),
        ("s64[64,500,4096]", (64, 500, 4096), "int64"),
        ("u16[64,2000,4096]", (64, 2000, 4096), "uint16"),
        ("f16[64,2000,4096]", (64, 2000, 4096), "float16"),
        ("f32[64,4096]", None, None),
    ],
)
def test_shape_of_a_buffer_that_xla_lists(listed, shape, dtype):
    text = (
        f"Out of memory while trying to allocate 1048576000 bytes.\n\tSize: 1000.00MiB\n\tShape: {listed}\n"
    )
    assert (known(text).shape, known(text).dtype) == (shape, dtype)


def test_op_of_a_refusal_without_what_calls_it():
    failure = known(REFUSED.replace("GiB.", "GiB requested by op StatefulPartitionedCall/model/dense/MatMul"))
    assert (failure.op, failure.layer) == ("model/dense/MatMul", "dense")
    assert failure.on_gpu and known(OOM).on_gpu
    on_cpu = OOM.replace("GPU:0", "CPU:0").replace("GPU_0_bfc", "cpu")
    assert not known(on_cpu).on_gpu


HEAD = "I tensorflow/core/common_runtime/bfc_allocator.cc:1] "


@pytest.mark.parametrize(
    ("free", "available", "largest"), [(900, 500, 900), (900, 1000, 1000), (900, 0, 900), (None, 700, 700)]
)
def test_the_largest_block_is_a_hole_or_what_may_yet_be_taken(free, available, largest):
    lines = ["BFCAllocator dump for GPU_0_bfc", "InUse at 100 of size 1024 next 1"]
    lines += [f"Free at 900 of size {free} next 2"] if free else []
    lines += [f"total_region_allocated_bytes_: 3000 memory_limit_: 4000 available bytes: {available}"]
    lines += ["Sum Total of in-use chunks: 1.0KiB"] if free else ["InUse: 5000"]
    failure = known(REFUSED + "".join(f"{HEAD}{line}\n" for line in lines))
    assert (failure.largest_free_bytes, failure.available_bytes) == (largest, available)
    assert failure.limit_bytes == 4000 and (failure.memory_map is not None) == bool(free)


@pytest.mark.parametrize(("used", "largest"), [("1.0KiB", None), ("2.5KiB", 700), ("2.0KiB", None)])
def test_what_may_yet_be_taken_is_not_the_largest_block_beside_a_larger_rest(used, largest):
    said = (
        "total_region_allocated_bytes_: 3000 memory_limit_: 4000 available bytes: 700",
        f"Sum Total of in-use chunks: {used}",
    )
    assert known(REFUSED + "".join(f"{HEAD}{line}\n" for line in said)).largest_free_bytes == largest


def test_of_an_outcome_that_did_not_run_out_the_limit_is_kept():
    assert labkit.diagnose(labkit.Outcome("ok", limit_bytes=9)).limit_bytes == 9


# Of a trial


def trial(error=None, log="", scopes=None, **facts):
    error = error or TrialError("ResourceExhaustedError", OOM)
    return of_trial(error, log, Failure(**facts), scopes or {})


@pytest.mark.parametrize("name", ["MemoryError", "_ArrayMemoryError", "HostMemory"])
def test_memory_of_the_host_is_not_that_of_the_trials_limit(name):
    found = trial(TrialError(name, ""), available_bytes=3 * MIB, limit_bytes=9 * MIB)
    assert (found.cause, found.limit_bytes) == ("host_memory", 9 * MIB)
    assert found.evidence[0].endswith(name) and "could take 3.00 MiB" in found.evidence[1]
    told = trial(TrialError(name, "no room"), limit_bytes=MIB)
    assert [said.endswith("no room") for said in told.evidence] == [True]


def test_a_trial_knows_its_own_facts():
    chunk = SimpleNamespace(size=4 * MIB, in_use=True)
    free = SimpleNamespace(size=2 * MIB, in_use=False)
    memory_map = SimpleNamespace(
        in_use_bytes=8 * MIB, largest_free_bytes=2 * MIB, held_bytes=10 * MIB, chunks=[chunk, chunk, free]
    )
    facts = {"limit_bytes": 100 * MIB, "batch": 64, "steps": 5, "layer": "eager", "crashed": False}
    failure = trial(memory_map=memory_map, **facts).failure
    assert failure.largest_free_bytes == 90 * MIB  # up to the limit
    assert (failure.in_use_bytes, failure.sizes) == (8 * MIB, {4 * MIB: 2})
    assert (failure.batch, failure.steps, failure.layer) == (64, 5, "eager")
    assert failure.is_alone and not failure.on_gpu and failure.limit_bytes == 100 * MIB
    full = SimpleNamespace(**{**vars(memory_map), "held_bytes": 99 * MIB})
    assert trial(memory_map=full, **facts).failure.largest_free_bytes == 2 * MIB
    assert trial(limit_bytes=MIB).failure.largest_free_bytes is None


def test_a_trials_layer_is_that_of_the_ops_scope():
    error = TrialError("ResourceExhaustedError", OOM + "\t [[{{node model/a_1/MatMul}}]]\n")
    assert trial(error, scopes={"a_1": "first"}, layer="eager").layer == "first"
    assert trial(error, layer="eager").layer == "eager"


def test_a_trials_first_refusal_in_its_log_tells_the_bytes():
    plain = TrialError("InternalError", "Dst tensor is not initialized")
    assert trial(plain, REFUSED).requested_bytes == 2**30
    assert trial(plain, "Killed\n" + REFUSED).requested_bytes == 2**30
    assert trial(plain, "fine\n").requested_bytes is None
    assert trial(TrialError("X", "no such words"), REFUSED).requested_bytes == 2**30
    assert trial(plain, REFUSED.replace("GiB.", "GiB requested by op MatMul")).op == "MatMul"
    asked = trial(
        plain, REFUSED.replace("GiB.", "GiB requested by op StatefulPartitionedCall/a/MatMul")
    ).failure
    assert (asked.op, asked.allocator) == ("a/MatMul", "GPU_0_bfc")


def test_marks_of_a_trials_traceback_count():
    error = TrialError("ResourceExhaustedError", OOM, traceback='File "x.py", in predict\n')
    assert "in predict" in trial(error).failure.marks
    waited = TrialError("OutOfMemory", "It waited.")
    assert trial(waited).evidence[-1] == "It waited."
    assert "It waited." not in trial(TrialError("X", "It waited.")).evidence


def timeline(total, steps, kinds=None, block=None, limit=1000):
    return SimpleNamespace(
        events=len(total), steps=steps, limit_bytes=limit,
        total=lambda: np.array(total), by_category=lambda place: {"weights": total[place]},
        refused_block=lambda: block, weight_shapes=lambda: {"[10,40]", "[40]", "[32,40]"},
        alive=lambda place: [SimpleNamespace(op=op, bytes=9) for op in ("the array given to fit", None)],
    )  # fmt: skip


def test_what_a_timeline_adds():
    before = trial(limit_bytes=1000 * MIB)
    after = with_timeline(before, timeline([100, 200, 300, 400, 500], [1, 2, 3, 9]))
    assert after.failure.held_by_category == {"weights": 500} and after.failure.arrays_bytes == 9
    assert (after.failure.grows_by_bytes, after.failure.steps) == (100, 4)
    assert after.cause == "growth"
    assert with_timeline(before, timeline([100, 100, 100, 100], [1, 2, 3])).failure.grows_by_bytes is None
    assert with_timeline(before, timeline([], [])) is before
    assert with_timeline(None, timeline([1], [])) is None
    host = trial(TrialError("MemoryError", ""))
    assert with_timeline(host, timeline([1], [])) is host


def test_with_xla_what_was_in_use_tells_nothing_without_the_block():
    class Block:
        def by_category(self):
            return {"weights": 9}

        def by_layer(self):
            return {}

        def at_peak(self):
            for op, shape, size in [
                ("a/while/b", "[5,10,40]", 1),
                ("a/while/b", "[5,40,10]", 2),
                ("a/while/b", "[10,40]", 4),
                ("a/b", "[5,10,40]", 8),
                ("a/while/b", "[5,32,40]", 16),  # 32 is the batch
                ("a/while/b", "[5,40]", 32),
                ("a/while/b", "", 64),
            ]:
                yield SimpleNamespace(op=op, shape=shape, bytes=size)

    error = TrialError("XlaRuntimeError", "Out of memory while trying to allocate 1000 bytes.")
    found = trial(error, batch=32, limit_bytes=10**6)
    assert with_timeline(found, timeline([1], [])).failure.held_by_category is None
    with_block = with_timeline(found, timeline([1], [], block=Block())).failure
    assert (with_block.held_by_category, with_block.loop_bytes) == ({"weights": 1}, 3)
    other = with_timeline(trial(limit_bytes=10**6), timeline([1], [], block=Block())).failure
    assert (other.block, other.loop_bytes) == (None, 0)


@pytest.mark.parametrize(
    ("ends", "limit", "grows"),
    [
        ([0, 100, 120, 140], 1000, 20),  # the first, which makes the optimizer's state, is left out
        ([100, 120], 1000, None),
        ([100, 120, 140], 1000, 20),
        ([100, 110, 120], 1000, 10),  # by a fiftieth of the limit
        ([100, 110, 119], 1000, None),
        ([100, 101, 103], None, 1),  # by a fiftieth of the most
        ([100, 101, 102], None, None),
        ([100, 100, 140], 1000, None),
        ([100, 150, 140], 1000, None),
        ([50, 100, 100, 140, 160, 180], 1000, None),  # of five that count each must be more
        ([50, 100, 90, 140, 160, 180, 200], 1000, 20),  # of six some may be less
        ([50, 100, 90, 140, 210, 180, 200], 1000, None),  # but none of the earlier above all of the last
        ([50, 100, 160, 140, 140, 170, 200], 1000, None),
    ],
)
def test_growth_per_step(ends, limit, grows):
    assert _growth_per_step(ends, limit) == grows


# From what is given to bytes


def test_a_text_of_the_length_of_a_path_is_tried_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text(OOM)
    assert labkit.diagnose("log").cause == "activations"
    said = "It was read as text: there is no file of this name."
    assert labkit.diagnose("no log").evidence[-1] == said
    for text in (b"no log", "no log\n", bytearray(b"no log")):
        assert labkit.diagnose(text).evidence[-1] != said
    assert not sources._is_path("") and not sources._is_path("\0") and not sources._is_path("x" * 5000)


def test_a_folder_and_a_missing_file_cannot_be_read(tmp_path):
    for path, words in [(tmp_path, "not a regular file"), (tmp_path / "no", "cannot be read")]:
        with pytest.raises(labkit.LabkitError, match=words):
            labkit.diagnose(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_utf_16_is_read_by_its_mark(tmp_path, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "log").write_bytes((mark + "Ж" * 200_000 + "\n" + OOM).encode(encoding))
    assert labkit.diagnose(tmp_path / "log").shape == (64, 100, 100, 32)


# Whatever a needle finds, a shorter one of the same list finds


def test_each_needle_is_found_by_one_that_is_looked_for():
    wanted = {n for _, needles, _ in reader.FORMS for n in needles} | {*reader._CONTEXT}
    looked_for = [needle.decode() for needle in reader._NEEDLES]
    assert all(any(short in needle for short in looked_for) for needle in wanted)
    others = [n for n in looked_for if n not in (reader.CONSTANT, reader.TRIED)]
    assert not [n for n in others if any(short != n and short in n for short in others)]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(
    ("free", "cause"),
    [("410.25MiB", "memory_taken_before_start"), ("3.75GiB", "memory_taken_before_start"),
     ("4.00GiB", "unknown"), ("15.50GiB", "unknown")],
)  # fmt: skip
def test_what_was_free_as_tensorflow_started_explains_an_oom_that_is_only_told(free, cause):
    found = labkit.diagnose(f"Why is it OOM here?\ntotalMemory: 16.00GiB freeMemory: {free}\nThanks\n")
    assert found.cause == cause
    assert cause == "unknown" or "another program holds the rest" in str(found)
    assert labkit.diagnose(f"totalMemory: 16.00GiB freeMemory: {free}\nThanks\n").cause == "not_oom"
