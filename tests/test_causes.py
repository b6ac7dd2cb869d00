"""Each rule of each cause at its edges: what it needs, and what it must not be taken for."""

from collections import Counter

import pytest

from labkit.explain import causes, evidence, tensors
from labkit.logs.failure import Failure
from labkit.logs.xlatext import Buffer, Division
from labkit.sizes import MIB

RULES = {cause.name: cause.rule for cause in causes.CAUSES}
CERTAIN, LIKELY, GUESS, NO = causes.CERTAIN, causes.LIKELY, causes.GUESS, None
GIB = 1024 * MIB
DENSE = "model/dense/MatMul"
ADAM = "adam/update/mul"


def chunks(*sizes):
    return Counter(sizes)


class Map:
    """What the rules ask of a memory map."""

    def __init__(self, in_use_bytes):
        self.in_use_bytes = in_use_bytes


def check(cause, sure, words, facts):
    answer = RULES[cause](Failure(**facts))
    assert (answer and answer[0]) == sure
    assert words in (answer[1][0] if answer else "")


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"kind": "host"}, CERTAIN, "ran out"),
        ({"kind": "oomkill"}, CERTAIN, "ran out"),
        ({"kind": "session"}, CERTAIN, "watched the process"),
        ({"kind": "paging"}, CERTAIN, "Windows"),
        ({"kind": "shared"}, LIKELY, "/dev/shm"),
        ({"kind": "pinned"}, LIKELY, "pin"),
        ({"kind": "killed"}, LIKELY, "killed from outside"),
        ({"kind": "died"}, GUESS, "without a word"),
        ({"kind": "oom"}, NO, ""),
        ({"allocator": "GPU_0_bfc"}, NO, ""),
        *(
            ({"allocator": name}, CERTAIN, name)
            for name in ("cpu", "mklcpu", "cuda_host_bfc", "gpu_host_bfc", "gpu_host_allocator")
        ),
    ],
)
def test_host_memory(facts, sure, words):
    check("host_memory", sure, words, facts)


