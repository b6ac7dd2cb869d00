"""diagnose() on families of texts: other versions, op names, units, shapes, line breaks of one kind."""

import math

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import labkit
from labkit.explain import causes
from labkit.explain.sources import _growth_per_step

QUICK = settings(max_examples=60, suppress_health_check=list(HealthCheck))
GPU = " and type float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
BYTES = {"float": 4, "half": 2, "double": 8, "int64": 8, "uint8": 1}
MIB, GIB = 2**20, 2**30
SIDES, CHANNELS = st.integers(16, 600), st.sampled_from((3, 16, 32, 64, 128, 256))
FRONT_ENDS = st.sampled_from(
    [
        "{}",
        "> {}",
        "2024-01-01T00:00:00Z stdout F {}",
        "tensorflow.python.framework.errors_impl.ResourceExhaustedError: {}",
        "Error in py_call_impl(callable, call_args$unnamed, call_args$named) : \n  {}\n"
        "Run `reticulate::py_last_error()` for details.",
        "\x1b[0;31mResourceExhaustedError\x1b[0m: {}",
        "2020-01-07 20:35:10.067077: W tensorflow/core/framework/op_kernel.cc:1502] {}",
        "Graph execution error:\n\nDetected at node 'model/thing/op' defined at (most recent call last):\n{}",
    ]
)


def oom(shape, dtype="float", more=""):
    return (
        f"OOM when allocating tensor with shape[{','.join(map(str, shape))}] and type {dtype} on "
        f"/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc{more}"
    )


def at(node):
    return st.sampled_from([f"\n\t [[{{{{node {node}}}}}]]", f"\n\t [[Node: {node} = Op[T=DT_FLOAT]()]]"])


def sentences(found):
    return [fix.sentence for fix in found.fixes]


# How the message is written


@QUICK
@given(st.lists(st.integers(1, 9999), max_size=6), st.sampled_from(sorted(BYTES)), FRONT_ENDS, st.data())
def test_shape_type_and_bytes_are_read_wherever_the_line_is_broken(shape, dtype, front, data):
    said = oom(shape, dtype)
    start = said.index("[") + 1
    place = data.draw(st.integers(start, start + 30))
    for text in (said, f"{said[:place]}\n{said[place:]}"):
        found = labkit.diagnose(front.replace("{}", text) + "\n")
        assert found.shape == tuple(shape)
        assert found.requested_bytes == math.prod(shape) * BYTES[dtype]


@QUICK
@given(st.lists(st.integers(1, 999), min_size=1, max_size=5), st.data())
def test_of_a_shape_that_is_cut_off_no_number_is_taken(shape, data):
    said = oom(shape)
    cut = said[: data.draw(st.integers(0, said.index("]")))]
    assert labkit.diagnose(f"{cut}\n").shape is None


WORDINGS = st.sampled_from(
    [
        "the GPU ran out of memory",
        "Insufficient memory to run this cell",
        "not enough RAM available",
        "Failed to allocate 12 bytes",
        "could not allocate a buffer",
        "Memory exhausted",
        "OUT_OF_MEMORY",
        "process was OOM killed",
        "内存不足",
        "メモリ不足です",
        "Недостаточно памяти",
        "Mémoire insuffisante",
        "memoria insuficiente",
        "nicht genügend Arbeitsspeicher",
        "std::bad_alloc",
        "ResourceExhaustedError",
        "vk::OutOfMemoryError",
    ]
)


@QUICK
@given(WORDINGS, st.sampled_from(["", "Traceback (most recent call last):\nValueError: x\n"]), FRONT_ENDS)
def test_no_wording_of_memory_that_ran_out_is_certainly_something_else(words, before, front):
    found = labkit.diagnose(f"{before}{front.replace('{}', f'{words}: see the log')}\n")
    assert found.cause != "not_oom", words


