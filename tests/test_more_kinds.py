"""diagnose() on families of texts, of the kinds that the second round of unseen threads had misread."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_kinds import BYTES, GIB, MIB, QUICK, dump, oom, sentences

import labkit
from labkit.explain import causes

SHAPES = st.lists(st.integers(2, 400), min_size=2, max_size=4)
TYPES = st.sampled_from(sorted(BYTES))


# What TensorFlow 1 tells in the definition of a node


def bare(shape):
    return f"OOM when allocating tensor with shape[{','.join(map(str, shape))}]"


@QUICK
@given(SHAPES, TYPES, st.sampled_from(["T", "dtype", "DstT"]))
def test_the_type_stands_in_the_definition_of_the_op(shape, dtype, attribute):
    rest = '_device="/job:localhost/replica:0/task:0/gpu:0"](a, b)]]'
    node = f'[[Node: a/rnn/op = Op[_class=["loc:@a/rnn"], {attribute}=DT_{dtype.upper()}, {rest}'
    found = labkit.diagnose(f"{bare(shape)}\n\t {node}\n")
    assert (found.shape, found.requested_bytes) == (tuple(shape), math.prod(shape) * BYTES[dtype])


@pytest.mark.parametrize(
    "node",
    [
        "[[Node: a/Greater = Greater[T=DT_FLOAT](a, b)]]",
        "[[Node: a/ArgMax = ArgMax[T=DT_FLOAT, Tidx=DT_INT32](a, b)]]",
        "[[Node: a/op = Op[Tidx=DT_INT32](a, b)]]",
        "[[Node: a/op = Op[T=DT_FLO",
    ],
)
def test_a_type_that_is_not_that_of_the_tensor_is_not_taken(node):
    found = labkit.diagnose(f"{bare((64, 500))}\n\t {node}\n")
    assert (found.shape, found.requested_bytes) == ((64, 500), None) or node.endswith("FLO")
    assert found.dtype is None or node.endswith("FLO") and found.dtype == "flo"


@QUICK
@given(st.integers(200, 40_000), st.integers(100, 4096))
def test_the_shape_of_a_constant_that_was_not_initialized(rows, columns):
    value = f"value=Tensor<type: float shape: [{rows},{columns}] values: [0 0 0]...>"
    text = f"Dst tensor is not initialized.\n\t [[Node: zeros_12 = Const[dtype=DT_FLOAT, {value}]()]]\n"
    found = labkit.diagnose(f"InternalError: {text}")
    assert (found.shape, found.requested_bytes) == ((rows, columns), rows * columns * 4)
    assert found.cause in ("weights_or_optimizer", "embedding")


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("h6/Adam_1/Assign", "h6"),
        ("dense_1/kernel/RMSProp/read", "dense_1"),
        ("net/fc/weights/Momentum/Initializer/zeros", "fc"),
        ("training/Adam/Variable_14/Assign", None),
    ],
)
def test_the_layer_of_an_optimizers_slot(node, layer):
    assert labkit.diagnose(f"{oom((2048, 9000))}\n\t [[{{{{node {node}}}}}]]").layer == layer


@QUICK
@given(st.integers(2, 400), st.sampled_from(["fc1", "predictions", "embedding", "lstm"]))
def test_the_name_of_an_eager_op_and_the_models_that_were_before(number, name):
    where = "/job:localhost/replica:0/task:0/device:CPU:0 by allocator cpu"
    error = f"OOM when allocating tensor with shape[25088,4096] and type float on {where}"
    found = labkit.diagnose(f"{error} [Op:Add] name: {name}_{number}/random_uniform/\n")
    assert (found.layer, found.cause) == (f"{name}_{number}", "host_memory")
    assert ("Free the models" in sentences(found)[0]) == (number >= 20)


# What stands elsewhere in a post


@QUICK
@given(st.integers(100, 2000), st.sampled_from(["{}", "**{}**", "> {}", "`{}`"]))
def test_a_dump_below_the_error_is_its_own_with_emphasis_too(used, front):
    lines = (f"Limit:                 {2048 * MIB}", f"InUse:                 {used * MIB}")
    stats = "\n".join(["x/bfc_allocator.cc:702] Stats: ", *map(front.format, lines)])
    for text in (f"{oom((64, 99, 99, 64))}\n{stats}\n", f"{stats}\n{oom((64, 99, 99, 64))}\n"):
        found = labkit.diagnose(text)
        assert (found.limit_bytes, found.in_use_bytes) == (2048 * MIB, used * MIB)


@QUICK
@given(
    st.integers(10_000, 400_000),
    st.sampled_from([64, 128, 300, 512, 1024]),
    st.sampled_from(
        ["vocab_size = 9", "I increased the VOCAB_SIZE", "Creating vocabulary", "batch_size = 8"]
    ),
    st.booleans(),
)
def test_where_the_text_speaks_of_a_vocabulary_and_no_op_a_tall_matrix_is_its_table(rows, width, said, first):
    assume(rows % 64 and rows >= 8 * width)
    text = f"{said}\n{bare((rows, width))}\n" if first else f"{bare((rows, width))}\n\n{said}\n"
    found = labkit.diagnose(text)
    is_table = "batch" not in said
    assert (found.cause, found.confidence) == ("embedding" if is_table else "activations", causes.GUESS)


JOINING = (
    "Traceback (most recent call last):\n"
    '  File "a/keras/engine/training.py", line 1614, in predict\n'
    "    all_outputs = nest.map_structure_up_to(batch_outputs, concat, outputs)\n"
    '  File "a/keras/engine/training.py", line 2900, in concat\n    return array_ops.concat(tensors)\n'
)


@QUICK
@given(
    st.integers(JOINING.index("outputs, ") + 7, len(JOINING)),
    st.sampled_from(["a ResourceExhaustedError", "The GPU is out of memory"]),
)
def test_predict_that_is_cut_off_as_it_joins_its_outputs(cut, said):
    assert labkit.diagnose(f"{said} after all batches.\n\n{JOINING[:cut]}\n").cause == "predict_output"
    assert labkit.diagnose(f"It fails after all batches.\n\n{JOINING[:cut]}\n").cause == "not_oom"


@QUICK
@given(
    st.sampled_from(["GemmaCausalLM.from_preset", "AutoModel.from_pretrained", "keras.models.load_model"]),
    st.sampled_from(
        [
            "Attempting to allocate {}.00M. That was not possible. There are 60.94M free.; (0x0x0_HBM0)",
            "CUDA out of memory. Tried to allocate {}.00 MiB (GPU 0; 15.00 GiB total capacity)",
        ]
    ),
    st.sampled_from(["", "model.fit(X, y)\n", "text = model.generate(tokens)\n", "y = model(**x)\n"]),
    st.integers(20, 900),
)
def test_what_fails_as_weights_are_loaded_is_not_the_batch(call, error, then, size):
    found = labkit.diagnose(f'model = {call}("x")\n{then}\nRESOURCE_EXHAUSTED: {error.format(size)}\n')
    assert found.requested_bytes == size * MIB
    loading = "weights_or_optimizer", causes.GUESS
    of_tpu = "Attempting" in error  # which plans what a step computes with its program
    assert ((found.cause, found.confidence) == loading) == (not then or of_tpu)
    assert then or not [s for s in sentences(found) if "batch smaller" in s]


@QUICK
@given(st.integers(2, 256), st.sampled_from(["test", "train"]))
def test_validation_has_a_batch_size_of_its_own(rows, function):
    text = f"batch_size=1\n{oom((rows, 256, 256, 128))}\n [Op:__inference_{function}_function_3313]\n"
    first = sentences(labkit.diagnose(text))[0]
    assert first.startswith("Evaluate in smaller batches" if function == "test" else "Make the sample")


# Who holds the memory


@QUICK
@given(st.integers(1, 60), st.integers(100, 4000), st.booleans())
def test_where_the_driver_had_refused_little_before_the_model_was_there_the_device_was_full(
    small, large, is_small
):
    size = (small if is_small else large) * MIB
    refused = f"failed to allocate {size / MIB}M ({size} bytes) from device: CUDA_ERROR_OUT_OF_MEMORY"
    text = f"cuda_driver.cc:739] {refused}\n{oom((3, 3, 256, 512))} [Op:RandomUniform]\n"
    found = labkit.diagnose(f"2022-02-11 12:56:32.7: I tensorflow/stream_executor/{text}")
    expected = "memory_taken_before_start" if is_small else "weights_or_optimizer"
    assert (found.cause, found.confidence) == (expected, causes.GUESS)
    assert "See who holds" in sentences(found)[0]


def test_pytorch_in_the_midst_of_a_training_tells_no_bytes():
    error = "RuntimeError: CUDA error: out of memory\n"
    training = 'Traceback (most recent call last):\n  File "a.py", line 1, in train\n    loss.backward()\n'
    for text in (error + training, training + error):
        found = labkit.diagnose(text)
        assert (found.cause, found.confidence) == ("activations", causes.GUESS)
    assert labkit.diagnose(error).cause == "memory_taken_before_start"


@pytest.mark.parametrize(("size", "bytes_"), [("0GB", None), ("12 GB", 12 * GIB), ("123456 bytes", 123456)])
def test_pytorchs_allocator_on_the_cpu(size, bytes_):
    found = labkit.diagnose(f"RuntimeError: $ Torch: not enough memory: you tried to allocate {size}. Buy!\n")
    assert (found.cause, found.requested_bytes) == ("host_memory", bytes_)
    assert "batch smaller" in sentences(found)[0]


@QUICK
@given(st.integers(10_000, 900_000), st.sampled_from([16, 32, 64, 128, 256, 512]))
def test_a_table_that_fills_no_device_is_not_what_fills_it(rows, width):
    assume(rows >= 8 * width)
    first = sentences(labkit.diagnose(f"{oom((rows, width))}\n\t [[{{{{node embedding_1/Adam/mul}}}}]]"))[0]
    assert first.startswith("See who holds" if rows * width * 4 < 64 * MIB else "Give the table fewer rows")


# How large it is


@QUICK
@given(st.lists(st.integers(2**28, 2**31), min_size=2, max_size=8, unique=True), st.integers(0, 80))
def test_a_dump_without_its_error_tells_of_no_whole_arrays(sizes, free):
    assume(max(sizes) < 0.6 * sum(sizes))
    text = dump(sizes, int(sum(sizes) * (1 + free / 100)), "summary")
    assert labkit.diagnose(text).cause in ("unknown", "activations")


@QUICK
@given(st.integers(2, 32), st.integers(1000, 6000), st.sampled_from([16, 64, 128]))
def test_a_sample_of_which_one_tensor_takes_a_gigabyte_has_to_shrink(batch, side, channels):
    found = labkit.diagnose(f"{oom((batch, channels, side, side + 1))}\n\t [[{{{{node conv2d/Conv2D}}}}]]")
    is_large = side * (side + 1) * channels * 4 >= GIB
    assert ("sample smaller" in sentences(found)[0]) == is_large
    assert any("batch smaller" in s for s in sentences(found)[:2])


@pytest.mark.parametrize("size", ["larger than 2GB", "bigger than 2GB"])
def test_a_constant_too_large_is_weights_where_a_layer_is_built(size):
    error = f"ValueError: Cannot create a tensor proto whose content is {size}.\n"
    build = 'Traceback (most recent call last):\n  File "a.py", line 1, in build\n    self.add_weight(x)\n'
    assert labkit.diagnose(build + error).cause == "weights_or_optimizer"
    assert labkit.diagnose(error).cause == "array_copied_to_device"


@QUICK
@given(st.integers(MIB, 40 * GIB))
def test_killed_after_a_large_tensor_on_the_cpu(size):
    warning = (
        f"W tensorflow/core/framework/allocator.cc:101] Allocation of {size} exceeds 10% of system memory."
    )
    found = labkit.diagnose(f"2019-01-25 18:56:48.8: {warning}\nKilled\n")
    assert found.cause == "host_memory"
    assert ("batch smaller" in sentences(found)[0]) == (size >= GIB)


@QUICK
@given(st.integers(1000, 90_000), st.integers(200, 4000), st.sampled_from([("bf16", 2), ("f32", 4)]))
def test_a_block_of_xla_that_is_one_buffer_has_its_shape(rows, columns, dtype):
    name, width = dtype
    size = rows * columns * width
    buffer = f"\t\tSize: {size / MIB:.2f}MiB\n\t\tEntry Parameter Subshape: {name}[{rows},{columns}]\n"
    text = (
        f"RESOURCE_EXHAUSTED: Out of memory while trying to allocate {size} bytes.\nPeak buffers:\n{buffer}"
    )
    found = labkit.diagnose(text)
    assert (found.shape, found.requested_bytes) == ((rows, columns), size)


# What the compiler of a TPU lists


def listed(used, limit, given, computed, *buffers):
    return (
        f"Ran out of memory in memory space hbm. Used {used}M of {limit}M hbm.\n\n"
        f"Total hbm usage >= {used}.0M:\n    program {computed:>15}M\n    arguments {given:>13}M\n\n"
        f"    HLO temp {computed:>14}M (24.2% utilization, 0.7% fragmentation (293.84M))\n\n"
        "  Largest program allocations in hbm:\n\n" + "\n".join(buffers)
    )


def buffer(shape, padded, unpadded, op="conv"):
    sides = ",".join(map(str, shape))
    return (
        f'  1. Size: {padded}M\n     Operator: op_type="x" op_name="{op}"\n'
        f"     Shape: f32[{sides}]{{1,0:T(8,128)}}\n     Unpadded size: {unpadded}M\n"
        "     Allocation type: HLO temp\n     =====\n"
    )


@QUICK
@given(st.integers(1, 60_000), st.integers(1, 60_000), st.booleans())
def test_inputs_and_own_data_of_a_program_for_a_tpu(given, computed, in_one_line):
    text = listed(given + computed, given + computed - 1, given, computed)
    found = labkit.diagnose(" ".join(text.split()) if in_one_line else text)
    assert found.cause == ("weights_or_optimizer" if given > 2 * computed else "activations")
    assert (found.requested_bytes, found.limit_bytes) == (
        (given + computed) * MIB,
        (given + computed - 1) * MIB,
    )
    assert all(fix.saves is None for fix in found.fixes)


@QUICK
@given(st.integers(16, 400), st.integers(1, 64), st.integers(100, 900))
def test_padding_of_a_tpu(unpadded, times, rest):
    largest = buffer((rest, 512, 2), unpadded * times, unpadded)
    computed = unpadded * times + rest
    found = labkit.diagnose(listed(computed, computed - 1, 1, computed, largest, buffer((9, 8), 5, 5)))
    assert found.cause == "activations"
    assert ("no padding" in sentences(found)[0]) == (times > 2 and 2 * (times - 1) > times)
    assert any("hold no values" in said for said in found.evidence) == (times > 2)


@QUICK
@given(st.integers(1, 900), st.integers(1000, 9000))
def test_a_buffer_of_a_tpu_that_is_larger_than_its_memory(limit, size):
    found = labkit.diagnose(listed(size, limit, 1, size, buffer((size, 64, 64), size, size)))
    assert (found.cause, found.confidence) == ("tensor_exceeds_limit", "certain")


@QUICK
@given(st.sampled_from([512, 2048, 4096]), st.integers(1, 64), st.booleans())
def test_attention_scores_that_xla_lists(length, heads, named):
    op = "jvp(model)/h/0/self_attention/bhqd,bhkd->bhqk/dot_general" if named else "jvp(model)/mul"
    text = listed(9000, 8000, 10, 8990, buffer((heads, length, length // (1 if named else 2)), 800, 800, op))
    assert labkit.diagnose(text).cause == ("attention" if named else "activations")
