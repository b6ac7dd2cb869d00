"""MemoryMeter: the device's peak memory in the logs of your own `fit`."""

import keras
import tensorflow as tf

from .errors import LabkitError


class MemoryMeter(keras.callbacks.Callback):
    """Keras callback that adds `memory_peak` to the logs of each epoch.

    `memory_peak` is in bytes: the most that the device's allocator had handed out at once since the
    start of the epoch, or since `tf.config.experimental.reset_memory_stats` if that was called later.

    Works on a GPU, and in trials. Elsewhere on a CPU the allocator keeps no statistics: training then
    raises LabkitError at its start, which says what to set.

    >>> model.fit(x, y, callbacks=[labkit.MemoryMeter()]).history["memory_peak"]
    """

    def __init__(self):
        super().__init__()
        self._device = None

    def on_train_begin(self, logs=None):
        self._device = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
        try:
            self._peak()
        except ValueError as e:
            raise LabkitError(
                "TensorFlow's CPU allocator keeps no memory statistics here. Run the code with "
                "labkit.run(), or set TF_CPU_ALLOCATOR_USE_BFC=true in the environment before TensorFlow "
                "starts."
            ) from e

    def on_epoch_begin(self, epoch, logs=None):
        tf.config.experimental.reset_memory_stats(self._device)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["memory_peak"] = self._peak()

    def _peak(self):
        return tf.config.experimental.get_memory_info(self._device)["peak"]