@QUICK
@given(
    st.sampled_from(
        [
            "No space left on device",
            "Disk quota exceeded",
            "[Errno 24] Too many open files",
            "Received message larger than max (8653281 vs. 4194304)",
            "Quota exceeded for quota metric 'Queries'",
        ]
    ),
    st.sampled_from(["ResourceExhaustedError: {}", "RESOURCE_EXHAUSTED: {}", "OSError: {}", "{}"]),
)
def test_what_only_calls_itself_exhausted_is_no_memory_and_the_reason_is_told(words, front):
    found = labkit.diagnose(front.format(words) + "\n")
    assert (found.cause, found.confidence) == ("not_oom", causes.CERTAIN)
    assert len(found.evidence) >= 3 and not found.fixes


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("Your session crashed after using all available RAM.", "certain"),
        ("Your notebook tried to allocate more memory than is available. It has restarted.", "certain"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0.", "certain"),
        ("Container killed by YARN for exceeding memory limits. 5.5 GB of 5.5 GB used.", "certain"),
        ("OSError: [WinError 1455] Die Auslagerungsdatei ist zu klein", "certain"),
        ("OSError: The paging file is too small for this operation to complete. (os error 1455)", "certain"),
        ("Error: cannot allocate vector of size 5.1 Gb", "certain"),
        ("Process finished with exit code 137 (interrupted by signal 9: SIGKILL)", "likely"),
        ("command terminated with exit code 137", "likely"),
        ("The kernel appears to have died. It will restart automatically.", "a guess"),
        (
            "[I 10:00:00.000 NotebookApp] KernelRestarter: restarting kernel (1/5), keep random ports",
            "a guess",
        ),
        ("[W 2024-01-01 AsyncIOLoopKernelRestarter: restarting kernel (1/5), new random ports", "a guess"),
        ("nbclient.exceptions.DeadKernelError: Kernel died", "a guess"),
        ("The Kernel crashed while executing code in the current cell or a previous cell.", "a guess"),
        ("Process finished with exit code -1073740791 (0xC0000409)", "a guess"),
        ("内核似乎挂掉了，它很快将自动重启。", "a guess"),
        ("RuntimeError: DataLoader worker (pid 1) is killed by signal: Killed.", "likely"),
    ],
)
def test_how_the_host_kills(text, sure):
    found = labkit.diagnose(f"Epoch 1/2\n{text}\n")
    assert (found.cause, found.confidence) == ("host_memory", sure)


# What was refused


@QUICK
@given(SIDES, SIDES, CHANNELS)
def test_a_batch_of_one_is_never_to_be_made_smaller(height, width, channels):
    assume(height * width * channels * 4 > 16 * MIB and height != width)
    found = labkit.diagnose(oom((1, height, width, channels)))
    assert found.cause == "activations"
    assert not [s for s in sentences(found) if "batch smaller" in s or "accumulate" in s]
    assert "sample smaller" in sentences(found)[0]


@QUICK
@given(
    st.sampled_from([(3, 3, 128, 128), (64,), (3, 3, 3, 64), (1, 1, 256, 512)]),
    st.sampled_from(["RandomStandardNormal", "RandomUniform", "StatelessRandomUniformV2", "TruncatedNormal"]),
)
def test_where_weights_that_are_tiny_are_refused_the_rest_fills_the_device(shape, op):
    found = labkit.diagnose(oom(shape, more=f" [Op:{op}]"))
    assert (found.cause, found.confidence) == ("weights_or_optimizer", causes.GUESS)
    assert any("everything else fills the device" in said for said in found.evidence)
    assert "See who holds" in sentences(found)[0]
    assert all(fix.saves is None for fix in found.fixes)


@QUICK
@given(
    st.integers(2, 300),
    st.sampled_from(["training_{}/Adam/AssignAdd/value", "adam_{}/Const", "RMSprop_{}/x"]),
)
def test_a_number_that_is_refused_and_the_models_that_were_before(count, node):
    text = f"OOM when allocating tensor of shape [] and type int64\n\t [[{{{{node {node.format(count)}}}}}]]"
    found = labkit.diagnose(text)
    assert (found.shape, found.requested_bytes) == ((), 8)
    assert "process of its own" in sentences(found)[0]
    assert any(str(count) in said for said in found.evidence[2:])


@QUICK
@given(st.integers(4000, 400_000), SIDES, CHANNELS, st.sampled_from(["float", "double", "uint8"]))
def test_a_gathered_data_set_is_a_whole_array(rows, side, channels, dtype):
    found = labkit.diagnose(oom((rows, side, side, channels), dtype, " [Op:GatherV2]"))
    assert found.cause == "array_copied_to_device"
    assert found.fixes[0].saves == rows * side * side * channels * BYTES[dtype]
    assert [s for s in sentences(found) if "float64" in s] == (
        ["Check the type: float64 takes twice the memory of float32."] if dtype == "double" else []
    )


