"""Inside a trial on the CPU stand-in: NumPy arrays are copied to the device, as they are to a GPU.

Otherwise TensorFlow uses the memory of an array that happens to be aligned to 64 bytes, without copying it:
the limit would not apply to it, and the peak would depend on chance.
"""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import constant_op
from tensorflow.python.ops import script_ops

ALIGNMENT = 64  # EIGEN_MAX_ALIGN_BYTES, in all builds of TensorFlow


def copy_arrays():
    """For the rest of this process, a tensor created from an array never shares the array's memory."""
    constant_op.convert_to_eager_tensor = _converting(constant_op.convert_to_eager_tensor)
    script_ops.FuncRegistry._convert = staticmethod(_returning(script_ops.FuncRegistry._convert))


def _converting(convert):
    """For tensors created from arrays in Python."""

    def convert_and_copy(value, ctx, dtype=None):
        if not _is_numbers(value):
            return convert(value, ctx, dtype)
        ctx.ensure_initialized()
        type_number = None if dtype is None else tf.as_dtype(dtype).as_datatype_enum
        # TensorFlow itself makes a copy here, so that later changes of the array do not reach the tensor.
        return constant_op.ops.EagerTensor(_misaligned_copy(value), ctx.device_name, type_number)

    return convert_and_copy


def _returning(convert):
    """For arrays that generators and numpy_function return: TensorFlow copies what is not aligned."""

    def convert_and_move(value, dtype=None):
        array = convert(value, dtype)
        aligned = _is_numbers(array) and array.ctypes.data % ALIGNMENT == 0
        return _misaligned_copy(array) if aligned else array

    return convert_and_move


def _is_numbers(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and value.nbytes


def _misaligned_copy(array):
    """A copy of an array whose address is not a multiple of 64 bytes."""
    room = np.empty(array.nbytes + 2 * ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % ALIGNMENT + max(16, array.itemsize)
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
