"""The reader of logs: blocks, lines that are broken, reports of one failure, and what belongs to it."""

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.logs import reader
from labkit.sizes import MIB
from labkit.texts.blocks import whole_lines

OOM = "OOM when allocating tensor with shape[{}] and type float on GPU:0 by allocator GPU_0_bfc"
SHAPE = "64,100,100,32"
REFUSED = "Allocator (GPU_0_bfc) ran out of memory trying to allocate {}"
TRACEBACK = "Traceback (most recent call last):"


def read(*lines):
    return reader.read(["\n".join([*lines, ""]).encode()])


def failures(*lines):
    return read(*lines).failures


# Blocks


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 30))
def test_blocks_end_with_lines_and_lose_nothing(blocks, most):
    parts = list(whole_lines(blocks, most))
    assert b"".join(parts) == b"".join(blocks)
    assert all(len(part) <= most for part in parts)
    for part, following in zip(parts, parts[1:], strict=False):
        assert part.endswith(b"\n") or b"\n" not in part + following[:0]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "", "Epoch 3/9", OOM.format(SHAPE), "Killed"]), max_size=30), st.data())
def test_lines_and_bytes_are_counted_however_the_text_arrives(lines, data):
    text = "".join(f"{line}\n" for line in lines).encode()
    cut = data.draw(st.integers(0, len(text)))
    log = reader.read([text[:cut], text[cut:]])
    assert (log.lines, log.bytes) == (len(lines), len(text))
    assert [f.line for f in log.failures] == [f.line for f in reader.read([text]).failures]
    first = next((n for n, line in enumerate(lines, 1) if "OOM" in line or line == "Killed"), None)
    assert (log.failures[0].line if log.failures else None) == first


def test_in_skipped_blocks_lines_are_counted_and_their_end_is_read(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 200)
    monkeypatch.setattr(reader, "CONTEXT_BYTES", 100)
    filler = "step 1 loss 0.5 ok\n" * 40
    text = f"Epoch 2/9\n{filler}Epoch 5/9\n{filler}Epoch 7/9\n{OOM.format(SHAPE)}\n{filler}"
    log = reader.read([text.encode()])
    assert (log.failures[0].line, log.failures[0].epoch, log.lines) == (84, 7, 124)


def test_a_long_line_is_read_around_what_it_says():
    line = "x" * 5000 + f" {OOM.format(SHAPE)} " + "y" * 9000 + " Killed"
    assert [f.kind for f in failures(line, "fine")] == ["oom", "killed"]
    assert failures(line)[0].line == 1


# Lines broken in the middle of a message


@pytest.mark.parametrize(
    ("lines", "shape"),
    [
        (
            ["OOM when allocating tensor with shape[64,100", ",100,32] and type float on x"],
            (64, 100, 100, 32),
        ),
        (["OOM when allocating tensor with shape[64,1", "00,32] and type float on x"], (64, 100, 32)),
        (["OOM when allocating tensor with shape", "[64,100] and type float on x"], (64, 100)),
        (["> OOM when allocating tensor with shape[64,", "> 100] and type float on x"], (64, 100)),
        (["OOM when allocating tensor with shape[64,", "100]", "and type float on x"], (64, 100)),
        (["OOM when allocating tensor with shape[64", "fine", "100] and type float on x"], None),
        (["OOM when allocating tensor with shape[64,", "100", "]", "and type float on x"], (64, 100)),
        (["OOM when allocating tensor with shape[64,", "100", "]", "and", "on x"], (64, 100)),
        (["OOM when allocating tensor with", "shape[64,100]", "in an op"], (64, 100)),
    ],
)
def test_broken_lines(lines, shape):
    found = failures(*lines)[0]
    assert (found.shape, found.line) == (shape, 1)
    assert found.dtype == (shape and "float32" if "float" in lines[-1] else None)


