"""Steps that XLA compiled: the one block that they take, divided as XLA planned it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import dense, lstm

import labkit
from labkit.explain.sources import with_timeline
from labkit.predict import matching
from labkit.record import xla_blocks
from labkit.record.xla_blocks import IDLE

CORPUS = Path(__file__).parent / "corpus"


def pictures(layers, keras):
    return [
        keras.Input((32, 32, 3)),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    ]


def train(batch_size, build, jit_compile=True, how="fit", steps=3):
    import keras
    import numpy as np

    model = keras.Sequential(build(keras.layers, keras))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_compile)
    x = np.ones((steps * batch_size, *model.input_shape[1:]), "float32")
    y = np.zeros(len(x), "int32")
    if how == "fit":
        model.fit(x, y, batch_size=batch_size, verbose=0)
    else:
        for _ in range(steps):
            model.train_on_batch(x[:batch_size], y[:batch_size])
    return [layer.name for layer in model.layers]


@pytest.fixture(scope="module", params=[dense, pictures, lstm], ids=lambda build: build.__name__)
def compiled(request):
    how = "fit" if request.param is pictures else "train_on_batch"
    outcome = labkit.run(train, profile=True, batch_size=32, build=request.param, how=how)
    assert outcome.ok, outcome
    return outcome


def test_what_lies_in_a_block_fills_it_as_xla_planned(compiled):
    timeline, columns = compiled.timeline, compiled.timeline.record.allocations
    blocks = timeline.blocks
    assert len(blocks) == 3  # one a step
    for i in blocks:
        shares = [share for row, share in timeline.parts(i) if row.op != IDLE]
        assert 0.99 <= sum(shares) * columns["bytes"][i] / columns["requested"][i] <= 1 + 1e-9
        assert sum(share for _, share in timeline.parts(i)) == pytest.approx(1)


def test_the_peak_stays_the_allocators_and_all_adds_up(compiled):
    timeline = compiled.timeline
    assert timeline.peak_bytes == compiled.peak_bytes and timeline.refused_block() is None
    assert sum(row.bytes for row in timeline.at_peak()) == timeline.peak_bytes
    assert min(row.bytes for row in timeline.at_peak()) >= 0
    for by in ("category", "layer"):
        assert np.array_equal(sum(timeline.curves(by).values()), timeline.total())
    assert sum(part.events for part in (timeline.during(1), timeline.during(2))) < timeline.events
    assert timeline.plot()._repr_png_().startswith(b"\x89PNG")


def test_layers_and_categories_are_those_of_the_model(compiled):
    timeline = compiled.timeline
    named = set(timeline.by_layer()) - {None}
    assert named <= set(compiled.result)
    inside = [row for i in timeline.blocks for row, _ in timeline.parts(i) if row.op != IDLE]
    with_layer = sum(row.bytes for row in inside if row.layer)
    assert with_layer > 0.75 * sum(row.bytes for row in inside)
    in_use = [curve.max() for name, curve in timeline.during(2).curves().items() if name == "activations"]
    assert in_use and in_use[0] > 0
    dtypes = {row.dtype for row in inside}
    assert "float32" in dtypes and dtypes <= {"float32", "int32", "bool", "uint32", "uint64", "int64", ""}


def test_activations_grow_with_the_batch_and_are_gone_as_the_step_ends():
    small, large = (
        labkit.run(train, profile=True, batch_size=size, build=dense).timeline for size in (64, 256)
    )
    kept = [timeline.curves()["activations"].max() for timeline in (small, large)]
    assert kept[1] == pytest.approx(4 * kept[0], rel=0.1)
    assert large.by_category(large.steps[1])["activations"] < 0.05 * kept[1]  # the output stays


def test_a_compiled_function_inside_a_loop_of_ones_own():
    def loop(batch_size):
        import tensorflow as tf

        kernel = tf.Variable(tf.ones((256, 256)))

        @tf.function(jit_compile=True)
        def step(x):
            with tf.GradientTape() as tape:
                hidden = tf.nn.relu(x @ kernel)
                loss = tf.reduce_sum(tf.square(tf.nn.gelu(hidden @ kernel)))
            kernel.assign_sub(1e-3 * tape.gradient(loss, kernel))

        for _ in range(2):
            step(tf.ones((batch_size, 256)))

    outcome = labkit.run(loop, profile=True, batch_size=512)
    assert outcome.timeline.peak_bytes == outcome.peak_bytes
    assert outcome.timeline.blocks
    assert outcome.timeline.curves()["gradients"].max() > 0


def test_out_of_memory_tells_what_the_refused_block_was_for():
    outcome = labkit.run(train, memory_limit="16 MiB", profile=True, batch_size=128, build=pictures)
    assert outcome.status == "oom"
    block = outcome.timeline.refused_block()
    assert block.peak_bytes == pytest.approx(outcome.diagnosis.requested_bytes, rel=0.01)
    assert outcome.diagnosis.cause == "activations" and outcome.diagnosis.confidence == "certain"
    [said] = [sentence for sentence in outcome.diagnosis.evidence if "need the most of it" in sentence]
    largest = next(name for name in block.by_layer() if name)
    assert largest in said


def recurrent(batch_size, jit_compile, length=400):
    import keras
    import numpy as np

    layers = [keras.Input((length, 8)), keras.layers.LSTM(64), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse", jit_compile=jit_compile)
    for _ in range(2):
        model.train_on_batch(np.zeros((batch_size, length, 8), "float32"), np.zeros((batch_size, 1)))


@pytest.fixture(scope="module")
def unrolled():
    """{batch size: Outcome}, compiled."""
    return {
        size: labkit.run(recurrent, memory_limit="40 MiB", batch_size=size, jit_compile=True)
        for size in (1, 8)
    }


def test_an_lstm_keeps_its_weights_for_each_step_of_the_sequence_whatever_the_batch(unrolled):
    assert unrolled[8].peak_bytes < 1.1 * unrolled[1].peak_bytes  # its blocks do not grow with the batch here
    outcome = labkit.run(recurrent, memory_limit="24 MiB", profile=True, batch_size=1, jit_compile=True)
    assert outcome.status == "oom" and outcome.diagnosis.cause == "weights_or_optimizer"
    assert outcome.diagnosis.failure.loop_bytes >= 400 * 64 * 256 * 4  # one of its stacks at the least
    assert any("once for each time step" in said for said in outcome.diagnosis.evidence)
    assert "jit_compile=False" in outcome.diagnosis.fixes[0].code
    mended = labkit.run(recurrent, memory_limit="24 MiB", batch_size=1, jit_compile=False)
    assert mended.ok and outcome.diagnosis.fixes[0].saves > 0
    assert unrolled[1].peak_bytes > 5 * mended.peak_bytes


def test_where_that_part_alone_would_fit_a_smaller_batch_helps_too(unrolled):
    outcome = labkit.run(recurrent, memory_limit="40 MiB", profile=True, batch_size=24, jit_compile=True)
    assert outcome.status == "oom" and outcome.diagnosis.cause == "activations"
    assert any("once for each time step" in said for said in outcome.diagnosis.evidence)
    without, smaller = outcome.diagnosis.fixes[:2]
    assert "jit_compile=False" in without.code and "batch_size=" in smaller.code
    assert unrolled[8].ok


def larger_later(first, later):
    import keras
    import numpy as np

    hidden = [keras.layers.Dense(256, activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=True)
    for size in [*[first] * 4, later]:
        model.train_on_batch(np.zeros((size, 16), "float32"), np.zeros((size, 1)))


def test_a_refused_block_that_was_not_recorded_is_not_made_up_for_by_what_was_in_use():
    outcome = labkit.run(larger_later, memory_limit="8 MiB", profile=2, first=8, later=8192)
    assert outcome.status == "oom" and outcome.timeline.refused_block() is None
    assert (outcome.diagnosis.cause, outcome.diagnosis.confidence) == ("activations", "likely")
    known = labkit.diagnose(CORPUS / "forms" / "tf2_xla_rnn.txt")
    assert with_timeline(known, outcome.timeline).failure.loop_bytes == known.failure.loop_bytes > 0


def two_shapes():
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def work(x):
        return tf.reduce_sum(tf.sort(x) * tf.cumsum(x))

    for size in (2**20, 2**18):
        work(tf.zeros(size))


def test_programs_of_one_name_are_matched_in_the_order_in_which_they_ran():
    timeline = labkit.run(two_shapes, profile=True).timeline
    blocks, record = timeline.blocks, timeline.record
    assert len(blocks) == 2
    record.allocations["op"][blocks] = 0  # as the step of a Keras model may be
    nameless = labkit.Timeline(replace(record, threads=["XLA"] * len(record.threads)))
    groups = matching.Tokens(nameless, {"size": 1}).groups
    assert [places for key, places in groups.items() if key[0] == "XLA"] == [sorted(blocks)]


def plain_pictures(layers, keras):
    return [layer for layer in pictures(layers, keras) if not isinstance(layer, layers.BatchNormalization)]


def test_the_estimate_holds_and_knows_what_is_in_the_block():
    estimate = labkit.estimate(train, at=(8, 16), build=plain_pictures)
    measured = labkit.run(train, memory_limit="1 GiB", batch_size=128, build=plain_pictures, profile=3)
    assert estimate.peak_bytes(128) == pytest.approx(measured.peak_bytes, rel=0.05)
    parts = estimate.breakdown(128)
    for by in ("category", "layer"):
        assert sum(parts[by].values()) == estimate.peak_bytes(128)
    seen = measured.timeline.by_category()["activations"]
    assert seen > 0
    assert parts["category"]["activations"] == pytest.approx(seen, rel=0.25)


def test_of_a_long_training_the_later_blocks_stay_whole(compiled, monkeypatch):
    whole, [first, *_] = compiled.timeline, compiled.timeline.blocks
    inside = np.count_nonzero(whole._shown.allocations["inside"] == first)
    monkeypatch.setattr(xla_blocks, "MOST", inside)
    short = labkit.Timeline(compiled.timeline.record)
    assert short.blocks == [first]
    assert short.peak_bytes == whole.peak_bytes
    assert set(short.total().tolist()) == set(whole.total().tolist())


def test_what_is_as_large_as_a_block_is_none_if_it_stays_has_a_shape_or_is_an_array(compiled):
    record, block = compiled.timeline.record, compiled.timeline.blocks[0]
    shaped = next(i for i, shape in enumerate(record.shapes) if shape)
    python = record.threads.index("python")
    for other in (
        {"end": -1},
        {"end": record.steps[-1] + 1},
        {"shape": shaped},
        {"thread": python, "op": record.ops.index("")},
    ):
        columns = {name: np.append(c, c[block]) for name, c in record.allocations.items()}
        for name, value in other.items():
            columns[name][-1] = value
        assert labkit.Timeline(replace(record, allocations=columns)).blocks == compiled.timeline.blocks
    unmarked = replace(record, steps=[], snapshots_at=[])
    columns = {name: np.append(c, c[block]) for name, c in record.allocations.items()}
    columns["end"][-1] = -1
    assert len(columns["end"]) - 1 not in xla_blocks.blocks_of(replace(unmarked, allocations=columns))


def test_a_list_of_buffers_said_twice_counts_once():
    text = (CORPUS / "forms" / "tf2_xla_rnn.txt").read_text()
    once, twice = labkit.diagnose(text), labkit.diagnose(text + text)
    assert once.failure.loop_bytes == twice.failure.loop_bytes > 0
    assert once.fixes == twice.fixes
    cut = labkit.diagnose(text[: text.index("preallocated")])
    assert not any("XLA says" in said for said in cut.evidence)
    activations = text.replace("ReadVariableOp_0", "Sigmoid_0")
    assert labkit.diagnose(activations).cause == "activations"


def test_a_step_that_is_given_much_and_makes_little_has_too_many_weights():
    text = (CORPUS / "forms" / "tf212_xla_weights.txt").read_text()
    makes_some = text[text.index("Node:") :].replace(" 0B", " 1.00GiB")
    assert "preallocated temp allocation:         1.00GiB" in makes_some
    assert labkit.diagnose(makes_some).cause == "weights_or_optimizer"


def test_a_program_of_another_form_leaves_its_block_whole():
    def read():
        from tensorflow.compiler.xla.service import hlo_pb2
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        from labkit.record import xla_programs

        space, proto = xplane_pb2.XSpace(), hlo_pb2.HloProto()
        proto.buffer_assignment.logical_buffers.add(id=1)
        proto.buffer_assignment.buffer_allocations.add(size=4096).assigned.add(logical_buffer_id=1)
        metadata = space.planes.add(name="/host:metadata").event_metadata[1]
        for content in (proto.SerializeToString(), b"\xff"):
            metadata.stats.add(bytes_value=content)
        return xla_programs.programs(space)

    assert labkit.run(read).result == []


def test_without_xla_nothing_is_divided():
    timeline = labkit.run(train, profile=True, batch_size=8, build=dense, jit_compile=False).timeline
    assert timeline.record.programs == []
    assert timeline.events == timeline.record.events
    assert np.array_equal(timeline.filled(), timeline.total())
    assert timeline.held_at_peak().sum() == len(timeline.at_peak())


@pytest.mark.parametrize("caller", ["call", "while"])
def test_what_a_called_computation_gives_is_needed_until_its_caller_is_used_last(caller):
    def read(caller):
        from tensorflow.compiler.xla.service import hlo_pb2

        from labkit.record import xla_programs

        proto = hlo_pb2.HloProto()
        module = proto.hlo_module
        module.entry_computation_id = 1
        called, entry = module.computations.add(id=2, root_id=20), module.computations.add(id=1, root_id=12)
        called.instructions.add(id=20, opcode="iota")
        call = entry.instructions.add(id=10, opcode=caller, called_computation_ids=[2])
        call.metadata.op_name = "called"
        entry.instructions.add(id=11, opcode="add", operand_ids=[]).metadata.op_name = "between"
        entry.instructions.add(id=12, opcode="add", operand_ids=[10, 11]).metadata.op_name = "user"
        for computation in (called, entry):
            sequence = module.schedule.sequences[computation.id]
            sequence.instruction_ids.extend(i.id for i in computation.instructions)
        assignment = proto.buffer_assignment
        assignment.logical_buffers.add(id=1, size=64).defined_at.instruction_id = 20
        if caller == "while":  # with TensorFlow 2.18 a loop's results are told so
            assignment.buffer_aliases.add(source_buffer_id=1).location.instruction_id = 10
        assignment.buffer_allocations.add(size=64).assigned.add(logical_buffer_id=1, size=64)
        [block] = xla_programs._blocks(proto)
        return {name: column[0] for name, column in block.results.items()}

    result = labkit.run(read, caller=caller).result
    assert result["op"] == ("called" if caller == "call" else "") and result["own"]
    assert "user" in result["users"]
    assert (result["begin"], result["end"]) == (1, 6)  # iota, call, between, user: the root stays to the end
