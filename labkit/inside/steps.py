"""Inside a trial: the duration of each training step, measured without changing the reader's code."""

import functools
import statistics
import threading
import time

import keras
import tensorflow as tf


class StepClock:
    """Times training steps by wrapping what every way of training in Keras calls.

    A step is one outermost call of a `tf.function` that updates weights through a Keras optimizer: that
    covers `fit`, `train_on_batch` and hand-written loops. With `run_eagerly=True`, or in a loop that applies
    gradients eagerly, it lasts from one update to the next. A `tf.function` that loops over steps inside its
    graph, or that updates weights without an optimizer, has no steps that can be timed.

    seconds     duration of each step
    batch_size  of the last `fit` or `train_on_batch` on arrays, None if unknown
    validates   whether `fit` was given validation data
    """

    def __init__(self, after_step, recorder):
        """after_step: called after each step; recorder: a Recorder to notify of calls, or None."""
        self._after_step, self._recorder = after_step, recorder
        self.seconds = []
        self.batch_size = None
        self.validates = False
        self._last_end = None
        self._intervals = []
        self._training = set()
        self._outermost = None
        self._fitting = None
        self._eager_optimizers = set()
        self._thread = threading.get_ident()

    def install(self):
        """Wrap Keras and TensorFlow for the rest of this process; call it in the thread that trains."""
        function_class = type(tf.function(lambda: None))
        optimizer_class = next(c for c in keras.optimizers.Optimizer.__mro__ if "apply" in vars(c))
        _wrap(function_class, "__call__", self._around_function)
        _wrap(optimizer_class, "apply", self._around_apply)
        _wrap(keras.Model, "fit", self._around_fit)
        _wrap(keras.Model, "train_on_batch", self._around_train_on_batch)
        for name in ("evaluate", "predict"):
            _wrap(keras.Model, name, functools.partial(self._giving, name))

    def samples_per_second(self, batch_size=None):
        """Batch size over the median time between ends of steps, which includes input; None if unknown."""
        batch_size = self.batch_size or batch_size
        if not batch_size or not self._intervals[1:]:
            return None
        return batch_size / statistics.median(self._intervals[1:])  # the first includes start-up

    def _around_function(self, call, function, *args, **kwargs):
        if self._outermost is not None or threading.get_ident() != self._thread:
            return call(function, *args, **kwargs)
        self._outermost = function
        if self._recorder:
            self._recorder.before_call()
        updates = self._updates_so_far()
        start = time.perf_counter()
        try:
            result = call(function, *args, **kwargs)
        finally:
            self._outermost = None
        if id(function) in self._training:
            self._record(start, self._updates_so_far() - updates if self._fitting else 1)
        return result

    def _updates_so_far(self):
        """Updates of a model in `fit` that runs several steps per call: only its optimizer counts them."""
        return int(self._fitting.optimizer.iterations) if self._fitting else 0

    def _around_apply(self, call, optimizer, *args, **kwargs):
        result = call(optimizer, *args, **kwargs)
        if not tf.executing_eagerly():
            if self._outermost is not None and (self._fitting or not _inside_a_graph_loop()):
                self._training.add(id(self._outermost))
        elif self._outermost is None:
            self._eager_optimizers.add(id(optimizer))
            if len(self._eager_optimizers) > 1:
                self._last_end = None  # it is unknown whose step this is
            elif self._last_end is None:
                self._last_end = time.perf_counter()
            else:
                self._record(self._last_end, 1)
        return result

    def _around_fit(self, call, model, x=None, y=None, batch_size=None, *args, **kwargs):
        self._fitting = model if model.steps_per_execution > 1 else None
        if hasattr(x, "shape") and len(x.shape):
            self.batch_size = min(batch_size or 32, len(x))
        validation = kwargs.get("validation_data"), kwargs.get("validation_split")
        self.validates |= validation[0] is not None or bool(validation[1])
        try:
            return self._giving("fit", call, model, x, y, batch_size, *args, **kwargs)
        finally:
            self._fitting = None

    def _giving(self, name, call, *args, **kwargs):
        """Tell the recorder which call of Keras the arrays are for that become tensors in it."""
        if self._recorder is None:
            return call(*args, **kwargs)
        before = self._recorder.given_to
        self._recorder.given_to = before or name
        try:
            return call(*args, **kwargs)
        finally:
            self._recorder.given_to = before

    def _around_train_on_batch(self, call, model, x, *args, **kwargs):
        self.batch_size = len(x) if hasattr(x, "shape") and len(x.shape) else None
        return self._giving("train_on_batch", call, model, x, *args, **kwargs)

    def _record(self, start, steps):
        end = time.perf_counter()
        if steps:
            self.seconds += [(end - start) / steps] * steps
            self._intervals.append((end - (self._last_end or start)) / steps)
        self._after_step()
        self._last_end = time.perf_counter()


def _inside_a_graph_loop():
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        name = getattr(graph, "name", "")
        if "while" in name or "Dataset" in name:
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _wrap(owner, name, around):
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)