MESSAGES = [
    "tensorflow.python.framework.errors_impl.ResourceExhaustedError: " + OOM.format("512,128,128,64"),
    "2024-01-01 00:00:00.0: W tensorflow/tsl/framework/bfc_allocator.cc:485] "
    + REFUSED.format("2.25GiB (rounded to 2415919104)"),
    "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape "
    "(1000, 1000, 1000) and data type float64",
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate "
    "4294967296 bytes.",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 8.00 GiB total "
    "capacity; 5.10 GiB already allocated; 1.10 GiB free)",
]


def told(lines):
    return [(f.kind, f.requested_bytes, f.shape, f.dtype) for f in read(*lines).failures]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_says_the_same_wherever_it_is_broken_between_words(message):
    once = told([message])
    for width in range(60, 140):
        assert told(textwrap.wrap(message, width, break_on_hyphens=False)) == once, width
    words = message.split(" ")
    for cut in range(1, len(words)):
        assert told([" ".join(words[:cut]), f"  {' '.join(words[cut:])}", "fine"]) == once, words[cut]


@pytest.mark.parametrize("message", [MESSAGES[n] for n in (0, 1, 3)])
def test_a_message_says_the_same_at_the_edge_of_any_window(message):
    once = told([message])
    for width in range(60, 140):
        assert told([message[at : at + width] for at in range(0, len(message), width)]) == once, width


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize(
    "before", ["Memory growth is on", "No OOM so far", "MemoryError", "CUDA out of memory"]
)
def test_a_line_before_a_whole_message_takes_nothing_of_it(before, message):
    found = read(before, message).failures
    assert [(f.kind, f.requested_bytes, f.shape, f.dtype) for f in found][-1:] == told([message])
    assert found[-1].quote in message or before == "MemoryError"


def test_only_so_many_broken_lines_are_put_together(monkeypatch):
    monkeypatch.setattr(reader, "MOST_BROKEN", 1)
    broken = ["OOM when allocating tensor with shape[{}", "0] and type float on x"]
    found = failures(*[line.format(n) for n in (1, 2) for line in broken])
    assert [f.shape for f in found if f.shape] == [(10,)]


# Reports of one failure


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        (OOM.format(SHAPE), OOM.format(SHAPE), 1),
        (OOM.format(SHAPE), OOM.format("64,100"), 2),
        (OOM.format(SHAPE), OOM.format(SHAPE).replace("float", "half"), 2),
        (OOM.format(SHAPE), "OOM when allocating tensor with shape", 1),
        (REFUSED.format("78.12MiB"), OOM.format(SHAPE), 1),
        (REFUSED.format("78.90MiB"), OOM.format(SHAPE), 1),
        (REFUSED.format("79.00MiB"), OOM.format(SHAPE), 2),
        (REFUSED.format("77.30MiB"), OOM.format(SHAPE), 2),
        (REFUSED.format("78.12MiB"), "Dst tensor is not initialized", 1),
        (REFUSED.format("256B"), OOM.format("1"), 1),
        (REFUSED.format("1.00GiB"), REFUSED.format("1.00GiB"), 2),
        (REFUSED.format("1.00GiB"), "Killed", 2),
        (REFUSED.format("1000B"), "Out of memory while trying to allocate 1000 bytes", 1),
        (REFUSED.format("1000B"), "Out of memory while trying to allocate 9000 bytes", 2),
        (REFUSED.format("1000B"), "Cannot parse tensor from proto", 1),
        ("Killed", "Killed", 1),
        (REFUSED.format("1.2.3MiB"), OOM.format(SHAPE), 1),
        ("Out of memory while trying to allocate 1000 bytes", "Out of memory allocating 1010 bytes", 1),
        ("Out of memory while trying to allocate 1000 bytes", "Out of memory allocating 1011 bytes", 2),
        ("Out of memory while trying to allocate 1000 bytes", "Out of memory allocating 990 bytes", 1),
        ("Out of memory while trying to allocate 1000 bytes", "Out of memory allocating 989 bytes", 2),
    ],
)
def test_reports_of_one_failure_are_one(first, second, count):
    found = failures(first, second)
    assert len(found) == count
    assert found[0].last_line == (2 if count == 1 else 1)