VAGUE = "CUDNN_STATUS_INTERNAL_ERROR"
NINE = {"requested_bytes": 9}
SMALL_WHILE_BUILDING = {"marks": {"add_weight"}, "requested_bytes": MIB, "driver_refused_bytes": 64 * MIB}
ON_TORCH = {"kind": "torch", "limit_bytes": 20_000 * MIB, "largest_free_bytes": MIB}


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"kind": "code"}, LIKELY, "code of a compiled step"),
        ({"kind": "library", "quote": VAGUE}, GUESS, "CUDA library"),
        ({"kind": "library", "quote": "CUDNN_STATUS_ALLOC_FAILED"}, LIKELY, "CUDA library"),
        ({"kind": "library", "quote": VAGUE, "limit_bytes": 1000, "in_use_bytes": 900}, GUESS, ""),
        ({"kind": "library", "quote": VAGUE, "limit_bytes": 1000, "in_use_bytes": 901}, LIKELY, ""),
        ({"kind": "library", "quote": VAGUE, "device_bytes": 1000, "in_use_bytes": 901}, LIKELY, ""),
        ({"kind": "driver"}, LIKELY, "The driver itself refused."),
        ({"kind": "driver", "requested_bytes": 8 * MIB}, LIKELY, "refused: 8.00 MiB"),
        ({"kind": "driver", "requested_bytes": 8 * MIB, "is_overflow": True}, NO, ""),
        ({"kind": "driver", "marks": {"backward()"}, "quote": "CUDA error: out of memory"}, NO, ""),
        ({"kind": "driver", "quote": "CUDA error: out of memory"}, LIKELY, ""),
        ({"kind": "driver", "marks": {"backward()"}, "quote": "cuMemAlloc"}, LIKELY, ""),
        ({"kind": "driver", "marks": {"backward()"}, "quote": "CUDA error", **NINE}, LIKELY, ""),
        # Hardly anything was free while the model was being built.
        (SMALL_WHILE_BUILDING, GUESS, "refused 64.0 MiB"),
        (SMALL_WHILE_BUILDING | {"marks": set(), "op": "dense/kernel/Assign"}, GUESS, "64.0 MiB"),
        (SMALL_WHILE_BUILDING | {"driver_refused_bytes": 64 * MIB + 1}, NO, ""),
        (SMALL_WHILE_BUILDING | {"driver_refused_bytes": None}, NO, ""),
        (SMALL_WHILE_BUILDING | {"requested_bytes": 100 * MIB}, NO, ""),
        (SMALL_WHILE_BUILDING | {"marks": set()}, GUESS, "64.0 MiB"),
        (SMALL_WHILE_BUILDING | {"marks": set(), "limit_bytes": 999 * MIB}, NO, ""),
        (SMALL_WHILE_BUILDING | {"marks": set(), "in_use_bytes": 900 * MIB}, NO, ""),
        # Others hold more than a quarter.
        ({"limit_bytes": 1000, "others_bytes": 251}, CERTAIN, "Other processes hold"),
        ({"limit_bytes": 1000, "others_bytes": 250}, NO, ""),
        ({"others_bytes": 251}, NO, ""),
        # A seventh of the device and what CUDA takes for itself are not yet another program's.
        (ON_TORCH | {"in_use_bytes": 20_000 * MIB - 4537 * MIB}, NO, ""),
        (ON_TORCH | {"in_use_bytes": 20_000 * MIB - 4537 * MIB - 1}, LIKELY, "neither as its own"),
        (ON_TORCH | {"in_use_bytes": 5 * MIB, "pool_bytes": 20_000 * MIB - 4537 * MIB}, NO, ""),
        (ON_TORCH | {"in_use_bytes": 5 * MIB, "unused_bytes": 20_000 * MIB - 4542 * MIB}, NO, ""),
        (ON_TORCH | {"in_use_bytes": 5 * MIB, "kind": "oom"}, NO, ""),
        (ON_TORCH | {"in_use_bytes": 5 * MIB, "largest_free_bytes": None}, NO, ""),
    ],
)  # fmt: skip
def test_memory_taken_before_start(facts, sure, words):
    check("memory_taken_before_start", sure, words, facts)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"requested_bytes": 486 * MIB, "free_share": 0.95}, "95 % of TensorFlow's memory is free"),
        ({"requested_bytes": 487 * MIB, "free_share": 0.95}, None),  # more than 512 MiB in all
        ({"requested_bytes": 90 * MIB, "free_share": 0.9}, None),
        ({"limit_bytes": 4 * GIB - 1, "device_bytes": 8 * GIB}, "of a device of 8.00 GiB"),
        ({"limit_bytes": 4 * GIB, "device_bytes": 8 * GIB}, None),
        ({"limit_bytes": 512 * MIB - 1}, "only"),
        ({"limit_bytes": 512 * MIB}, None),
        ({"limit_bytes": GIB, "requested_bytes": 9, "available_bytes": 9}, "By its own limit"),
        ({"limit_bytes": GIB, "requested_bytes": 9, "available_bytes": 8}, None),
        ({"limit_bytes": GIB, "available_bytes": 8}, None),
        ({}, None),
    ],
)
def test_tensorflow_got_little_of_the_gpu(facts, words):
    check("memory_taken_before_start", words and LIKELY, words or "", facts | {"on_gpu": True})
    check("memory_taken_before_start", NO, "", facts)  # not on a GPU
    check("memory_taken_before_start", NO, "", facts | {"on_gpu": True, "is_alone": True})