@QUICK
@given(
    st.sampled_from(
        [
            "conv_9/kernel/read",
            "dense_1/random_uniform/RandomUniform",
            "lstm/recurrent_kernel/Assign",
            "bn_1/gamma/Initializer/ones",
            "zeros_12",
        ]
    )
)
def test_weights_that_are_not_copied_are_no_array(node):
    found = labkit.diagnose(f"InternalError: Dst tensor is not initialized.\n\t [[{{{{node {node}}}}}]]")
    assert (found.cause, found.confidence) == ("weights_or_optimizer", causes.GUESS)


@QUICK
@given(
    st.integers(7, 120),
    st.sampled_from([32, 64, 128, 256, 512]),
    st.sampled_from([64, 128, 500, 512]),
    st.sampled_from(["training/Adam/mul_20", "adam/Square_3", "training_2/RMSprop/mul_7"]),
)
def test_a_dense_layer_behind_flatten_is_no_table_of_words(side, channels, units, node):
    rows = side * side * channels
    assume(rows >= 10_000 and min((rows - more) % 1000 for more in (0, 1, 2)) and rows & (rows - 1))
    found = labkit.diagnose(f"{oom((rows, units))}\n\t [[{{{{node {node}}}}}]]")
    assert found.cause == "weights_or_optimizer"
    assert rows * units * 4 < 8 * MIB or "Flatten" in sentences(found)[0]


@QUICK
@given(st.integers(10_000, 3_000_000), st.sampled_from([50, 100, 200, 300, 768]), st.booleans())
def test_a_table_of_words_stays_one_and_where_both_could_be_both_are_told(rows, width, named):
    node = "training/Adam/gradients/embedding_1/embedding_lookup_grad/Mul" if named else "training/Adam/mul_3"
    rows = rows if named else rows // 1000 * 1000
    assume(rows >= 8 * width)
    found = labkit.diagnose(f"{oom((rows, width))}\n\t [[{{{{node {node}}}}}]]")
    if rows * width * 4 > 8 * MIB:
        assert found.cause == "embedding" if not named else found.cause in ("embedding", "activations")
    flattened = any("behind Flatten" in said for said in found.evidence)
    assert (
        flattened == any("behind Flatten" in s or "instead of Flatten" in s for s in sentences(found))
        or named
    )


SQUARES = [
    "res_block/add_3/add",
    "net/bn_1/batchnorm/add_1",
    "unet/add/add",
    "conv2d_3/BiasAdd",
    "stem/pool/MaxPool",
]


@QUICK
@given(st.integers(1, 16), st.sampled_from([8, 32, 64, 256]), st.integers(128, 512), st.sampled_from(SQUARES))
def test_square_feature_maps_are_no_attention(batch, channels, side, node):
    found = labkit.diagnose(f"{oom((batch, channels, side, side))}\n\t [[{{{{node {node}}}}}]]")
    assert found.cause == "activations"


@QUICK
@given(st.integers(1, 32), st.sampled_from([None, 1, 8, 12, 16]), st.integers(4096, 30_000))
@example(16, None, 20_000)
@example(2, 12, 8192)
def test_long_sequences_against_themselves_are_attention_without_a_name_too(batch, heads, length):
    shape = (batch, length, length) if heads is None else (batch, heads, length, length)
    found = labkit.diagnose(oom(shape))
    assert (found.cause, found.confidence) == ("attention", causes.LIKELY)
    assert "shorter sequences" in sentences(found)[0]


KERNELS = st.one_of(
    st.tuples(
        st.sampled_from([1, 3, 5, 7]), st.sampled_from([16, 64, 256, 1024]), st.sampled_from([32, 64, 512])
    ).map(lambda k: (k[0], k[0], *k[1:])),
    st.sampled_from(
        [(7, 7, 3, 64), (11, 11, 3, 96), (3, 3, 512, 1), (3, 3, 3, 128, 256), (2, 2, 2, 256, 256)]
    ),
    st.sampled_from([(1, 7, 160, 192), (5, 5, 1, 32)]),
)