@pytest.mark.parametrize(
    ("first", "second", "near"),
    [
        ("failed to allocate 4096 bytes from device", "failed to allocate 2048 bytes from device", 29),
        (
            "numpy.core._exceptions._ArrayMemoryError:",
            "MemoryError: Unable to allocate 8.00 KiB for an array with shape (1024,) and data type float64",
            9,
        ),
    ],
)
def test_reports_that_are_less_alike_are_one_only_close_together(first, second, near):
    assert len(failures(first, *(near - 1) * ["x"], second)) == 1
    assert len(failures(first, *near * ["x"], second)) == 2


def test_a_refusal_becomes_the_error_that_reports_it_and_keeps_what_only_it_says():
    found = failures(
        "a", REFUSED.format("78.12MiB") + " requested by op model/dense/MatMul", OOM.format(SHAPE)
    )
    assert len(found) == 1
    failure = found[0]
    assert (failure.kind, failure.line, failure.last_line) == ("oom", 3, 3)
    assert failure.quote.startswith("OOM when")
    assert (failure.op, failure.shape) == ("model/dense/MatMul", (64, 100, 100, 32))


def test_only_so_many_failures_are_kept(monkeypatch):
    monkeypatch.setattr(reader, "MOST_FAILURES", 3)
    lines = [OOM.format(n) for n in range(1, 9)]
    assert [f.shape for f in failures(*lines)] == [(1,), (2,), (3,)]


def test_mild_is_what_all_its_reports_are():
    line = "2020-01-01 00:00:00.1: {} tensorflow/x.cc:1] failed to allocate 2048 bytes from device"
    assert [f.is_mild for f in failures(line.format("I"), line.format("I"))] == [True]
    assert [f.is_mild for f in failures(line.format("I"), line.format("E"))] == [False]


# What belongs to a failure


NODE = "\t [[{{node model/dense/MatMul}}]]"


@pytest.mark.parametrize("between", [398, 399])
def test_names_count_near_a_failure_only(between):
    near = between == 398
    assert failures(OOM.format(SHAPE), *between * ["x"], NODE)[0].op == (
        "model/dense/MatMul" if near else None
    )
    assert failures(TRACEBACK, NODE, *(between - 1) * ["x"], OOM.format(SHAPE))[0].op == (
        "model/dense/MatMul" if near else None
    )


def test_a_new_traceback_has_its_own_names():
    old = [TRACEBACK, '  File "x.py", in predict', NODE, "when calling layer 'old' (type Dense)"]
    assert failures(*old, OOM.format(SHAPE))[0].op == "model/dense/MatMul"
    found = failures(*old, TRACEBACK, OOM.format(SHAPE))[0]
    assert (found.op, found.layer, found.marks) == (None, None, set())


def test_the_first_names_count():
    other = NODE.replace("MatMul", "Add")
    found = failures(TRACEBACK, NODE, other, OOM.format(SHAPE))[0]
    assert found.op == "model/dense/MatMul"
    assert failures(OOM.format(SHAPE), NODE, other)[0].op == "model/dense/MatMul"
    kinds = ["[Op:MatMul]", "[Op:Add]"]
    assert failures(OOM.format(SHAPE), *kinds)[0].op_type == "MatMul"
    assert failures(TRACEBACK, *kinds, OOM.format(SHAPE))[0].op_type == "MatMul"


@pytest.mark.parametrize(
    ("line", "op"),
    [
        ("[[{{node model/dense/MatMul/_7}}]]", None),
        ("[[{{node _arg_x/_7}}]]", None),
        ("Detected at node 'model/dense/MatMul'", "model/dense/MatMul"),
        ("Caused by op 'model/dense/MatMul'", "model/dense/MatMul"),
        ("[Op:MatMul] name: model/dense/", "model/dense/MatMul"),
        ("[Op:MatMul] name: model/dense/x", "model/dense/x"),
    ],
)
def test_op(line, op):
    assert failures(OOM.format(SHAPE), line)[0].op == op


def test_a_copy_between_devices_is_of_the_op_before_it():
    found = failures("Dst tensor is not initialized.", "[[{{node model/dense/MatMul/_7}}]]")[0]
    assert found.op == "model/dense/MatMul"


