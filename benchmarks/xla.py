"""What XLA changes: the same trainings with `jit_compile` False and True, at the same batch size.

Keras's default training on a GPU is compiled by XLA, on a CPU it is not: here it is asked to. "block" is the
one request of the compiled step, "filled" how much of it has a name (of a TensorFlow op) when it is fullest,
"estimate" the error of `estimate()` from batches of 4 and 8, "first" the time of the first step.
"""

from report import Report
from trainings import (
    autoencoder,
    bidirectional,
    decoder,
    deep_dense,
    mobilenet_v2,
    resnet50,
    stacked_lstm,
    text_gru,
    train,
    transformer,
    unet,
    vgg,
    wide_dense,
)

import labkit
from labkit.record.xla_blocks import IDLE

NETS = [
    *(deep_dense, wide_dense, vgg, unet, autoencoder, mobilenet_v2, resnet50),
    *(transformer, decoder, stacked_lstm, bidirectional, text_gru),
]
BATCH = 64
OPTIONS = {"optimizer": "adam", "pipeline": "train_on_batch", "timeout": 600}


def trial(net, jit_compile, **options):
    return labkit.run(train, batch_size=BATCH, net=net, jit_compile=jit_compile, **OPTIONS, **options)


def named_share(timeline, block):
    """The share of a block's request that has a name when the block is fullest."""
    columns = timeline.record.allocations
    named = sum(share for row, share in timeline.parts(block) if row.op and row.op != IDLE)
    return named * columns["bytes"][block] / columns["requested"][block]


def block_of(timeline):
    """(bytes requested, share of them that has a name when it is fullest) of the largest block."""
    columns = timeline.record.allocations
    i = max(timeline.blocks, key=lambda i: columns["requested"][i])
    return int(columns["requested"][i]), named_share(timeline, i)


def main():
    report = Report("xla")
    report(
        f"{'adam, train_on_batch, batch ' + str(BATCH):32}{'without':>11}{'with XLA':>11}{'ratio':>7}"
        f"{'block':>11}{'filled':>8}{'estimate':>10}{'first':>15}"
    )
    for net in NETS:
        without, compiled = trial(net, False), trial(net, True)
        block, filled = block_of(trial(net, True, profile=3).timeline)
        estimate = labkit.estimate(train, net=net, jit_compile=True, **OPTIONS)
        off = 100 * (estimate.peak_bytes(BATCH) / compiled.peak_bytes - 1)
        sizes = [labkit.format_size(n) for n in (without.peak_bytes, compiled.peak_bytes, block)]
        first = f"{without.step_seconds[0]:.1f} and {compiled.step_seconds[0]:.1f} s"
        report(
            f"{net.__name__:32}{sizes[0]:>11}{sizes[1]:>11}{compiled.peak_bytes / without.peak_bytes:>7.2f}"
            f"{sizes[2]:>11}{100 * filled:>7.1f}%{off:>+9.1f}%{first:>15}"
        )
        report.save()


if __name__ == "__main__":
    main()
