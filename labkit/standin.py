"""Inside a trial on the CPU stand-in: NumPy arrays are copied to the device, as they are to a GPU.

Left to itself, TensorFlow borrows the memory of an array that happens to lie at a multiple of 64 bytes: the
limit would not see it, and the peak would depend on chance.
"""

import numpy as np
import tensorflow as tf

ALIGNMENT = 64  # EIGEN_MAX_ALIGN_BYTES, in all builds of TensorFlow


def copy_arrays():
    """From now on, for the rest of this process, a tensor made from an array never shares its memory."""
    from tensorflow.python.framework import constant_op

    convert = constant_op.convert_to_eager_tensor

    def convert_and_copy(value, ctx, dtype=None):
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufc" or not value.nbytes:
            return convert(value, ctx, dtype)
        ctx.ensure_initialized()
        wanted = None if dtype is None else tf.as_dtype(dtype).as_datatype_enum
        # TensorFlow itself makes a copy here, so that later changes of the array do not reach the tensor.
        return constant_op.ops.EagerTensor(_out_of_line(value), ctx.device_name, wanted)

    constant_op.convert_to_eager_tensor = convert_and_copy


def _out_of_line(array):
    """A copy of an array that lies beside every multiple of 64 bytes."""
    room = np.empty(array.nbytes + 2 * ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % ALIGNMENT + max(16, array.itemsize)
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