@pytest.mark.parametrize(
    ("function", "mark"), [("test", "test_function"), ("predict", "in predict"), ("train", None)]
)
def test_what_was_going_on_by_the_name_of_its_function(function, mark):
    found = failures(OOM.format(SHAPE), f"[Op:__inference_{function}_function_12]")[0]
    assert found.marks == ({mark} if mark else set())


def test_definition_of_a_node_tells_the_type():
    cut = "OOM when allocating tensor with shape[64,100]"

    def dtype(op, attributes):
        found = failures(cut, f"\t [[Node: a/b = {op}[{attributes}]]")[0]
        return found.op, found.dtype, found.shape

    assert dtype("MatMul", "T=DT_HALF") == ("a/b", "float16", (64, 100))
    assert dtype("Equal", "T=DT_HALF") == ("a/b", None, (64, 100))
    assert dtype("Const", "dtype=DT_HALF, value=Tensor<type: float shape: [64,100] 0>") == (
        "a/b", "float32", (64, 100),
    )  # fmt: skip
    assert dtype("Const", "dtype=DT_HALF, value=Tensor<type: float shape: [9] 0>")[1] == "float16"


def test_arguments_of_a_layer():
    line = "inputs=tf.Tensor(shape=(64, 9), dtype=float32), x=Tensor(shape=[3], dtype=int32)"
    found = failures(OOM.format(SHAPE), line)[0]
    assert found.arguments == [((64, 9), "float32"), ((3,), "int32")]
    assert len(failures(OOM.format(SHAPE), *30 * [line])[0].arguments) == 20
    assert failures(line)[:0] == [] and failures(line, OOM.format(SHAPE))[0].arguments == []


def test_kernel_and_layer_before_an_error():
    found = failures(
        "OP_REQUIRES failed at conv_ops.cc:12 : Resource exhausted",
        "when calling layer 'a' (type Dense)",
        OOM.format(SHAPE),
    )
    assert (found[0].kernel, found[0].layer) == ("conv_ops", "a")


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("Epoch 7/9", "epoch", 7),
        ("Epoch 7", "epoch", 7),
        ("10/10 - 3s 1/step", "done", 1),
        ("9/10 - 3s 1/step", "done", 0),
        ("batch_size=48 OOM", "batch_size", 48),
        ("batch_size=0 OOM", "batch_size", None),
        ("GPU:0 with 800 MB memory", "given_bytes", 800 * MIB),
        ("totalMemory: 8.00GiB freeMemory: 7.00GiB", "device_bytes", 8 * 1024 * MIB),
        ("totalMemory: 8.00GiB freeMemory: 7.00GiB", "free_bytes", 7 * 1024 * MIB),
        ("totalMemory: 8.00GiB", "free_bytes", None),
        ("Free memory/Total memory: 12/34", "free_bytes", 12),
        ("Free memory/Total memory: 12/34", "device_bytes", 34),
        ("tf.function retracing", "retraced", 1),
        ("ValueError: x", "errors", 1),
        ("a ValueError: x", "errors", 0),
        ("jaxlib.xla_extension.XlaRuntimeError", "framework", "jax"),
        ("a/b is x", "framework", "tensorflow"),
    ],
)
def test_context(line, field, value):
    assert getattr(read(line), field) == value


def test_of_facts_of_the_log_the_first_counts_and_of_batches_and_epochs_the_last():
    log = read("batch_size=48", "batch_size=64", "Epoch 1/9", "Epoch 2/9", *2 * ["10/10 - 3s 1/step"])
    assert (log.batch_size, log.epoch, log.done) == (64, 2, 2)
    assert read("batch_size=48", OOM.format(SHAPE), "batch_size=64").batch_size == 48
    log = read("with 800 MB memory", "with 900 MB memory", "totalMemory: 8.0GiB", "totalMemory: 9.0GiB")
    assert (log.given_bytes, log.device_bytes) == (800 * MIB, 8 * 1024 * MIB)


def test_epochs_are_those_before_the_failure():
    found = failures("Epoch 1/9", "10/10 - 3s 1/step", "Epoch 2/9", OOM.format(SHAPE), "Epoch 3/9")[0]
    assert (found.epoch, found.done) == (2, 1)