COPY = {"kind": "copy"}
LARGE = {"limit_bytes": 1000 * MIB, "requested_bytes": MIB}
ARRAYS = {"arrays_bytes": 51, "limit_bytes": 100, "in_use_bytes": 90, "held_by_category": {"inputs": 60}}


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"kind": "proto"}, CERTAIN, "constant of the graph"),
        ({"kind": "proto", "marks": {"add_weight"}}, NO, ""),
        ({"crashed": True, "requested_bytes": MIB + 1}, CERTAIN, "died while"),
        ({"crashed": True, "requested_bytes": MIB}, NO, ""),
        ({"crashed": True, "limit_bytes": MIB + 1}, CERTAIN, "died while"),
        ({"crashed": True, "requested_bytes": 9, "limit_bytes": GIB}, NO, ""),
        ({"crashed": True}, NO, ""),
        (COPY, LIKELY, "copied from the host"),
        (COPY | {"op": ADAM}, NO, ""),
        (COPY | {"op": "IteratorGetNext"}, NO, ""),
        ({"op": "GatherV2", "shape": (2048, 9)}, LIKELY, "2,048 rows at once"),
        ({"op": "GatherV2", "shape": (2047, 9)}, NO, ""),
        ({"op": "GatherV2", "shape": (64, 9), "marks": {"validation_split="}}, LIKELY, "a data set is split"),
        ({"op": "model/GatherV2", "shape": (2048, 9)}, NO, ""),
        # A few chunks hold most of it.
        (LARGE | {"sizes": chunks(500 * MIB)}, LIKELY, "A single chunk holds 500 MiB"),
        (LARGE | {"sizes": chunks(500 * MIB), "is_alone": True}, GUESS, "A single chunk holds"),
        (LARGE | {"sizes": chunks(500 * MIB), "op": ADAM}, NO, ""),
        (LARGE | {"sizes": chunks(600 * MIB)}, NO, ""),
        (LARGE | {"sizes": chunks(601 * MIB)}, LIKELY, "takes 60 %"),
        (LARGE | {"sizes": chunks(601 * MIB), "op": "model/x/y"}, GUESS, "takes 60 %"),
        (LARGE | {"sizes": chunks(899 * MIB), "op": "model/x/y"}, GUESS, "takes 90 %"),
        (LARGE | {"sizes": chunks(900 * MIB), "op": "model/x/y"}, LIKELY, "takes 90 %"),
        (LARGE | {"sizes": chunks(900 * MIB), "op": ADAM}, NO, ""),
        (LARGE | {"sizes": chunks(901 * MIB), "op": ADAM}, LIKELY, "takes 90 %"),
        (LARGE | {"sizes": chunks(901 * MIB), "requested_bytes": 451 * MIB}, NO, ""),
        (LARGE | {"sizes": chunks(900 * MIB + 2), "requested_bytes": 450 * MIB + 1}, NO, ""),
        (LARGE | {"sizes": chunks(900 * MIB), "held_by_category": {"weights": 9}}, NO, ""),
        (ARRAYS, CERTAIN, "51 B of 90 B in use are whole"),
        ({"arrays_bytes": 50, "limit_bytes": 100, "in_use_bytes": 90}, NO, ""),
        # What was refused would fit without them, or it would not.
        (ARRAYS | {"requested_bytes": 61}, CERTAIN, "51 B of 90 B in use are whole"),
        (ARRAYS | {"requested_bytes": 62}, NO, ""),
        ({"kind": "watched"}, NO, ""),
        (LARGE | {"sizes": Counter({2 * MIB: 300}), "limit_bytes": GIB}, LIKELY, "300 chunks of exactly"),
    ],
)
def test_array_copied_to_device(facts, sure, words):
    check("array_copied_to_device", sure, words, facts)


@pytest.mark.parametrize(
    ("size", "limit", "sentences"), [(501, 1000, 2), (500, 1000, 1), (500, None, 1), (0, 1000, 1)]
)
def test_copied_array_is_told_by_a_chunk_of_half_the_limit(size, limit, sentences):
    failure = Failure(kind="copy", sizes=chunks(size) if size else Counter(), limit_bytes=limit)
    assert len(RULES["array_copied_to_device"](failure)[1]) == sentences


def test_dump_alone_does_not_tell_which_of_its_large_chunks_is_an_array():
    facts = {"kind": "refused", "sizes": chunks(500 * MIB, 8), "limit_bytes": 1000 * MIB}
    assert RULES["array_copied_to_device"](Failure(**facts)) is not None
    assert RULES["array_copied_to_device"](Failure(**facts, dump=object())) is None


EQUAL = {"sizes": Counter({8 * MIB: 8}), "in_use_bytes": 127 * MIB}


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"op_type": "ConcatV2"}, LIKELY, "joined the outputs"),
        ({"op": "model/concat"}, LIKELY, "joined the outputs"),
        ({"op": "model/x", "op_type": "ConcatV2"}, LIKELY, "joined the outputs"),
        ({"kernel": "concat_op"}, LIKELY, "joined the outputs"),
        ({"op": DENSE}, NO, ""),
        (EQUAL, LIKELY, "8 chunks of 8.00 MiB"),
        (EQUAL | {"in_use_bytes": 128 * MIB}, NO, ""),
        (EQUAL | {"sizes": Counter({80 * MIB: 7})}, NO, ""),
    ],
)
def test_predict_output(facts, sure, words):
    check("predict_output", sure, words, facts | {"marks": {"in predict"}})
    check("predict_output", NO, "", facts)


