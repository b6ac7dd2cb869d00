"""Inside a trial on the CPU stand-in: NumPy arrays are copied to the device, as they are to a GPU.

Left to itself, TensorFlow borrows the memory of an array that happens to lie at a multiple of 64 bytes: the
limit would not see it, and the peak would depend on chance.
"""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import constant_op
from tensorflow.python.ops import script_ops

ALIGNMENT = 64  # EIGEN_MAX_ALIGN_BYTES, in all builds of TensorFlow


def copy_arrays():
    """From now on, for the rest of this process, a tensor made from an array never shares its memory."""
    constant_op.convert_to_eager_tensor = _converting(constant_op.convert_to_eager_tensor)
    script_ops.FuncRegistry._convert = staticmethod(_returning(script_ops.FuncRegistry._convert))


def _converting(convert):
    """For tensors made from arrays in Python."""

    def convert_and_copy(value, ctx, dtype=None):
        if not _is_numbers(value):
            return convert(value, ctx, dtype)
        ctx.ensure_initialized()
        wanted = None if dtype is None else tf.as_dtype(dtype).as_datatype_enum
        # TensorFlow itself makes a copy here, so that later changes of the array do not reach the tensor.
        return constant_op.ops.EagerTensor(_out_of_line(value), ctx.device_name, wanted)

    return convert_and_copy


def _returning(convert):
    """For arrays that generators and numpy_function return: TensorFlow copies what lies out of line."""

    def convert_and_move(value, dtype=None):
        array = convert(value, dtype)
        in_line = _is_numbers(array) and array.ctypes.data % ALIGNMENT == 0
        return _out_of_line(array) if in_line else array

    return convert_and_move


def _is_numbers(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and value.nbytes


def _out_of_line(array):
    """A copy of an array that lies beside every multiple of 64 bytes."""
    room = np.empty(array.nbytes + 2 * ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % ALIGNMENT + max(16, array.itemsize)
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
