"""What a shape, an op's name and the sizes around it tell: each rule at its edges."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.explain import fixes, tensors
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