def test_outputs_are_joined_whatever_op_fails_there():
    check("predict_output", LIKELY, "joined", {"marks": {"potentially_ragged_concat"}, "op": DENSE})


@pytest.mark.parametrize(
    ("facts", "sure", "words", "last"),
    [
        ({"op": "embedding/lookup", "shape": (50_000, 300)}, LIKELY, "50,000 rows of 300", "will not help"),
        ({"op": "embedding/lookup", "shape": (9_999, 300)}, NO, "", ""),
        ({"op": ADAM, "shape": (50_001, 300)}, LIKELY, "50,001 rows", "will not help"),
        ({"op": "adam/dense/mul", "shape": (25_088, 300)}, NO, "", ""),  # 7 x 7 maps of 512, flattened
        ({"marks": {"vocab_size", "ocab"}, "shape": (50_001, 300)}, GUESS, "50,001 rows", "will not help"),
        ({"shape": (50_001, 300)}, NO, "", ""),
    ],
)
def test_embedding(facts, sure, words, last):
    check("embedding", sure, words, facts)
    answer = RULES["embedding"](Failure(**facts))
    assert last in (answer[1][-1] if answer else "")


def test_table_without_a_name_says_what_it_goes_by():
    def said(**facts):
        return " ".join(RULES["embedding"](Failure(**facts))[1])

    assert "goes by the shape" not in said(op="embedding/lookup", shape=(50_000, 300))
    assert "names no op" in said(marks={"ocab"}, shape=(50_001, 300))
    assert "no name says embedding" in said(op=ADAM, shape=(50_001, 300))
    assert "It may also be" in said(op=ADAM, shape=(64_000, 16))  # 64,000 words, or 10 x 10 maps of 640
    assert "It may also be" not in said(op="embedding/x", shape=(64_000, 16))


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"op": "model/mha/softmax", "shape": (8, 4, 127, 127)}, LIKELY, "127 positions against 127"),
        ({"op": "model/mha/softmax", "shape": (8, 4, 128, 128)}, LIKELY, "128 positions against 128"),
        ({"op": "model/mha/softmax", "shape": (8, 4, 64, 256)}, LIKELY, "64 positions against 256"),
        ({"op": "model/mha/softmax", "shape": (8, 256)}, LIKELY, "These are attention scores"),
        ({"op": "model/x/MatMul", "shape": (8, 4095, 4095)}, GUESS, "4,095 positions"),
        ({"op": "model/x/MatMul", "shape": (8, 4096, 4096)}, LIKELY, "4,096 positions"),
        ({"op": DENSE, "shape": (64, 100)}, NO, ""),
    ],
)
def test_attention(facts, sure, words):
    check("attention", sure, words, facts)


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"is_overflow": True, "requested_bytes": 2**60}, LIKELY, "more than any memory has"),
        ({"requested_bytes": 1000, "limit_bytes": 1000}, CERTAIN, "fill the whole limit"),
        ({"requested_bytes": 999, "limit_bytes": 1000}, NO, ""),
        ({"requested_bytes": 1000, "limit_bytes": 1000, "kind": "xla"}, NO, ""),
        ({"requested_bytes": 1000, "limit_bytes": 1000, "kind": "host"}, NO, ""),
        ({"requested_bytes": 1000}, NO, ""),
        ({"limit_bytes": 1000}, NO, ""),
        ({"requested_bytes": 512 * GIB}, LIKELY, "takes 512 GiB: no device"),
        ({"requested_bytes": 512 * GIB - 1}, NO, ""),
        ({"shape": (2**20, 2**19)}, LIKELY, "takes 512 GiB at least"),
        ({"shape": (2**20, 2**18)}, NO, ""),
        ({"requested_bytes": 512 * GIB, "kind": "host"}, NO, ""),
    ],
)
def test_tensor_exceeds_limit(facts, sure, words):
    check("tensor_exceeds_limit", sure, words, facts)