@QUICK
@given(KERNELS, st.sampled_from(["", "assign_op.h", "random_op.cc"]))
def test_kernels_are_weights(shape, file):
    before = f"OP_REQUIRES failed at {file}:112 : Resource exhausted: " if file else ""
    assert labkit.diagnose(f"{before}{oom(shape)}").cause == "weights_or_optimizer"


@pytest.mark.parametrize(
    "shape", [(32, 224, 224, 3), (8, 64, 112, 112), (4, 3, 1080, 1920), (16, 128, 7, 7, 512)]
)
def test_images_are_no_kernels(shape):
    assert labkit.diagnose(oom(shape)).cause == "activations"


@pytest.mark.parametrize(
    "node",
    [
        "conv3d_4/convolution/SpaceToBatchND",
        "time_distributed_4/conv1d/conv1d",
        "tower_1/conv/Conv2D",
        "lambda_1/unstack",
        "roi_align/CropAndResize",
    ],
)
def test_where_the_first_dimension_may_be_a_multiple_of_the_batch_that_is_said(node):
    found = labkit.diagnose(f"{oom((512, 32, 32, 64))}\n\t [[{{{{node {node}}}}}]]")
    assert any("or a multiple of it" in said for said in found.evidence)


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("training/Adam/gradients/model_2/conv2d_16/convolution_grad/Conv2DBackpropInput", "conv2d_16"),
        ("gradients/model_1/dense_3/MatMul_grad/MatMul", "dense_3"),
        ("lstm_1/recurrent_kernel/Assign", "lstm_1"),
        ("training_2/Adadelta/gradients/zeros_70", None),
        ("training/Adam/Variable_14/Assign", None),
        ("replica_0/model_1/conv2d/Conv2D", "conv2d"),
        ("import/conv1/Conv2D", "conv1"),
        ("OptimizeLoss/gradients/zeros", None),
        ("gradient_tape/UnsortedSegmentSum/pfor/UnsortedSegmentSum", None),
        ("loss/dense_1_loss/mul", None),
        ("net/bn_1/batchnorm/add_1", "bn_1"),
    ],
)
def test_the_layer_in_a_path(node, layer):
    found = labkit.diagnose(f"{oom((64, 224, 224, 64))}\n\t [[{{{{node {node}}}}}]]")
    assert found.layer == layer


@pytest.mark.parametrize(
    ("words", "layer"),
    [
        ("Exception encountered when calling layer 'conv2d_7' (type Conv2D).", "conv2d_7"),
        ('Exception encountered when calling layer "conv2d_7" (type Conv2D).', "conv2d_7"),
        ("Exception encountered when calling Conv2D.call().", "Conv2D"),
    ],
)
def test_the_layer_in_words(words, layer):
    text = f"ResourceExhaustedError: {words}\n\n{{{{function_node __wrapped__Conv2D_device_/job}}}} "
    found = labkit.diagnose(f"{text}{oom((64, 224, 224, 64))} [Op:Conv2D]")
    assert (found.layer, found.cause) == (layer, "activations")


# Other programs' words, with numbers


@QUICK
@given(st.integers(1, 900), st.integers(2, 80), st.sampled_from(["CUDA", "HIP", "XPU"]), st.booleans())
def test_pytorch_says_what_was_asked_the_limit_and_what_is_in_use(asked, limit, device, is_new):
    used = limit - 1
    text = f"torch.OutOfMemoryError: {device} out of memory. Tried to allocate {asked}.00 MiB"
    if is_new:
        text += (
            f". GPU 0 has a total capacity of {limit}.00 GiB of which 24.00 MiB is free.\n"
            f"Including non-PyTorch memory, this process has {used}.00 GiB memory in use."
        )
    else:
        text += f" (GPU 0; {limit}.00 GiB total capacity; {used}.00 GiB already allocated; 24.00 MiB free; "
        text += f"{used}.00 GiB reserved in total by PyTorch)"
    found = labkit.diagnose(text)
    assert (found.requested_bytes, found.limit_bytes) == (asked * MIB, limit * GIB)
    assert (found.in_use_bytes, found.largest_free_bytes) == (used * GIB, 24 * MIB)
    assert found.cause == "activations" and "tf." not in "".join(fix.code for fix in found.fixes)


