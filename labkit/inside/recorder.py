"""Inside a trial: record every allocation of the device's allocator.

TensorFlow's profiler writes an event for each allocation and deallocation, with its address, size, op and
shape. What it lacks is added here: which buffers are variables (by their addresses, looked up at the start
and end of the first steps), which layer each scope belongs to, and where steps begin and end.
"""

import os
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import constant_op

from ..errors import LabkitError
from ..record.profile import MARK, read
from ..record.record import Input, Variable
from .objects import Objects, address, form, owner

SNAPSHOTS = 8
SNAPSHOTS_OF_A_PHASE = 3  # also from the first call of a tf.function on
MOST_SNAPSHOTS = 64
SMALLEST = 64  # bytes of an array that is worth a name


class Recorder:
    """Records from `start` to `stop`, and marks steps and snapshots of the variables."""

    def __init__(self, scopes, profile, folder):
        """profile: True for the whole trial, a number of steps, or a folder to keep TensorFlow's files in."""
        self._scopes = scopes
        self._steps_wanted = None if profile is True or isinstance(profile, str) else profile
        self._keeps_files = isinstance(profile, str)
        self._folder = profile if self._keeps_files else str(folder)
        self._snapshots, self._inputs, self._givers, self._steps = [], set(), {}, 0
        self._snapshots_wanted, self.running, self.given_to = SNAPSHOTS, False, ""
        self._optimizers, self._facts, self._called = set(), {}, weakref.WeakSet()
        self.fills_a_cache = False

    def start(self):
        options = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=2,
            python_tracer_level=0,
            device_tracer_level=int(self._keeps_files),  # a GPU's kernels, for TensorBoard only
        )
        tf.profiler.experimental.start(self._folder, options)
        tf.profiler.experimental.start, self._start = _already_recording, tf.profiler.experimental.start
        constant_op.convert_to_eager_tensor = self._noting(constant_op.convert_to_eager_tensor)
        self.running = True

    def _noting(self, convert):
        """Note the arrays that become tensors. `given_to` says for which call of Keras."""

        def convert_and_note(value, *args, **kwargs):
            tensor = convert(value, *args, **kwargs)
            if self.running and isinstance(value, np.ndarray) and value.nbytes >= SMALLEST:
                giver = self._givers[form(tensor)] = self.given_to
                self._note("python", f"the array given to {giver}" if giver else "an array", tensor)
            return tensor

        return convert_and_note

    def _note(self, source, name, tensor):
        """Note a tensor, or its TensorSpec, as what an allocation without a name may hold."""
        if tensor.shape.rank is not None and tensor.dtype.size:
            shape = tuple(tensor.shape.as_list())
            self._inputs.add((source, name, tensor.dtype.name, shape, tensor.dtype.size))

    def _arrays_of(self, datasets):
        """(address, "inputs", what it is, shape, dtype) of each array that a dataset holds as a whole."""
        for tensor in (tensor for dataset in datasets for tensor in getattr(dataset, "_tensors", ())):
            if isinstance(tensor, tf.Tensor) and hasattr(tensor, "numpy") and (at := address(tensor)):
                name = f"the array given to {self._givers.get(form(tensor)) or 'tf.data'}"
                yield (at, "inputs", name, *form(tensor))

    def before_call(self, function):
        """To be called just before a tf.function that is not inside another."""
        if not self.running:
            return
        if function not in self._called:  # its model is another one, with variables of its own
            self._called.add(function)
            more = min(len(self._snapshots) + SNAPSHOTS_OF_A_PHASE, MOST_SNAPSHOTS)
            self._snapshots_wanted = max(self._snapshots_wanted, more)
        if len(self._snapshots) < self._snapshots_wanted:
            self.snapshot()

    def step(self):
        """To be called just after a training step."""
        if not self.running:
            return
        self._steps += 1
        if len(self._snapshots) < self._snapshots_wanted:
            self.snapshot()
        _mark("step")
        if self._steps == self._steps_wanted:
            self._finish()

    def phase(self, name):
        """To be called when a loop of training, evaluation or prediction begins or ends, or makes a step."""
        if self.running:
            if name != "part":
                self._snapshots_wanted = len(self._snapshots) + SNAPSHOTS_OF_A_PHASE
            _mark(name)

    def snapshot(self):
        """Note the current addresses of all variables, and the names of optimizers."""
        objects = Objects()
        self._optimizers |= objects.optimizer_names()
        self.fills_a_cache |= objects.fills_a_cache()
        self._snapshots.append([*objects.variables(), *self._arrays_of(objects.datasets)])
        for name, spec in objects.elements_of_datasets():
            self._note("tf_data", name, spec)
        _mark("snapshot")

    def stop(self):
        """Stop; returns the Record, completed with what the profile lacks."""
        try:
            if self.running:
                self.snapshot()
                self._finish()
            written = list(Path(self._folder).rglob("*.xplane.pb"))
            if not written:
                raise FileNotFoundError("TensorFlow's profiler has written nothing")
            record = read(max(written, key=os.path.getmtime))
        finally:
            if not self._keeps_files:
                shutil.rmtree(self._folder, ignore_errors=True)
        layers = set(self._scopes.layers.values())
        snapshots = [
            [
                Variable(at, kind, path, None if kind == "inputs" else owner(path, layers), *rest)
                for at, kind, path, *rest in snapshot
            ]
            for snapshot in self._snapshots
        ]
        return replace(
            record,
            snapshots=snapshots,
            inputs=[Input(*row) for row in sorted(self._inputs, key=repr)],
            scopes=self._scopes.layers,
            **self._facts,
            source="",
            starts=[],
            backward_at=[],
            backward_to=[],
            covers="",
            notes=[],
        )

    def _finish(self):
        """End the record, with facts from objects that nothing may reach any more, while they are there."""
        objects = Objects()
        self._facts = {
            "layers": objects.layers_of_models(),
            "optimizers": sorted(self._optimizers | objects.optimizer_names()),
            "widest_sum_bytes": objects.widest_sum_bytes(),
            "scratch": objects.scratch_of_3d_gradients(),
        }
        self.running = False
        tf.profiler.experimental.stop()
        tf.profiler.experimental.start = self._start


def _mark(kind):
    with tf.profiler.experimental.Trace(MARK + kind):
        pass


def _already_recording(*args, **kwargs):
    raise LabkitError(
        "labkit is already profiling this trial, and TensorFlow can record only one profile at a time. "
        "Run the trial without profile=True to record your own."
    )