THIRD_MODEL = {"op": "model_3/dense/MatMul", "requested_bytes": MIB}


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"grows_by_bytes": MIB, "is_alone": True}, CERTAIN, "With each step 1.00 MiB"),
        ({"epoch": 9, "is_alone": True}, NO, ""),
        (THIRD_MODEL, LIKELY, "counts 3 models"),
        (THIRD_MODEL | {"op": "model_2/dense/MatMul"}, NO, ""),
        (THIRD_MODEL | {"requested_bytes": 100 * MIB}, NO, ""),
        ({"marks": {"KFold"}, "requested_bytes": MIB}, LIKELY, "loop over folds"),
        ({"marks": {"KFold"}, "requested_bytes": 100 * MIB}, NO, ""),
        ({"marks": {"KFold", "add_weight"}, "requested_bytes": 100 * MIB}, LIKELY, "loop over folds"),
        ({"marks": {"add_weight"}, "requested_bytes": MIB}, NO, ""),
        ({"epoch": 1}, NO, ""),
        ({"epoch": 2}, GUESS, "epoch 2"),
        ({"epoch": 3}, GUESS, "epoch 3"),
        ({"epoch": 4}, LIKELY, "epoch 4"),
        ({"done": 1}, NO, ""),
        ({"done": 2}, GUESS, "2 epochs"),
        ({"done": 3}, LIKELY, "3 epochs"),
    ],
)
def test_growth(facts, sure, words):
    check("growth", sure, words, facts)


PIECES = {"limit_bytes": 1000, "memory_map": Map(900), "requested_bytes": 80}
UNUSED = {"framework": "torch", "requested_bytes": 100, "limit_bytes": 500}


@pytest.mark.parametrize(
    ("facts", "sure"),
    [
        (PIECES, GUESS),
        (PIECES | {"requested_bytes": 100}, GUESS),
        (PIECES | {"requested_bytes": 101}, NO),
        (PIECES | {"requested_bytes": 66}, LIKELY),
        (PIECES | {"requested_bytes": 67}, GUESS),
        (PIECES | {"requested_bytes": None}, NO),
        (PIECES | {"requested_bytes": 40, "memory_map": Map(940)}, LIKELY),
        (PIECES | {"requested_bytes": 40, "memory_map": Map(950)}, GUESS),
        (PIECES | {"requested_bytes": 40, "memory_map": Map(951)}, NO),
        (PIECES | {"memory_map": None}, NO),
        (PIECES | {"on_gpu": True}, GUESS),
        (PIECES | {"available_bytes": 9}, GUESS),
        (PIECES | {"on_gpu": True, "available_bytes": 9}, NO),
        (UNUSED | {"unused_bytes": 120}, LIKELY),
        (UNUSED | {"unused_bytes": 119}, NO),
        (UNUSED | {"pool_bytes": 450, "in_use_bytes": 330}, LIKELY),
        (UNUSED | {"pool_bytes": 450, "in_use_bytes": 331}, NO),
        (UNUSED | {"unused_bytes": 120, "limit_bytes": 600}, NO),
        (UNUSED | {"unused_bytes": 120, "limit_bytes": None}, LIKELY),
        (UNUSED | {"unused_bytes": 120, "requested_bytes": None}, NO),
        (PIECES | UNUSED, NO),
    ],
)
def test_fragmentation(facts, sure):
    check("fragmentation", sure, "", facts)


LOOP = {"loop_bytes": 51, "requested_bytes": 100, "limit_bytes": 50}


