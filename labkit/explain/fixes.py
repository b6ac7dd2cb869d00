"""Fixes: what can be done, and the advice from which one is made for a failure, if it is not ruled out."""

from collections.abc import Callable
from dataclasses import dataclass

from ..logs import forms
from . import tensors

LESSONS = {
    "00": "00-start-here.ipynb",
    "01": "01-one-big-array.ipynb",
    "02": "02-where-the-memory-goes.ipynb",
    "03": "03-large-lstm-batches.ipynb",
    "04": "04-big-images.ipynb",
    "05": "05-tf-data-from-files.ipynb",
    "06": "06-sequence-and-pydataset.ipynb",
    "07": "07-generators-and-their-traps.ipynb",
    "08": "08-mixed-precision.ipynb",
    "09": "09-smaller-steps.ipynb",
    "10": "10-loops-that-grow.ipynb",
    "11": "11-sharing-one-gpu.ipynb",
    "13": "13-capstone.ipynb",
}


@dataclass(frozen=True)
class Fix:
    """One thing to do. saves: bytes, at least, as far as they can be worked out; else None."""

    sentence: str
    code: str = ""
    lesson: str = ""
    saves: int | None = None

    def to_dict(self):
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Advice:
    """A Fix to be. saves: Failure -> bytes or None; applies: Failure -> whether nothing rules it out."""

    sentence: str
    code: str = ""
    lesson: str = ""
    saves: Callable = lambda failure: None
    applies: Callable = lambda failure: True

    def fix(self, failure, fits=None):
        """The Fix for one failure."""
        return Fix(self.sentence, self.code, LESSONS.get(self.lesson, ""), self.saves(failure) or None)


class SmallerBatch(Advice):
    """As Advice, with a batch size to begin with where it is known how many samples cannot fit."""

    def fix(self, failure, fits=None):
        batch, requested = tensors.batch_of(failure), failure.requested_bytes
        if failure.kind == "pinned":
            said = "Make the batch smaller: less of it waits in the host's memory for the device."
            return Fix(said, self.code, LESSONS[self.lesson])
        if tensors.is_of_weights(failure) or tensors.is_patches(failure) and not (fits and fits < batch):
            said = "Make the batch smaller: this tensor keeps its size, but activations leave it more room."
            return Fix(said, self.code, LESSONS[self.lesson])
        if not (batch and fits and fits < batch):
            return super().fix(failure)
        start = max(1, 2 ** (int(fits / 1.5).bit_length() - 1))
        return Fix(
            f"Make the batch smaller: start with {start} instead of {batch}; labkit.find_batch_size() finds "
            "the largest that fits.",
            f"model.fit(X, y, batch_size={start})",
            LESSONS[self.lesson],
            None if tensors.is_patches(failure) else requested and requested - requested * start // batch,
        )


def several_samples(failure):
    """Whether the batch can be made smaller."""
    return not tensors.is_single_sample(failure)


def trains_on_several(failure):
    """Whether it was training, on a batch that can be made smaller."""
    return several_samples(failure) and not failure.marks & (forms.PREDICTS | forms.EVALUATES)


def on_tensorflow(failure):
    """Whether advice in TensorFlow's terms applies."""
    return failure.framework == "tensorflow"


def not_on_tensorflow(failure):
    """Whether Keras runs on PyTorch or JAX."""
    return failure.framework != "tensorflow"


def is_shared(failure):
    """Whether other programs may use the device too."""
    return not failure.is_alone


def may_be_wide(failure):
    """Whether the numbers may take more than the four bytes of float32."""
    return failure.dtype not in ("float32", "float16", "bfloat16", "int8", "uint8", "bool")


def of_request(share):
    """Saves this share of what was asked for, if that counts at all."""

    def saves(failure):
        of_program = failure.is_tpu and failure.limit_bytes  # all that it needs, weights included
        counts = not (
            tensors.is_tiny(failure) or failure.is_of_tries or failure.kind == "pinned" or of_program
        )
        return int(share * (failure.requested_bytes or 0)) if counts else 0

    return saves


def of_array(share):
    """Saves this share of the array: of the largest chunks in use, or of what was asked for."""

    def saves(failure):
        requested, large = failure.requested_bytes or 0, tensors.large_chunks(failure)
        held = sum(large[0]) if large else failure.largest_chunk_bytes
        return int(share * max(requested, held if held >= 2 * requested else 0)) or None

    return saves


def of_loop(share):
    """Saves this share of what XLA keeps for the steps of a loop."""
    return lambda failure: int(share * failure.loop_bytes)


def optimizer_state(failure):
    """Saves the optimizer's state, where it is known."""
    return (failure.needed_by_category or {}).get("optimizer")


def half_of_activations(failure):
    """Saves half of the activations, or of the tensor."""
    kept = (failure.needed_by_category or {}).get("activations")
    return kept // 2 if kept else of_request(0.5)(failure)


def of_one_hot(failure):
    """Saves all but one number of each row of targets."""
    shape, requested = failure.shape or (0,), failure.requested_bytes
    return requested and shape[-1] > 1 and requested - requested // shape[-1]