@pytest.mark.parametrize(
    ("process", "allocated", "cause", "used"),
    [(14.73, 14.40, "activations", 14.73), (14.70, 1.50, "memory_taken_before_start", 1.50)],
)
def test_in_a_container_pytorch_names_its_own_process_by_number(process, allocated, cause, used):
    found = labkit.diagnose(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total "
        "capacity of "
        f"14.74 GiB of which 12.12 MiB is free. Process 3264 has {process} GiB memory in use. Of the "
        f"allocated "
        f"memory {allocated} GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but "
        f"unallocated."
    )
    assert (found.cause, found.in_use_bytes) == (cause, round(used * GIB))


@QUICK
@given(st.floats(16, 400).map(lambda x: round(x, 2)), st.sampled_from([7.48, 15.48, 31.25, 95.74]))
def test_a_tpu_says_how_many_times_too_much_it_is(used, room):
    assume(used > room)
    found = labkit.diagnose(
        f"RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used {used}G of {room}G hbm."
    )
    assert (found.requested_bytes, found.limit_bytes) == (round(used * GIB), round(room * GIB))
    assert any("times what there is" in said for said in found.evidence)
    assert not [s for s in sentences(found) if "XLA" in s]


@QUICK
@given(st.integers(2**20, 2**33), st.sampled_from(["bytes on host", "pinned"]))
def test_pinned_memory_is_the_hosts(size, form):
    texts = {
        "bytes on host": f"failed to alloc {size} bytes on host: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "pinned": f"could not allocate pinned host memory of size: {size}",
    }
    found = labkit.diagnose(f"2020-01-01 00:00:00.1: E tensorflow/x.cc:1] {texts[form]}\n")
    assert (found.cause, found.requested_bytes) == ("host_memory", size)


@pytest.mark.parametrize("level", "IWE")
def test_a_driver_that_refuses_in_passing_is_a_warning_only_if_it_says_so_mildly(level):
    text = (
        f"2020-01-01 00:00:00.1: {level} tensorflow/stream_executor/cuda/cuda_driver.cc:775] failed to "
        f"allocate "
        "2.20G (2362232064 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory\n"
    )
    refused = (
        "2020-01-01 00:00:00.1: W tensorflow/core/common_runtime/bfc_allocator.cc:245] Allocator "
        "(GPU_0_bfc) ran out "
        "of memory trying to allocate 1.27GiB. The caller indicates that this is not a failure\n"
    )
    assert labkit.diagnose(text).cause == "memory_taken_before_start"
    assert labkit.diagnose(text + refused).cause == (
        "warning_only" if level == "I" else "memory_taken_before_start"
    )


@QUICK
@given(st.integers(2, 100_000), st.integers(1000, 200_000), st.sampled_from(["to_categorical", "one_hot"]))
def test_one_hot_targets_are_kept_as_integers(rows, classes, function):
    text = (
        f'  File "a.py", line 8, in <module>\n    y = {function}(y, {classes})\nMemoryError: Unable to '
        f"allocate "
        f"18.6 GiB for an array with shape ({rows}, {classes}) and data type float32\n"
    )
    found = labkit.diagnose(text)
    assert (found.cause, found.confidence) == ("host_memory", causes.CERTAIN)
    assert "targets as integers" in sentences(found)[0]
    assert found.fixes[0].saves in (None, rows * classes * 4 - rows * 4)


def test_growth_that_was_seen_ranks_above_what_a_shape_suggests():
    from dataclasses import replace

    known = labkit.diagnose(f"{oom((400_000, 300))}\n\t [[{{{{node training/Adam/mul_3}}}}]]").failure
    assert causes.find(known)[0] == "embedding"
    assert causes.find(replace(known, grows_by_bytes=MIB))[:2] == ("growth", causes.CERTAIN)


CHUNKS = {  # how the list of chunks was printed by TensorFlow 1 on Linux and on Windows, 2.0, and since
    "tf1": "Chunk at 0x{place:x} of size {size}",
    "windows": "Chunk at {place:016X} of size {size}",
    "tf2.0": "InUse at {place:016X} next 2652 of size {size}",
    "chunks": "InUse at {place:x} of size {size} next 1",
}
DUMPS = st.sampled_from([*CHUNKS, "summary"])


