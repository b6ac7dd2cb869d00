"""What a shape, an op's name and the sizes around it tell: each rule at its edges."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.explain import evidence, fixes, tensors
from labkit.explain.advice import SMALLER_BATCH
from labkit.logs.failure import Failure
from labkit.logs.messages import failure
from labkit.sizes import MIB


@pytest.mark.parametrize("word", ["lstm", "gru", "rnn", "while", "recurrent", "tensorlist"])
@given(units=st.integers(8, 4096), gates=st.sampled_from([3, 4]))
def test_kernel_of_recurrent_layer_has_its_gates_side_by_side(word, units, gates):
    def recurrent(shape, batch=5, op=f"model/{word}/MatMul"):
        return bool(tensors.is_recurrent(Failure(shape=shape, batch=batch, op=op)))

    assert recurrent((units, gates * units))
    assert not recurrent((units, gates * units + 1))
    assert not recurrent((units, 2 * units)) and not recurrent((units, 5 * units))
    assert not recurrent((units, gates * units, 1)) and not recurrent((gates * units,))
    assert not recurrent((units, gates * units), op="model/dense/MatMul")
    assert not recurrent((units, gates * units), batch=units), "a row for each sample: gates of a batch"
    assert not recurrent((units, gates * units), batch=None)


def test_few_units_are_no_recurrent_layer():
    assert not tensors.is_recurrent(Failure(shape=(7, 28), batch=5, op="lstm/MatMul"))


def rows_of_matrix(rows, columns=16, op="MatMul"):
    return Failure(shape=(rows, columns), op=op)


@given(side=st.integers(4, 60), channels=st.sampled_from([3, 64, 512, 2048]))
def test_rows_of_matrix_may_be_flattened_maps(side, channels):
    rows = side * side * channels
    found = tensors.flattened(rows_of_matrix(rows))
    power_of_two = rows & (rows - 1) == 0
    if rows < 2048 or power_of_two and rows <= 8192:
        assert found == []
    else:
        assert (side, side, channels) in found
        assert all(math.prod(maps) == rows and maps[0] >= 4 for maps in found)


@pytest.mark.parametrize("height, channels", [(3, 512), (9, 256), (15, 128), (28, 64), (45, 32)])
def test_oblong_maps_may_be_flattened_too(height, channels):
    wide = 2 * height  # as wide as they may be
    assert tensors.flattened(rows_of_matrix(height * wide * channels)) != []
    prime = 2**31 - 1
    assert tensors.flattened(rows_of_matrix(prime)) == []


@pytest.mark.parametrize(("height", "width", "found"), [(15, 29, [(15, 29, 32)]), (15, 31, [])])
def test_oblong_maps_are_at_most_twice_as_wide_as_high(height, width, found):
    assert tensors.flattened(Failure(op="MatMul", shape=(height * width * 32, 16))) == found


def test_one_guess_of_oblong_maps():
    found = tensors.flattened(rows_of_matrix(7 * 9 * 512))
    assert found == [(7, 9, 512)]


@pytest.mark.parametrize(
    "shape, op",
    [
        ((25 * 64, 16), "MatMul"),  # too few rows
        ((49 * 512, 49 * 512), "MatMul"),  # square
        ((49 * 512, 16_726), "MatMul"),  # fewer than 1.5 rows for each column
        ((49 * 512, 16, 1), "MatMul"),
        ((49 * 512, 16), "model/embedding/MatMul"),
    ],
)
def test_other_matrices_are_not_flattened_maps(shape, op):
    assert tensors.flattened(Failure(shape=shape, op=op)) == []
    assert tensors.looks_flattened(Failure(shape=shape, op=op)) is False


@pytest.mark.parametrize("word", ["flatten", "dense", "fc", "fully"])
def test_layer_named_dense_is_after_flatten(word):
    assert tensors.looks_flattened(rows_of_matrix(100 * 100 * 4, op=f"model/{word}_1/MatMul")) is True


@pytest.mark.parametrize("more", [0, 1])
def test_round_number_of_rows_may_be_words(more):
    rows = next(n + more for n in range(10_000, 10**7, 1000) if tensors.flattened(rows_of_matrix(n + more)))
    assert tensors.looks_flattened(rows_of_matrix(rows)) is None


def test_odd_number_of_rows_is_flattened():
    assert tensors.looks_flattened(rows_of_matrix(49 * 512)) is True


@pytest.mark.parametrize(
    "op, shape, size, in_step",
    [
        ("gradient_tape/dense/MatMul", (8, 8), 1 * MIB, True),
        ("gradient_tape/dense/MatMul", (8, 8), 64 * MIB - 1, True),
        ("gradient_tape/dense/MatMul", (8, 8), 64 * MIB, False),
        ("gradient_tape/conv/Conv2DBackpropFilter", (3, 3, 64, 64), 64 * MIB, True),
        ("gradient_tape/conv/Conv2DBackpropFilter", (3, 64, 64), 64 * MIB, False),
        ("adam/update/mul", (8, 8), 1 * MIB, True),
        ("model/dense/MatMul", (8, 8), 1 * MIB, False),
        (None, None, None, False),
    ],
)
def test_small_weights_refused_in_a_step(op, shape, size, in_step):
    failure = Failure(op=op, shape=shape, requested_bytes=size)
    assert tensors.is_in_step(failure) is in_step


@pytest.mark.parametrize(
    "op, shape, is_weight",
    [
        ("gradient_tape/dense/MatMul/MatMul_1", (512, 512), True),
        ("gradient_tape/dense/MatMul/MatMul_1", None, True),
        ("gradient_tape/conv/Conv2D/Conv2DBackpropFilter", (3, 3, 64, 64), True),
        ("gradient_tape/conv/Conv2D/Conv2DBackpropFilter", (32, 56, 56, 64), False),  # a workspace
        ("gradient_tape/conv/Conv2D/Conv2DBackpropFilter", (64, 64), False),
        ("gradient_tape/conv/Conv2D/Conv2DBackpropInput", (3, 3, 64, 64), False),
        ("gradient_tape/conv/Conv2D/Conv2DBackpropFilter", None, True),
        (None, (3, 3, 64, 64), False),
    ],
)
def test_gradient_of_weights(op, shape, is_weight):
    assert tensors.is_weight_gradient(Failure(op=op, shape=shape)) is is_weight


@given(requested=st.integers(1, 2**40), share=st.sampled_from([0.5, 0.75, 1]))
def test_saving_of_an_array_is_a_share_of_the_request(requested, share):
    assert fixes.of_array(share)(Failure(requested_bytes=requested)) == (int(share * requested) or None)


@pytest.mark.parametrize("times, saved", [(1.9, 100 * MIB), (2, 200 * MIB), (3, 300 * MIB)])
def test_saving_of_an_array_is_the_largest_chunk_if_it_is_twice_the_request(times, saved):
    sizes = Counter({int(times * 100 * MIB): 1, 2 * MIB: 2000})
    failure = Failure(requested_bytes=100 * MIB, sizes=sizes)
    assert tensors.large_chunks(failure) is None
    assert fixes.of_array(1)(failure) == saved


def test_saving_of_arrays_is_their_sum_where_few_hold_most():
    sizes = Counter({100 * MIB: 2, 300 * MIB: 1, 1 * MIB: 5})
    failure = Failure(requested_bytes=1 * MIB, sizes=sizes)
    assert fixes.of_array(1)(failure) == 500 * MIB
    assert fixes.of_array(0.5)(failure) == 250 * MIB


def test_nothing_known_saves_nothing():
    for saves in (fixes.of_array(1), fixes.of_one_hot, fixes.optimizer_state, fixes.of_loop(1)):
        assert not saves(Failure())


@given(classes=st.integers(2, 10**5), rows=st.integers(1, 10**4))
def test_integer_targets_save_all_but_one_number_of_each_row(classes, rows):
    failure = Failure(shape=(rows, classes), requested_bytes=4 * rows * classes)
    assert fixes.of_one_hot(failure) == 4 * rows * (classes - 1)


def test_one_column_is_not_one_hot():
    assert not fixes.of_one_hot(Failure(shape=(100, 1), requested_bytes=400))


def torch_error(process, allocated, unused):
    return (
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of "
        f"16.00 GiB of which 0.10 GiB is free. Process 4242 has {process:.2f} GiB memory in use. Of the "
        f"allocated memory {allocated:.2f} GiB is allocated by PyTorch, and {unused:.2f} GiB is reserved by "
        "PyTorch but unallocated."
    )


@pytest.mark.parametrize(
    "process, allocated, unused, others",
    [
        (15.9, 12, 3.0, None),  # its own, with a context
        (15.9, 4, 1, 10.9),  # another process
        (15.9, 4, 11.5, None),  # what it keeps and does not use is its own
    ],
)
def test_memory_of_the_process_is_told_apart_from_that_of_others(process, allocated, unused, others):
    found = failure(1, torch_error(process, allocated, unused)).others_bytes
    assert (found is None) if others is None else found == pytest.approx(others * 2**30, rel=0.01)


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [
        (None, False), ((3, 3), False), ((3, 3, 64), False), ((3, 3, 3, 3, 16, 16), False),
        ((3, 3, 3, 64), True), ((3, 3, 16, 16), True), ((3, 3, 15, 15), False), ((3, 3, 64, 7), False),
        ((3, 3, 64, 8), True), ((3, 3, 3, 64, 64), True), ((6, 6, 64, 64), False), ((11, 11, 3, 96), True),
        ((3, 3, 8, 1), True), ((3, 3, 7, 1), False), ((1, 1, 64, 1), False), ((2, 2, 64, 1), True),
        ((1, 1, 2048, 2048), True), ((1, 1, 2049, 2049), False), ((1, 1, 2049, 512), True),
        ((2, 2, 4096, 4096), False), ((3, 3, 4096, 4096), True),
        ((1, 7, 16, 16), True), ((7, 1, 64, 16), True), ((1, 7, 15, 64), False), ((1, 5, 64, 64), False),
        ((64, 64, 3, 3), True), ((16, 3, 3, 3), True), ((15, 64, 3, 3), False), ((64, 2, 3, 3), False),
        ((64, 3, 5, 5), True), ((64, 1, 7, 7), True), ((64, 64, 7, 7), False), ((96, 3, 11, 11), True),
        ((64, 3, 4, 4), False), ((64, 64, 3, 1), False),
    ],
)  # fmt: skip
def test_kernel_of_a_convolution(shape, kernel):
    assert tensors.is_kernel(shape) is kernel


@pytest.mark.parametrize(
    ("shape", "turned"),
    [((64, 64, 3, 3), True), ((16, 64, 3, 3), True), ((11, 3, 3, 3), False), ((3, 3, 64, 64), False),
     ((64, 64, 3, 3, 3), True), ((64, 64, 3), False), (None, False)],
)  # fmt: skip
def test_kernel_turned_for_cudnn(shape, turned):
    assert tensors.is_turned(shape) is turned


@pytest.mark.parametrize(
    ("facts", "made"),
    [
        ({"op": "dense/kernel/Assign"}, True),
        ({"op": "dense/kernel/Initializer/random_uniform"}, True),
        ({"op": "gradient_tape/dense/kernel/Assign"}, False),
        ({"op": "dropout/random_uniform/RandomUniform"}, False),
        ({"op": "adam/dense/kernel/Assign"}, False),
        ({"op": "zeros_3"}, True),
        ({"op": "model/dense/MatMul"}, False),
        ({"op_type": "RandomUniform"}, True),
        ({"op_type": "RandomUniform", "shape": (9, 9)}, True),
        ({"op_type": "RandomUniform", "shape": (9, 9, 9)}, False),
        ({"op_type": "RandomUniform", "shape": (3, 3, 64, 64)}, True),
        ({"kernel": "assign_op"}, True),
        ({"kernel": "random_op", "shape": (9, 9)}, True),
        ({"kernel": "random_op", "shape": (9, 9, 9)}, False),
        ({"kernel": "random_op"}, False),
        ({"marks": {"add_weight"}}, True),
        ({"marks": {"add_weight"}, "op_type": "Relu"}, False),
        ({}, False),
    ],
)
def test_what_creates_weights(facts, made):
    assert bool(tensors.creates(Failure(**facts))) is made


@pytest.mark.parametrize(
    ("facts", "is_weight"),
    [
        ({"op": "gradient_tape/dense/MatMul/MatMul_1", "shape": (512, 512)}, True),
        ({"op": "gradient_tape/conv/Relu", "shape": (3, 3, 64, 64)}, False),
        ({"op": "adam/dense/mul", "shape": (512, 512)}, True),
        ({"op": "dense/kernel/Assign"}, True),
        ({"op": "model/conv/Conv2D", "shape": (64, 64, 3, 3)}, True),
        ({"op": "model/conv/Conv2D", "shape": (32, 56, 56, 64)}, False),
        ({"op": "model/add/add", "shape": (64, 64, 3, 3)}, False),
        ({"op": "model/add/add", "shape": (3, 3, 64, 64)}, False),
        ({"op": "Cast", "shape": (3, 3, 64, 64)}, True),
        ({"shape": (3, 3, 64, 64)}, True),
        ({"op_type": "Relu", "shape": (3, 3, 64, 64)}, False),
        ({"shape": (32, 56, 56, 64)}, False),
        ({}, False),
    ],
)
def test_what_is_of_weights(facts, is_weight):
    assert bool(tensors.is_of_weights(Failure(**facts))) is is_weight


@pytest.mark.parametrize(
    ("facts", "in_optimizer"),
    [
        ({"op": "adam/dense/mul"}, True), ({"op": "model/dense/mul"}, False), ({"op": "mul"}, False),
        ({"op": "adam/dense/kernel/Assign"}, True), ({"op": "dense/kernel/Assign"}, False),
        ({"marks": set(tensors.MAKES_SLOTS)}, True), ({"marks": {"add_weight"}}, False),
        ({"op": "dense/kernel/Assign", "marks": set(tensors.MAKES_SLOTS)}, False),
        ({"op": "Assign", "marks": set(tensors.MAKES_SLOTS)}, True), ({}, False),
    ],
)  # fmt: skip
def test_what_is_the_optimizers(facts, in_optimizer):
    assert tensors.in_optimizer(Failure(**facts)) is in_optimizer


@pytest.mark.parametrize(
    ("facts", "sure"),
    [
        ({"op": "m/mha/softmax", "shape": (8, 64)}, 2),
        ({"op": "m/mha/softmax", "shape": (64,)}, 0),
        ({"op": "m/mha/softmax"}, 0),
        ({"op": "m/mha/add", "shape": (8, 4, 128, 128)}, 2),
        ({"op": "m/mha/add", "shape": (8, 4, 127, 127)}, 0),
        ({"op": "m/mha/Relu", "shape": (8, 128, 128)}, 0),
        ({"op": "m/mha/Relu", "shape": (8, 4, 128, 128)}, 2),
        ({"layer": "mha", "shape": (8, 128, 128)}, 2),
        ({"layer": "mha", "shape": (128, 128)}, 0),
        ({"layer": "mha", "shape": (8, 2, 2, 2, 128, 128)}, 0),
        ({"op": "m/x/MatMul", "shape": (8, 4, 128, 128)}, 2),
        ({"op": "m/x/MatMul", "shape": (8, 128, 128)}, 1),
        ({"op": "m/conv/MatMul", "shape": (8, 4, 128, 128)}, 0),
        ({"op": "m/x/MatMul", "layer": "conv", "shape": (8, 4, 128, 128)}, 0),
        ({"op": "m/x/Conv2D", "shape": (8, 4, 4096, 4096)}, 0),
        ({"op": "m/x/BiasAdd", "shape": (8, 4, 4096, 4096)}, 0),
        ({"op": "m/x/Avg", "shape": (8, 4, 4096, 4096)}, 0),
        ({"op": "m/x/Max", "shape": (8, 4, 4096, 4096)}, 0),
        ({"op": "adam/x/mul", "shape": (8, 4, 4096, 4096)}, 0),
        ({"op": "transformer/x/add", "shape": (8, 128, 128)}, 1),
        ({"op": "m/x/add", "shape": (8, 128, 128)}, 0),
        ({"op": "m/x/add", "shape": (8, 1024, 1024)}, 1),
        ({"op": "m/x/add", "shape": (8, 1023, 1023)}, 0),
        ({"op": "m/x/add", "shape": (8, 32, 2048, 2048)}, 1),
        ({"op": "m/x/add", "shape": (8, 33, 2048, 2048)}, 0),
        ({"op": "m/x/add", "shape": (8, 32, 2047, 2047)}, 0),
        ({"op": "m/x/add", "shape": (8, 1024, 2048)}, 0),
        ({"framework": "torch", "layer": "Softmax", "shape": (8, 64, 16, 128)}, 2),
        ({"framework": "torch", "layer": "Softmax", "shape": (8, 65, 16, 128)}, 0),
        ({"framework": "torch", "layer": "Softmax", "shape": (8, 64, 15, 128)}, 0),
        ({"framework": "torch", "layer": "Softmax", "shape": (8, 64, 16, 127)}, 0),
        ({"framework": "torch", "layer": "Softmax", "shape": (64, 16, 128)}, 0),
        ({"framework": "torch", "layer": "MultiHeadAttention", "shape": (8, 4, 16, 128)}, 2),
        ({"framework": "torch", "layer": "Dense", "shape": (8, 64, 16, 128)}, 0),
        ({"layer": "Softmax", "shape": (8, 64, 16, 128)}, 0),
        ({"op": "transformer/x/Relu", "shape": (8, 128, 128)}, 0),
    ],
)
def test_attention_scores(facts, sure):
    assert tensors.scores(Failure(**facts)) == sure


@pytest.mark.parametrize("word", ["attention", "attn", "attend", "self_att", "mha"])
def test_names_of_attention(word):
    assert tensors.scores(Failure(op=f"m/{word}/Relu", shape=(8, 4, 128, 128))) == 2


@pytest.mark.parametrize(
    "op_type", ["RandomUniform", "StatelessRandomUniformV2", "RandomStandardNormal", "TruncatedNormal"]
)
def test_random_numbers_are_weights_to_begin_with(op_type):
    assert tensors.creates(Failure(op_type=op_type, shape=(9, 9)))


@pytest.mark.parametrize(
    ("facts", "table"),
    [
        ({"op": "embedding/x", "shape": (10_000, 1250)}, True),
        ({"op": "embedding/x", "shape": (9999, 100)}, False),
        ({"op": "embedding/x", "shape": (10_000, 1251)}, False),
        ({"op": "embedding/x", "shape": (10_000, 9, 9)}, False),
        ({"marks": {"ocab"}, "shape": (10_001, 9)}, True),
        ({"marks": {"ocab"}, "shape": (64_000, 9)}, False),  # a multiple of a batch
        ({"marks": {"ocab"}, "shape": (10_001, 9), "op_type": "MatMul"}, False),
        ({"op": "adam/x/mul", "shape": (17_000, 2048)}, True),
        ({"op": "adam/x/mul", "shape": (17_000, 2049)}, False),
        ({"op": "model/x/mul", "shape": (17_000, 2048)}, False),
    ],
)
def test_table_of_words(facts, table):
    assert tensors.is_table(Failure(**facts)) is table


@pytest.mark.parametrize(
    ("facts", "whole"),
    [
        ({"op": "GatherV2", "shape": (2048, 9)}, True),
        ({"op_type": "ExpandDims", "shape": (2048, 9)}, True),
        ({"kernel": "strided_slice_op", "shape": (2048, 9)}, True),
        ({"op": "GatherV2", "shape": (2047, 9)}, False),
        ({"op": "GatherV2", "shape": (2048, 9), "batch": 2048}, False),  # as it was asked to
        ({"op": "GatherV2", "shape": (2049, 9), "batch": 2048}, True),
        ({"op": "GatherV2", "shape": (64, 9), "marks": {"validation_split="}}, True),
        ({"op": "GatherV2", "shape": (64, 9), "marks": {"validation_split="}, "batch": 64}, True),
        ({"op": "GatherV2", "shape": (2048,)}, False),
        ({"op": "MatMul", "shape": (2048, 9)}, False),
        ({"op": "GatherV2", "layer": "embed", "shape": (2048, 9)}, False),
    ],
)
def test_whole_array(facts, whole):
    assert tensors.is_whole_array(Failure(**facts)) is whole


@pytest.mark.parametrize(
    ("facts", "tiny"),
    [
        ({"requested_bytes": 8 * MIB}, True),
        ({"requested_bytes": 8 * MIB + 1}, False),
        ({"requested_bytes": 10, "limit_bytes": 1000}, True),
        ({"requested_bytes": 11, "limit_bytes": 1000}, False),
        ({}, False),
        ({"shape": (MIB // 2,)}, True),
        ({"shape": (MIB // 2 + 1,)}, False),
        ({"shape": ()}, True),
    ],
)
def test_tiny(facts, tiny):
    assert tensors.is_tiny(Failure(**facts)) is tiny


@pytest.mark.parametrize(
    ("facts", "workspace"),
    [({"dtype": "uint8", "shape": (MIB + 1,)}, True), ({"dtype": "uint8", "shape": (MIB,)}, False),
     ({"dtype": "int8", "shape": (MIB + 1,)}, False), ({"dtype": "uint8", "shape": (MIB + 1, 1)}, False),
     ({"dtype": "uint8"}, False)],
)  # fmt: skip
def test_workspace(facts, workspace):
    assert tensors.is_workspace(Failure(**facts)) is workspace


@pytest.mark.parametrize(
    ("op", "models"),
    [
        ("model_3/dense/MatMul", 3), ("training_2/Adam/dense/mul", 2), ("model_3/sequential_7/x", 7),
        ("model/dense_9/MatMul", 0), ("embedding_20/lookup", 20), ("embedding_19/lookup", 0), (None, 0),
        ("model_1/embedding_40/lookup", 40), ("model_50/embedding_40/lookup", 50),
    ],
)  # fmt: skip
def test_models_before_this_one(op, models):
    assert tensors.earlier_models(Failure(op=op)) == models


@pytest.mark.parametrize(
    ("facts", "batch"),
    [
        ({"shape": (64, 9)}, 64),
        ({"shape": (64,)}, None),
        ({}, None),
        ({"batch": 32, "shape": (64, 9)}, 32),
        ({"shape": (2048, 9)}, 2048),
        ({"shape": (2049, 9)}, None),
        ({"shape": (64, 9, 9, 9, 9)}, 64),
        ({"shape": (65, 9, 9, 9, 9)}, None),
        ({"shape": (65, 9, 9, 9)}, 65),
        ({"shape": (64, 9), "op": "model/time_distributed/x"}, None),
        ({"shape": (64, 9), "op_type": "Reshape"}, None),
        ({"shape": (64, 9), "kernel": "tile_ops"}, None),
        ({"shape": (64, 9), "op": "model/lstm/transpose"}, None),
        ({"shape": (64, 9), "op": "model/lstm/MatMul"}, 64),
        ({"shape": (64, 9), "op": "adam/x/mul"}, None),
        ({"shape": (64, 9), "batch": 32, "marks": {"in predict"}}, 64),
        ({"shape": (32, 9), "batch": 32, "marks": {"in predict"}}, 32),
        ({"shape": (64,), "batch": 32, "marks": {"in predict"}}, 32),
        ({"shape": (64, 9), "batch": 32, "marks": {"test_step"}}, 64),
        ({"shape": (64, 9), "batch": 32, "marks": {"in predict"}, "is_alone": True}, 32),
    ],
)
def test_batch_size(facts, batch):
    assert tensors.batch_of(Failure(**facts)) == batch


@pytest.mark.parametrize(
    ("facts", "single"),
    [
        ({"shape": (1, 9, 9)}, True), ({"shape": (1, 9)}, False), ({"shape": (2, 9, 9)}, False), ({}, False),
        ({"batch": 1}, True), ({"batch": 2, "shape": (1, 9, 9)}, False),
    ],
)  # fmt: skip
def test_single_sample(facts, single):
    failure = Failure(**facts)
    assert tensors.is_single_sample(failure) is single
    assert fixes.several_samples(failure) is not single
    assert fixes.trains_on_several(failure) is not single
    for mark in ("in predict", "test_step"):
        assert not fixes.trains_on_several(Failure(**facts, marks={mark}))


@pytest.mark.parametrize(
    ("size", "shape", "large"),
    [
        (2**31, (2, 9, 9), True),
        (2**31 - 2, (2, 9, 9), False),
        (2**31, (2, 9), False),
        (None, (2, 9, 9), False),
    ],
)
def test_large_samples(size, shape, large):
    assert tensors.has_large_samples(Failure(shape=shape, requested_bytes=size)) is large


def sizes(*pairs):
    return Counter(dict(pairs))


@pytest.mark.parametrize(
    ("facts", "large"),
    [
        ({"sizes": sizes((100 * MIB, 12))}, 12),
        ({"sizes": sizes((100 * MIB, 13))}, None),
        ({"sizes": sizes((100 * MIB, 1), (MIB // 2, 200))}, 1),
        ({"sizes": sizes((100 * MIB, 1), (MIB // 2, 201))}, None),
        ({"sizes": sizes((100 * MIB, 1)), "requested_bytes": 25 * MIB}, 1),
        ({"sizes": sizes((100 * MIB, 1)), "requested_bytes": 25 * MIB + 1}, None),
        ({"sizes": sizes((MIB, 1))}, 1),
        ({"sizes": sizes((MIB - 1, 1))}, None),
        ({"sizes": sizes((30 * MIB, 1), (970 * MIB, 1))}, 2),
        ({"sizes": sizes((29 * MIB, 1), (971 * MIB, 1))}, 1),
        ({"sizes": sizes((100 * MIB, 1)), "in_use_bytes": 200 * MIB}, 1),
        ({"sizes": sizes((100 * MIB, 1)), "in_use_bytes": 201 * MIB}, None),
        ({}, None),
    ],
)
def test_few_chunks_that_hold_most(facts, large):
    found = tensors.large_chunks(Failure(**facts))
    assert (found and len(found[0])) == large


SAMPLE = 64 * 1024


@pytest.mark.parametrize(
    ("counts", "batch", "sample"),
    [
        ([1001], 32, SAMPLE), ([1000, 2000], 32, SAMPLE), ([1024], 32, None), ([1024, 1001], 32, None),
        ([1024, 1001, 1003], 32, SAMPLE), ([1001, 1001.5], 32, None), ([127], 32, None), ([129], 32, SAMPLE),
        ([1001], 64, SAMPLE), ([1001, 100], 32, None),
    ],
)  # fmt: skip
def test_one_sample_that_all_large_chunks_are_multiples_of(counts, batch, sample):
    failure = Failure(
        shape=(batch, 9, 9),
        requested_bytes=batch * SAMPLE,
        sizes=Counter(int(count * SAMPLE) for count in counts),
    )
    assert tensors._sample_of(failure, list(failure.sizes)) == sample


def test_small_samples_divide_too_much_by_chance():
    def sample(size):
        failure = Failure(shape=(32, 9), requested_bytes=32 * size)
        return tensors._sample_of(failure, [1001 * size])

    assert (sample(2**14), sample(2**14 - 1)) == (2**14, None)


BUFFER = {"sizes": sizes((MIB, 200)), "in_use_bytes": 399 * MIB, "requested_bytes": 9}


@pytest.mark.parametrize(
    ("facts", "buffered"),
    [
        ({}, True), ({"sizes": sizes((MIB, 199))}, False), ({"in_use_bytes": 400 * MIB}, False),
        ({"sizes": sizes((4 * MIB, 200))}, True), ({"sizes": sizes((4 * MIB + 1, 200))}, False),
        ({"requested_bytes": None}, False), ({"requested_bytes": 0}, True), ({"on_gpu": True}, False),
        ({"op": "model/x"}, False), ({"op": "zeros_1"}, False), ({"op": "MatMul"}, True),
        ({"held_by_category": {"weights": 1}}, False),
    ],
)  # fmt: skip
def test_samples_in_a_buffer(facts, buffered):
    assert (tensors.buffered_samples(Failure(**BUFFER | facts)) is not None) is buffered


# Advice


@pytest.mark.parametrize(
    ("batch", "fits", "start"),
    [
        (64, 63, 32),
        (64, 48, 32),
        (64, 47, 16),
        (64, 2, 1),
        (64, 1, 1),
        (64, 64, None),
        (64, None, None),
        (None, 9, None),
    ],
)
def test_smaller_batch_to_begin_with(batch, fits, start):
    advice = fixes.SmallerBatch("Make it smaller.", "code", "09", lambda failure: 7)
    found = advice.fix(Failure(batch=batch, requested_bytes=6400), fits)
    if start is None:
        assert found == fixes.Fix("Make it smaller.", "code", "09-smaller-steps.ipynb", 7)
    else:
        assert f"start with {start} instead of 64" in found.sentence and f"batch_size={start})" in found.code
        assert (found.saves, found.lesson) == (6400 - 100 * start, "09-smaller-steps.ipynb")
        assert advice.fix(Failure(batch=batch), fits).saves is None


PATCHES = {"op": "gradient_tape/net/conv/Conv2DBackpropFilter", "shape": (27, 784, 288), "batch": 64}
PATCHES |= {"requested_bytes": 30 * MIB, "limit_bytes": 80 * MIB, "in_use_bytes": 60 * MIB}


@pytest.mark.parametrize(
    ("facts", "patches"),
    [
        ({}, True),
        ({"op": "net/up/conv_transpose_1"}, True),
        ({"op": None, "op_type": "Conv2DCustomBackpropInput"}, True),
        ({"op": "gradient_tape/net/conv/Conv3DBackpropInputV2"}, True),
        ({"shape": (64, 28, 28, 32)}, False),
        ({"op": "net/conv/Relu"}, False),
    ],
)
def test_patches_of_a_convolution_s_gradient(facts, patches):
    assert tensors.is_patches(Failure(**PATCHES | facts)) is patches


def test_what_keeps_its_size_is_not_scaled_with_the_batch():
    """60 of 80 MiB are in use; of those not scaled 50 are left for 60, or 70 for 80 MiB, and so on."""
    assert evidence.batch_that_may_fit(Failure(**PATCHES)) == 64 * 50 // 60
    assert evidence.batch_that_may_fit(Failure(**PATCHES | {"shape": (64, 28, 28, 32)})) == 64 * 80 // 90
    arrays = Failure(**PATCHES | {"shape": (64, 28, 28, 32), "arrays_bytes": 40 * MIB})
    assert evidence.batch_that_may_fit(arrays) == 64 * 40 // 50
    assert evidence.batch_that_may_fit(Failure(**PATCHES | {"requested_bytes": 90 * MIB})) is None
    [fix] = [SMALLER_BATCH.fix(Failure(**PATCHES), 53)]
    assert "start with 32 instead of 64" in fix.sentence and fix.saves is None
    assert "keeps its size" in SMALLER_BATCH.fix(Failure(**PATCHES), None).sentence
    assert not tensors.is_single_sample(Failure(**PATCHES | {"shape": (1, 784, 288), "batch": None}))
    assert tensors.batch_of(Failure(**PATCHES | {"batch": None})) is None


def test_advice_is_made_a_fix_with_its_lesson():
    assert fixes.Advice("s", lesson="08").fix(Failure()) == fixes.Fix(
        "s", "", "08-mixed-precision.ipynb", None
    )
    assert fixes.Advice("s", saves=lambda failure: 0).fix(Failure()).saves is None


@pytest.mark.parametrize("framework", ["tensorflow", "torch", "jax"])
def test_whose_terms_apply(framework):
    failure = Failure(framework=framework)
    assert fixes.on_tensorflow(failure) is (framework == "tensorflow")
    assert fixes.not_on_tensorflow(failure) is (framework != "tensorflow")


def test_what_rules_advice_out():
    assert fixes.is_shared(Failure()) and not fixes.is_shared(Failure(is_alone=True))
    for dtype in ("float32", "float16", "bfloat16", "int8", "uint8", "bool"):
        assert not fixes.may_be_wide(Failure(dtype=dtype))
    assert fixes.may_be_wide(Failure()) and fixes.may_be_wide(Failure(dtype="float64"))


def test_shares_that_are_saved():
    half = fixes.of_request(0.5)
    assert (half(Failure(requested_bytes=100 * MIB)), half(Failure(requested_bytes=MIB))) == (50 * MIB, 0)
    assert half(Failure(limit_bytes=9)) == 0
    assert fixes.of_loop(0.5)(Failure(loop_bytes=9)) == 4
    held = {"optimizer": 8, "activations": 7}
    assert fixes.optimizer_state(Failure(held_by_category=held)) == 8
    assert fixes.half_of_activations(Failure(held_by_category=held, requested_bytes=100 * MIB)) == 3
    assert fixes.half_of_activations(Failure(requested_bytes=100 * MIB)) == 50 * MIB
    assert fixes.of_array(1)(Failure(sizes=sizes((100, 3)))) == 100