def test_lines_of_a_traceback_have_marks_and_prose_has_only_those_of_loading_and_running():
    def marks(line):
        return failures(TRACEBACK, line, OOM.format(SHAPE))[0].marks

    assert marks("    model.predict(x)") == {".predict("}
    assert marks("I called model.predict(x)") == set()
    assert marks("I called model.fit(x)") == {".fit("}
    assert marks("----> model.predict(x)") == {".predict("}


def test_marks_after_an_error_are_of_its_traceback_only_if_none_came_before():
    after = ["    model.predict(x)"]
    assert failures(OOM.format(SHAPE), *after)[0].marks == {".predict("}
    assert failures(TRACEBACK, OOM.format(SHAPE), *after)[0].marks == set()
    assert failures(OOM.format(SHAPE), TRACEBACK, *after)[0].marks == {".predict("}


# Dumps


@pytest.mark.parametrize(
    "word", ["peicher", "内存", "émoire", "emori", "bellek", "allocat", "exhaust", "RAM", "メモリ", "памят"]
)
def test_a_block_is_searched_for_what_it_may_say_of_memory(word, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 64)
    said = {
        "peicher": "Speicher reicht nicht", "内存": "内存不足", "émoire": "mémoire insuffisante",
        "emori": "memoria insuficiente", "bellek": "yetersiz bellek", "allocat": "failed to allocate",
        "exhaust": "ResourceExhausted", "RAM": "not enough RAM", "メモリ": "メモリ不足",
        "памят": "недостаточно памяти",
    }[word]  # fmt: skip
    assert read(said).wording == (1, said)


HEAD = "I tensorflow/core/common_runtime/bfc_allocator.cc:1] "
DUMP = [f"{HEAD}BFCAllocator dump for GPU_0_bfc", f"{HEAD}InUse at 100 of size 1024 next 1",
        f"{HEAD}Sum Total of in-use chunks: 1.0KiB", HEAD + 100 * "*"]  # fmt: skip


def test_dump_belongs_to_the_refusal_before_it_and_to_one_only():
    first, second = failures(REFUSED.format("1.00GiB"), *DUMP, REFUSED.format("2.00GiB"))
    assert first.dump.used_bytes == 1024 and second.dump is None
    before, after = failures(*DUMP, OOM.format(SHAPE), OOM.format("9"))
    assert before.dump.used_bytes == 1024 and after.dump is None
    title, = failures(OOM.format(SHAPE), *DUMP)  # fmt: skip
    assert title.dump.used_bytes == 1024
    assert failures("Killed", *DUMP)[0].dump is None


def test_dumps_of_threads_are_told_apart_up_to_eight_at_once():
    def lines(thread, size):
        head = f"I0000 00:00:1.5  {thread} bfc_allocator.cc:1] "
        return [f"{head}BFCAllocator dump for GPU_0_bfc", f"{head}InUse at 100 of size {size} next 1",
                f"{head}Sum Total of in-use chunks: {size}B"]  # fmt: skip

    def used(threads):
        begun = [lines(n, 1024 * n) for n in range(1, threads + 1)]
        text = [dump[0] for dump in begun] + begun[0][1:] + begun[-1][1:]
        return failures(REFUSED.format("1.00GiB"), *text)[0].dump.used_bytes

    assert used(8) == 1024  # the first is the refusal's own
    assert used(9) is None  # it was given up for the ninth


def test_dump_without_its_error_is_a_refusal():
    found, = failures("a", *DUMP)  # fmt: skip
    assert (found.kind, found.line) == ("refused", 5)
    assert failures(DUMP[0]) == []


def test_plan_of_xla_belongs_to_its_error():
    plan = ["\tSize: 9.00MiB", "\tShape: f32[9]"]
    assert len(failures("Out of memory while trying to allocate 99 bytes", *plan)[0].division.buffers) == 1
    assert failures(OOM.format(SHAPE), *plan)[0].division is None


# What of a long text is read, and what is read first