def dump(sizes, limit, form):
    """A memory dump with chunks of these sizes. form: how they are listed, or "summary" if they are not."""
    head = "2024-01-01 00:00:00.1: I tensorflow/core/common_runtime/bfc_allocator.cc:1] "
    lines = [f"{head}BFCAllocator dump for GPU_0_bfc"]
    place = 2**28
    for size in sizes if form in CHUNKS else ():
        lines.append(head + CHUNKS[form].format(place=place, size=size))
        place += size
    for size in sorted(set(sizes)):
        lines.append(f"{head}{sizes.count(size)} Chunks of size {size} totalling 1.00GiB")
    lines += [f"{head}Stats: ", f"Limit: {limit}", f"InUse: {sum(sizes)}"]
    return "\n".join(lines) + "\n"


@QUICK
@given(
    st.lists(st.integers(300, 4000), min_size=1, max_size=4, unique=True),
    st.integers(2, 64),
    DUMPS,
)
def test_whole_arrays_in_a_dump_are_told_whatever_op_failed(samples, batch, form):
    side = 512
    sample = side * side * 3 * 4
    arrays = [rows * sample for rows in samples]
    assume(min(samples) > 4 * batch and min(arrays) > 0.04 * sum(arrays))
    assume(2 * sum(rows % batch == 0 for rows in samples) < len(samples) or len(samples) == 1)
    text = dump([*arrays, 256, 1024], sum(arrays) + sample, form)
    text += f"{oom((batch, side, side, 3))}\n\t [[{{{{node model/conv2d/Conv2D}}}}]]\n"
    found = labkit.diagnose(text)
    assert found.cause == "array_copied_to_device"
    assert found.fixes[0].saves == sum(arrays)
    assert any("multiple of one sample" in said or "single chunk" in said for said in found.evidence)


def test_of_a_dump_that_is_cut_off_at_its_head_the_figures_are_read():
    stars = "2019-07-03 12:12:05.286124: W tensorflow/core/common_runtime/bfc_allocator.cc:271] " + 100 * "*"
    for head in (
        "2019-07-03 12:12:05.26: I tensorflow/core/common_runtime/bfc_allocator.cc:647] Stats:\n",
        "",
    ):
        text = f"{head}Limit:                  1433901465\nInUse:                   542523392\n{stars}\n"
        found = labkit.diagnose(text + oom((500, 17, 17, 4032)))
        assert (found.limit_bytes, found.in_use_bytes) == (1433901465, 542523392)
        assert (found.cause, found.confidence) == ("tensor_exceeds_limit", causes.CERTAIN)


@QUICK
@given(st.integers(3, 60), st.integers(2, 64), DUMPS)
def test_many_equal_activations_in_a_dump_are_no_arrays(count, batch, form):
    size = batch * 112 * 112 * 64 * 4
    assume(size * count > GIB)
    text = dump([size] * count, int(size * (count + 0.5)), form)
    text += f"{oom((batch, 112, 112, 64))}\n\t [[{{{{node model/conv2d/Conv2D}}}}]]\n"
    found = labkit.diagnose(text)
    assert found.cause == "activations"
    assert any(f"{count} of " in said for said in found.evidence)
    assert (found.memory_map is not None) == (form in CHUNKS)


# In trials: the memory in use at the ends of all steps


@QUICK
@given(st.integers(10 * MIB, GIB), st.lists(st.integers(0, 100), min_size=3, max_size=60))
@example(GIB, [96, 101, 98, 97, 100, 99])
def test_what_wanders_and_comes_back_does_not_grow(base, wander):
    ends = [base + part * base // 1000 for part in wander]
    ends += ends[:1] * max(1, len(ends) // 3)  # it comes back to where it began
    assert _growth_per_step(ends, 2 * base) is None


@QUICK
@given(st.integers(6, 60), st.integers(1, 40), st.integers(0, 3))
def test_what_is_more_from_step_to_step_grows_though_it_wanders_a_little(steps, more, wander):
    ends = [100 * MIB + step * more * MIB + (step % 2) * wander * MIB // 8 for step in range(steps)]
    limit = ends[-1]
    found = _growth_per_step(ends, limit)
    assert found is None or abs(found - more * MIB) <= wander * MIB
    if (steps // 3) * more * MIB > 0.05 * limit:
        assert found