class Block:
    """What the rules ask of a refused block."""

    def __init__(self, **sizes):
        self.sizes = sizes

    def by_category(self):
        return self.sizes

    def by_layer(self):
        return {}


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        (LOOP, LIKELY, ""),
        (LOOP | {"loop_bytes": 50, "limit_bytes": 49}, NO, ""),  # half of it is not most of it
        (LOOP | {"limit_bytes": 51}, NO, ""),  # it fits, given a smaller batch
        (LOOP | {"limit_bytes": 60, "in_use_bytes": 10}, LIKELY, ""),
        (LOOP | {"limit_bytes": 61, "in_use_bytes": 10}, NO, ""),
        ({"held_by_category": {"weights": 30, "optimizer": 21, "inputs": 49}}, CERTAIN, "51 B of the 100 B"),
        ({"held_by_category": {"weights": 30, "optimizer": 20, "inputs": 50}}, NO, ""),
        ({"held_by_category": {"weights": 21, "inputs": 60, "activations": 19}, "op": ADAM}, CERTAIN, ""),
        ({"held_by_category": {"weights": 20, "inputs": 60, "activations": 20}, "op": ADAM}, NO, ""),
        ({"held_by_category": {"weights": 21, "inputs": 60, "activations": 19}, "op": DENSE}, NO, ""),
        ({"kind": "proto", "marks": {"add_weight"}}, LIKELY, "initial values"),
        ({"kind": "proto"}, NO, ""),
        ({"marks": {"add_weight"}, "op": DENSE}, NO, ""),
        ({"kind": "constant"}, GUESS, "new optimizer state"),
        ({"kind": "constant", "op": DENSE}, NO, ""),
        ({"kind": "full", "marks": {"load_model("}}, GUESS, "being loaded"),
        ({"kind": "full", "marks": {"load_model(", ".fit("}}, NO, ""),
        ({"kind": "torch", "marks": {"in load_model"}}, GUESS, "being loaded"),
        ({"kind": "oom", "marks": {"in load_model"}}, NO, ""),
        ({"op": ADAM, "requested_bytes": MIB}, GUESS, "tiny"),
        ({"op": ADAM, "requested_bytes": 100 * MIB, "kind": "copy"}, GUESS, "optimizer"),
        ({"op": ADAM, "requested_bytes": 50 * MIB}, LIKELY, "optimizer"),
        ({"op": ADAM, "requested_bytes": 100 * MIB}, LIKELY, "optimizer"),
        ({"op": DENSE, "requested_bytes": 100 * MIB}, NO, ""),
    ],
)
def test_weights_or_optimizer(facts, sure, words):
    check("weights_or_optimizer", sure, words, facts)


def test_small_weights_in_a_step_may_find_room_and_large_ones_not():
    def last(size):
        return RULES["weights_or_optimizer"](Failure(op=ADAM, requested_bytes=size))[1][-1]

    assert "may leave it room" in last(50 * MIB)
    assert "will not help" in last(100 * MIB)


MOVING = {"activations": 20, "inputs": 10, "workspace": 10, "gradients": 11}


@pytest.mark.parametrize(
    ("facts", "sure", "words"),
    [
        ({"held_by_category": MOVING | {"weights": 49}}, CERTAIN, "51 B of the 100 B in use were"),
        ({"held_by_category": MOVING | {"weights": 51}}, NO, ""),
        (ARRAYS, NO, ""),
        (ARRAYS | {"requested_bytes": 62}, CERTAIN, "60 B of the 60 B"),
        ({"held_by_category": {"weights": 49}, "block": Block(weights=51)}, NO, ""),
        (
            {"held_by_category": {"weights": 49, "activations": 0}, "block": Block(activations=51)},
            CERTAIN,
            "",
        ),
        ({"kind": "xla"}, LIKELY, "one block"),
        ({"kind": "torch"}, GUESS, "activations"),
        ({"kind": "full"}, GUESS, "activations"),
        ({"kind": "torch", "is_overflow": True}, NO, ""),
        ({"kind": "torch", "shape": (9, 9)}, GUESS, ""),
        ({"kind": "torch", "shape": (9, 9), "layer": "Dense"}, LIKELY, ""),
        ({"kind": "torch", "layer": "Dense"}, GUESS, ""),
        ({"kind": "torch", "marks": {"optimizer.step"}}, NO, ""),
        ({"kind": "torch", "marks": {"load_weights"}}, NO, ""),
        ({"kind": "torch", "marks": {"in load_model"}}, NO, ""),
        ({"kind": "torch", "marks": {"in load_model", "backward()"}}, GUESS, ""),
        ({"kind": "driver", "marks": {"backward()"}, "quote": "CUDA error"}, GUESS, "activations"),
        ({"kind": "driver"}, NO, ""),
        ({"kind": "copy"}, GUESS, "is a batch"),
        ({"kind": "copy", "op": ADAM}, NO, ""),
        ({"dtype": "uint8", "shape": (2 * MIB,)}, LIKELY, "workspace"),
        ({"op": DENSE}, GUESS, "belongs to a layer"),
        ({"op": DENSE, "shape": (9,)}, GUESS, "tiny"),
        ({"op": "MatMul"}, NO, ""),
        ({"op": "MatMul", "requested_bytes": 100 * MIB}, GUESS, "activations"),
        ({"op": "MatMul", "shape": (10 * MIB,)}, GUESS, "activations"),
        ({"op": ADAM, "requested_bytes": 100 * MIB}, GUESS, "activations"),
        ({"shape": (64, 9), "op": ADAM, "requested_bytes": GIB}, GUESS, "first dimension"),
        ({"shape": (128, 9), "batch": 64, "requested_bytes": GIB}, LIKELY, "2 times the batch size"),
        ({"shape": (129, 9), "batch": 64, "requested_bytes": GIB}, GUESS, "not the batch size"),
        ({"shape": (128, 9), "batch": 1, "requested_bytes": GIB}, GUESS, "128 times"),
        ({"shape": (64, 9), "requested_bytes": GIB}, GUESS, "probably the batch"),
        ({"shape": (64, 9, 9), "requested_bytes": GIB}, LIKELY, "probably the batch"),
        ({"shape": (64, 9), "op": DENSE, "requested_bytes": GIB}, LIKELY, "probably the batch"),
        ({"shape": (64, 9), "op_type": "Conv2D", "requested_bytes": GIB}, LIKELY, "probably the batch"),
        ({"shape": (64, 9, 9), "requested_bytes": MIB}, GUESS, "tiny"),
        ({"shape": (64, 9, 9), "requested_bytes": MIB, "op": DENSE}, LIKELY, "tiny"),
    ],
)
def test_activations(facts, sure, words):
    check("activations", sure, words, facts)