@pytest.mark.parametrize(
    "last", ["Process finished with exit code 137", "Memoria insuficiente", "메모리 부족"]
)
def test_the_end_of_a_long_text_is_read_whatever_it_says(monkeypatch, last):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 200)
    filler = ["step 1 loss 0.5 ok"] * 40
    log = read(*filler, last)
    assert (log.failures[0].line if log.failures else log.wording[0]) == 41
    assert not log.skimmed


def test_the_block_after_one_that_speaks_of_memory_is_read(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 200)
    filler = ["step 1 loss 0.5 ok"] * 40
    lines = [*filler, OOM.format(SHAPE), "x" * 150, "[[{{node net/MatMul}}]]", *filler]
    assert failures(*lines)[0].op == "net/MatMul"
    far = [*filler, OOM.format(SHAPE), *["x" * 150] * 4, "[[{{node net/MatMul}}]]", *filler]
    assert failures(*far)[0].op is None


def test_of_lines_in_other_words_the_first_counts():
    assert read("Speicher voll", "Memoria insuficiente").wording == (1, "Speicher voll")


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        (["Stats:", "Limit:  1024", "InUse:  512"], ["refused"]),
        (["Stats:", "Limit:  1024", "InUse:  0"], ["refused"]),
        (["Stats:", "Limit:  1024"], []),
        (["InUse at 7f00 of size 1280 next 1"], ["refused"]),
    ],
)
def test_a_dump_without_its_error_is_a_refusal_if_it_says_what_was_in_use(lines, kinds):
    assert [found.kind for found in failures(*lines)] == kinds


def test_a_failure_reported_again_keeps_the_place_of_its_first_report():
    kernel = "OP_REQUIRES failed at {} : Resource exhausted"
    first = [TRACEBACK, "[[{{node a/Conv2D}}]]", kernel.format("conv_ops.cc:12"), OOM.format(SHAPE)]
    again = [TRACEBACK, "[[{{node b/MatMul}}]]", kernel.format("matmul_op.cc:3"), OOM.format(SHAPE)]
    [found] = failures(*first, *again)
    assert (found.op, found.kernel, found.last_line) == ("a/Conv2D", "conv_ops", 8)


@pytest.mark.parametrize(
    "line",
    ["jaxlib.x", "raise jax.errors.X: Error", "XlaRuntimeError: x", "JaxRuntimeError: x", "jax/_src Error"],
)
def test_what_tells_that_a_text_is_of_jax(line):
    assert (read(line).framework, read("ValueError: x").framework) == ("jax", "tensorflow")


def test_of_a_log_with_too_many_lines_to_read_the_end_is_read_all_the_same(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 200)
    monkeypatch.setattr(reader, "MOST_LINES", 3)
    filler = ["step 1 loss 0.5 ok"] * 40
    lines = [*map(OOM.format, (1, 2, 3)), *filler, OOM.format(4), *filler]
    assert [f.shape for f in failures(*lines)] == [(1,), (2,), (3,)]
    assert read(*lines).skimmed and not read(*lines[1:]).skimmed
    assert [f.shape for f in failures(*lines, OOM.format(5))] == [(1,), (2,), (3,), (5,)]


@pytest.mark.parametrize(
    "line",
    ["Killed", "SIGKILL", "SIGSEGV", "Segmentation fault", "RESOURCE_EXHAUSTED", "Resource exhausted", "OOM"],
)
def test_the_end_of_a_process_is_found_in_the_middle_of_a_long_log(monkeypatch, line):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 200)
    filler = ["step 1 loss 0.5 ok"] * 40
    log = read(*filler, line, *filler)
    assert (log.failures[0].line if log.failures else log.wording[0]) == 41


def test_a_cut_message_takes_nothing_of_another_kind_from_the_next_line():
    found = failures("OOM when allocating tensor with shape", "Ran out of memory trying to allocate 3.0MiB")
    assert [f.kind for f in found] == ["oom", "refused"]


