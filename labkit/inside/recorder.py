"""Inside a trial: record every allocation of the device's allocator.

TensorFlow's profiler writes an event for each allocation and deallocation, with its address, size, op and
shape. What it lacks is added here: which buffers are variables (by their addresses, looked up at the start
and end of the first steps), which layer each scope belongs to, and where steps begin and end.
"""

import ctypes
import gc
import glob
import math
import os
import shutil
import weakref
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import constant_op

from ..errors import LabkitError
from ..record.opnames import REPLICA
from ..record.profile import MARK, read
from ..record.record import Input, Variable

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
                giver = self._givers[_form(tensor)] = self.given_to
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
            if isinstance(tensor, tf.Tensor) and hasattr(tensor, "numpy") and _address(tensor):
                name = f"the array given to {self._givers.get(_form(tensor)) or 'tf.data'}"
                yield (_address(tensor), "inputs", name, *_form(tensor))

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
        self._optimizers |= optimizer_names()
        datasets = [o for o in gc.get_objects() if isinstance(o, tf.data.Dataset)]
        self._snapshots.append([*_variables(), *self._arrays_of(datasets)])
        for name, spec in _elements_of(datasets):
            self._note("tf_data", name, spec)
        _mark("snapshot")

    def stop(self):
        """Stop; returns the Record, completed with what the profile lacks."""
        try:
            if self.running:
                self.snapshot()
                self._finish()
            written = glob.glob(f"{self._folder}/**/*.xplane.pb", recursive=True)
            record = read(max(written, key=os.path.getmtime))
        finally:
            if not self._keeps_files:
                shutil.rmtree(self._folder, ignore_errors=True)
        layers = set(self._scopes.layers.values())
        snapshots = [
            [
                Variable(address, kind, path, None if kind == "inputs" else _owner(path, layers), *form)
                for address, kind, path, *form in snapshot
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
        self._facts = {
            "layers": layers_of_models(),
            "optimizers": sorted(self._optimizers | optimizer_names()),
            "widest_sum_bytes": widest_sum_bytes(),
            "scratch": scratch_of_3d_gradients(),
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


def optimizer_names():
    """Names of all existing optimizers, with which the names of their ops begin."""
    return {o.name for o in gc.get_objects() if isinstance(o, keras.optimizers.Optimizer)}


def layers_of_models():
    """[path, class, output shape] of each layer of each outermost model, in order.

    The path is the names of the models around it and its own; the shape has None for the batch.
    """
    models = [o for o in gc.get_objects() if isinstance(o, keras.Model) and o.built]
    inner = {id(layer) for model in models for layer in model._flatten_layers(include_self=False)}
    inner |= {id(getattr(model, "_functional", None)) for model in models}  # what a Sequential consists of
    return [row for model in models if id(model) not in inner for row in _layers_of(model, ())]


def _layers_of(model, path):
    for layer in model.layers:
        own = (*path, layer.name)
        yield [own, type(layer).__name__, _shape_of_output(layer)]
        if isinstance(layer, keras.Model):
            yield from _layers_of(layer, own)


def _shape_of_output(layer):
    try:
        return [list(shape.shape) for shape in tf.nest.flatten(layer.output)][0]
    except Exception:  # it was never called on symbolic tensors, as in a subclassed model
        return None


def widest_sum_bytes():
    """Bytes per sample of the widest sum of three or more tensors: the gradient of a tensor used so often."""
    graphs = [o for o in gc.get_objects() if isinstance(o, tf.Graph)]
    sums = [op for graph in graphs for op in graph.get_operations() if op.type == "AddN"]
    outputs = [op.outputs[0] for op in sums if len(op.inputs) > 2 and op.outputs[0].shape.rank]
    return max((t.dtype.size * (t.shape[1:].num_elements() or 0) for t in outputs), default=0)


def scratch_of_3d_gradients():
    """[name, bytes of scratch, bytes of its tensors per sample, and of its filter] of each gradient of a 3-D
    convolution on the CPU.

    It takes the scratch memory, whose size follows from the processor's third cache, only where its tensors
    together have more than a 26th of that (Conv3DCustomBackpropFilterOp in
    tensorflow/core/kernels/conv_grad_ops_3d.cc).
    """
    cache = _third_cache()
    graphs = [o for o in gc.get_objects() if isinstance(o, tf.Graph)] if cache else []
    types = ("Conv3DBackpropFilterV2", "Conv3DBackpropInputV2")
    gradients = [op for graph in graphs for op in graph.get_operations() if op.type in types]
    found = []
    for op in gradients:
        try:
            found.append([op.name, *_scratch(op, cache)])
        except (TypeError, ValueError):  # a shape is unknown
            continue
    return found


def _scratch(op, cache):
    of_filter = op.type == "Conv3DBackpropFilterV2"
    filters, inputs = (op.outputs[0], op.inputs[0]) if of_filter else (op.inputs[1], op.outputs[0])
    gradient, dtype = op.inputs[2].shape, op.outputs[0].dtype.size
    *kernel, depth, out_depth = filters.shape.as_list()
    weights, places = math.prod(kernel) * depth, math.prod(gradient[1:-1].as_list())
    unit = places * weights + (places + weights) * out_depth
    patches = -(-(cache // dtype) // unit) * places * weights
    per_sample = math.prod(inputs.shape[1:].as_list()) + math.prod(gradient[1:].as_list())
    return patches * dtype, per_sample * dtype, weights * out_depth * dtype


def _third_cache():
    """Bytes of the processor's third cache, 0 if unknown."""
    try:
        with open("/sys/devices/system/cpu/cpu0/cache/index3/size") as file:
            return int(file.read().strip().removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 0


def _variables():
    """(address, category, path, shape, dtype) of each variable that exists now, Keras's or not."""
    rows, seen = [], set()
    objects = gc.get_objects()
    optimizers = [o for o in objects if isinstance(o, keras.optimizers.Optimizer)]
    metrics = [o for o in objects if isinstance(o, keras.metrics.Metric)]
    kinds = {id(v): "optimizer" for o in optimizers for v in o.variables}
    kinds |= {id(v): "other" for m in metrics for v in m.variables}
    for variable in (o for o in objects if isinstance(o, keras.Variable)):
        if variable._value is not None:
            kind = kinds.get(id(variable), "weights")
            if variable.name.endswith("gradient_accumulator"):
                kind = "gradients"
            seen.add(id(variable.value))
            rows.append((_address(variable.value), kind, variable.path, *_form(variable)))
    kinds = {path: kind for _, kind, path, *_ in rows}
    for variable in (o for o in objects if isinstance(o, tf.Variable) and id(o) not in seen):
        path = variable.name.partition(":")[0]
        kind = kinds.get(REPLICA.sub("", path), "weights")  # a MirroredVariable has one in each replica
        rows.append((_address(variable), kind, path, *_form(variable)))
    return [row for row in rows if row[0]]


def _form(tensor):
    """(shape, dtype) of a tensor or variable, as a Record has them."""
    return f"[{','.join(map(str, tensor.shape))}]", tf.as_dtype(tensor.dtype).name


def _elements_of(datasets):
    """(what it is, TensorSpec) of each component of the elements of datasets."""
    sizes = [tf.get_static_value(getattr(dataset, "_buffer_size", None)) for dataset in datasets
             if "Prefetch" in type(dataset).__name__]  # fmt: skip
    ahead = max((int(size) for size in sizes if size is not None), default=0)
    batch = "a batch from tf.data" + (f" (prefetch, {ahead} batch{'es' * (ahead > 1)})" if ahead > 0 else "")
    for dataset in datasets:
        for spec in tf.nest.flatten(dataset.element_spec):
            if isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None:
                batched = "Batch" in type(dataset).__name__ or spec.shape.as_list()[:1] == [None]
                yield (batch if batched else "an element of tf.data"), spec


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p)]  # the other fields are not needed


def _address(variable):
    """The address of a variable's values, on whatever device; None if it cannot be determined."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    try:
        capsule = tf.experimental.dlpack.to_dlpack(tf.convert_to_tensor(variable))
        return _DLTensor.from_address(pointer(capsule, b"dltensor")).data
    except Exception:  # a string, or a variable without a value
        return None


def _owner(path, layers):
    """The layer of a variable, by its path; in paths of optimizer slots it stands between underscores."""
    parts = REPLICA.sub("", path).split("/")
    for part in parts:
        if part in layers:
            return part
    tail = f"_{parts[-1]}_"
    return max((name for name in layers if f"_{name}_" in tail), key=len, default=None)