@pytest.mark.parametrize(
    ("facts", "own"),
    [
        ({"in_use_bytes": 500}, True),
        ({"in_use_bytes": 499}, False),
        ({"in_use_bytes": 700, "kind": "refused", "dump": object()}, True),
        ({"in_use_bytes": 699, "kind": "refused", "dump": object()}, False),
        ({"in_use_bytes": 900, "op": ADAM}, False),
        ({}, False),
    ],
)
def test_process_that_holds_most_of_its_limit(facts, own):
    answer = RULES["activations"](Failure(**facts, limit_bytes=1000))
    assert ("This process itself holds" in str(answer)) == own
    assert answer is None or answer[0] == GUESS


# Of several causes


def test_what_has_reasons_goes_before_a_guess():
    facts = {"shape": (64, 9), "op": ADAM, "requested_bytes": 100 * MIB}
    assert RULES["activations"](Failure(**facts))[0] == GUESS
    assert causes.find(Failure(**facts))[:2] == ("weights_or_optimizer", LIKELY)


def test_first_cause_that_is_found_goes_before_later_ones_as_sure():
    assert causes.find(Failure(kind="library"))[:2] == ("memory_taken_before_start", LIKELY)
    assert causes.find(Failure(requested_bytes=9, limit_bytes=9, shape=(64, 9, 9)))[:2] == (
        "tensor_exceeds_limit",
        CERTAIN,
    )


@pytest.mark.parametrize("facts", [{"kind": "host"}, {"requested_bytes": GIB, "limit_bytes": MIB}, {}])
def test_what_was_seen_to_grow_goes_before_all_else(facts):
    name, sure, said = causes.find(Failure(**facts, grows_by_bytes=MIB))
    assert (name, sure) == ("growth", CERTAIN)
    assert (len(said) > 1) == bool(facts)


def test_growth_that_is_only_likely_waits_for_its_turn():
    assert causes.find(Failure(kind="host", epoch=9))[0] == "host_memory"


def test_second_cause_is_named_if_it_is_no_guess_or_growth():
    def also(**facts):
        return [said for said in causes.find(Failure(**facts))[2] if said.startswith("Also possible")]

    activations = {"shape": (64, 9, 9), "requested_bytes": GIB}
    assert also(**activations) == []
    assert ["growth" in said for said in also(**activations, epoch=2)] == [True]
    assert also(kind="copy") == []  # that it may be a batch is only a guess
    three = also(requested_bytes=GIB, limit_bytes=GIB, shape=(64, 9, 9), epoch=9)
    assert [said.partition(":")[0] for said in three] == ["Also possible, growth"]


def test_of_nothing_nothing_is_found():
    assert causes.find(Failure()) == ("unknown", GUESS, [])


BATCH = Buffer(9, "model/x", "f32[64,224,224,3]")