def test_lines_of_a_dump_without_a_thread_are_of_the_last_and_others_of_their_own():
    head = "I0000 00:00:1.5  {} bfc_allocator.cc:1] "
    begin = head.format(7) + "BFCAllocator dump for GPU_0_bfc"
    assert failures(REFUSED.format("1.00GiB"), begin, "InUse:  512")[0].dump.used_bytes == 512
    other = head.format(8) + "InUse at 100 of size 1024 next 1"
    assert failures(REFUSED.format("1.00GiB"), begin, other)[0].dump.chunks == []


def test_a_tensor_that_could_not_be_filled_is_described_over_many_lines_up_to_the_brace():
    sizes = [line for size in (64, 3) for line in ("  dim {", f"    size: {size}", "  }")]
    said = [
        "Cannot parse tensor from proto: goo.gle/debugonly",
        "dtype: DT_HALF",
        "tensor_shape {",
        *sizes,
        "}",
    ]
    found = failures(*said, OOM.format(SHAPE))
    assert [(f.kind, f.shape, f.line) for f in found] == [
        ("constant", (64, 3), 1), ("oom", (64, 100, 100, 32), 11),
    ]  # fmt: skip


@pytest.mark.parametrize("between", [5, 6])
def test_what_pytorch_says_is_read_over_seven_lines(between):
    said = ["CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0;", *between * ["x"]]
    [found] = failures(*said, "8.00 GiB reserved in total by PyTorch)", "fine")
    assert found.pool_bytes == (8 * 1024 * MIB if between == 5 else None)


def test_the_first_block_is_read_whatever_it_says(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 200)
    assert read("batch_size=48", *40 * ["step 1 loss 0.5 ok"]).batch_size == 48
    assert read(*40 * ["step 1 loss 0.5 ok"], "batch_size=48", *40 * ["fine, and on"]).batch_size is None


def test_without_a_traceback_marks_after_an_error_are_its_own_wherever_it_stands():
    assert failures(*500 * ["x"], OOM.format(SHAPE), "    model.predict(x)")[0].marks == {".predict("}


def test_a_text_may_end_without_a_line_break():
    assert reader.read([OOM.format(SHAPE).encode()]).failures[0].dtype == "float32"


def test_warnings_are_counted_and_the_largest_is_kept():
    said = [f"Allocation of {size} exceeds 10% of free memory" for size in (99, 500, 7)]
    unknown = REFUSED.format("1.2.3MiB") + ". The caller indicates that this is not a failure"
    log = read(unknown, *said)
    assert (log.warnings, log.warning.requested_bytes, log.failures) == (4, 500, [])


def test_what_follows_a_refusal_of_cudas_own_allocator_is_its_dump():
    refused = "gpu_async_0 cuMemAllocAsync failed to allocate 77 bytes"
    [found] = failures(refused, "x/gpu_malloc_async_allocator.cc:12] 700, 3")
    assert dict(found.dump.sizes) == {700: 3}


def test_a_dump_ends_with_its_line_of_stars():
    [found] = failures(REFUSED.format("1.00GiB"), *DUMP, "InUse at 200 of size 64 next 1")
    assert [chunk.address for chunk in found.dump.chunks] == [0x100]
    [alone] = reader.read([b"InUse at 200 of size 64 next 1"]).failures
    assert (alone.line, len(alone.dump.chunks)) == (1, 1)


def test_of_what_is_no_memory_the_first_counts_and_no_other_words():
    assert read("No space left on device", "Too many open files").no_memory[0] == 1
    log = read("fine", "memory leak: out of memory", "more memory")
    assert (log.wording, log.no_memory) == (None, None)


def test_names_on_the_line_of_the_error_and_later_ones_that_are_not_its_own():
    assert failures(f"{OOM.format(SHAPE)} [Op:MatMul]")[0].op_type == "MatMul"
    assert failures("[[{{node a/b/_7}}]]") == []
    eager, defined = "[Op:MatMul] name: other/x", "[[Node: a/b = MatMul[T=DT_HALF]]]"
    [found] = failures(OOM.format(SHAPE), NODE, eager, defined)
    assert (found.op, found.dtype) == ("model/dense/MatMul", "float32")
    [found] = failures("OOM when allocating tensor with shape[64,100]", "fine", "it is", NODE, defined)
    assert (found.op, found.dtype) == ("model/dense/MatMul", None)