@pytest.mark.parametrize(
    ("totals", "buffers", "given"),
    [
        ({"parameter": 21, "preallocated temp": 10}, [], True),
        ({"parameter": 20, "preallocated temp": 10}, [], False),
        ({"parameter": 21}, [], True),
        ({"preallocated temp": 10}, [], False),
        ({"parameter": 21, "preallocated temp": 10}, [Buffer(9, "", "f32[64,100]"), BATCH], True),
        ({"parameter": 21, "preallocated temp": 10}, [BATCH], False),
        ({"parameter": 21, "preallocated temp": 10}, [Buffer(9, "", "f32[64,100,32]")], False),
    ],
)
def test_step_that_xla_is_given_more_than_it_computes(totals, buffers, given):
    failure = Failure(kind="xla", division=Division(totals, buffers))
    answer = RULES["weights_or_optimizer"](failure)
    assert (answer and answer[0]) == (LIKELY if given else None)
    assert failure.division.is_whole == (len(totals) == 2)
    assert ("of inputs (weights" in " ".join(RULES["activations"](failure)[1])) == given


def test_weights_that_a_loop_keeps_are_those_of_the_shape_of_an_accumulator():
    def loop_bytes(op, shape):
        return Division({}, [Buffer(1000, op, shape), Buffer(100, "", shape), BATCH]).loop_bytes

    kept = "while/body/MatMul/ReadVariableOp_1/accumulator"
    assert loop_bytes(kept, "f32[100,64,256]") == 1100
    assert loop_bytes(kept, "f32[64,256]") == 0
    assert loop_bytes("while/body/MatMul", "f32[100,64,256]") == 0


STEP_OF_GPU = {
    "kind": "oom", "op": "__inference_one_step_on_data_792", "on_gpu": True, "requested_bytes": 4 * MIB,
    "limit_bytes": 2**30, "in_use_bytes": 1000 * MIB, "sizes": chunks(512 * MIB, 300 * MIB, 4 * MIB, 4 * MIB),
    "is_alone": True,
}  # fmt: skip


def test_large_chunks_of_a_compiled_step_on_a_gpu_are_no_arrays():
    check("array_copied_to_device", NO, "", STEP_OF_GPU)
    check("array_copied_to_device", GUESS, "2 chunks hold", {**STEP_OF_GPU, "op": DENSE})
    check("array_copied_to_device", GUESS, "2 chunks hold", {**STEP_OF_GPU, "on_gpu": False})
    _, said = RULES["activations"](Failure(**STEP_OF_GPU))
    assert "tries out algorithms" in said[1]
    held = {"weights": MIB, "activations": 20 * MIB, "workspace": 30 * MIB}
    _, said = RULES["activations"](Failure(**STEP_OF_GPU, held_by_category=held))
    assert "tries out algorithms" in said[-1]
    _, said = RULES["activations"](Failure(**{**STEP_OF_GPU, "on_gpu": False}, held_by_category=held))
    assert "tries out" not in " ".join(said)


STEPS = {"limit_bytes": 100, "in_use_bytes": 99, "requested_bytes": 7, "steps_peak_bytes": 92}


@pytest.mark.parametrize(
    ("ends", "start", "end"),
    [
        ([50], "the step before it took 92 %", "106 %. What the first step creates"),
        ([50, 50], "the fullest of the 2 steps before it", "106 %. Nothing grows"),
        ([50, 51], "the fullest of the 2 steps", "106 %. Nothing grows"),
        ([50, 52], "the fullest of the 2 steps", "needs at least 106 %."),
    ],
)
def test_near_miss_says_that_nothing_grows_only_after_steps_that_show_it(ends, start, end):
    (said,) = evidence.near_miss(Failure(**STEPS, steps=len(ends), step_bytes=ends))
    assert start in said and end in said
    assert ("Nothing grows" in said) == ("Nothing grows" in end)


@pytest.mark.parametrize(
    ("facts", "models"),
    [
        ({"op": "sequential_1/lstm_1/while/MatMul_1"}, 0),
        ({"op": "sequential_2/lstm_1/while/MatMul_1"}, 2),
        ({"op": "sequential_2/lstm_1/while/MatMul_1", "is_alone": True}, 0),
        ({"op": "sequential_2/lstm_1/MatMul", "is_alone": True, "grows_by_bytes": MIB}, 2),
    ],
)
def test_earlier_models_are_counted_from_two_and_not_in_a_process_of_its_own(facts, models):
    failure = Failure(**facts, requested_bytes=9)
    assert tensors.earlier_models(failure) == models
    told = [said for said in evidence.tiny(failure) if "before this one" in said]
    assert told == ([] if models == 0 else [
        "The op's name counts 2 models or trainings before this one in the same process, which may still "
        "hold their memory."
    ])  # fmt: skip
