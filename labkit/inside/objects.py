"""Inside a trial: what objects of Keras and TensorFlow tell of layers, variables and data sets."""

import ctypes
import gc
import math

import keras
import tensorflow as tf

from ..record.opnames import REPLICA

Optimizer, Metric = keras.optimizers.Optimizer, keras.metrics.Metric
KINDS = (Optimizer, Metric, keras.Variable, tf.Variable, keras.Model, tf.data.Dataset, tf.Graph)
NO_NUMBERS = (tf.string, tf.variant, tf.resource)  # to_dlpack() ends the process at one of these
GRADIENTS_OF_3D = ("Conv3DBackpropFilterV2", "Conv3DBackpropInputV2")


class Scopes:
    """Records which layer each name scope of a graph belongs to, as Keras opens it.

    TensorFlow makes scope names unique, so an op of the layer `conv2d` may be called
    "sequential_1/conv2d_1/Conv2D" although the model has another layer called `conv2d_1`: guessing from names
    finds the wrong layer.

    layers      {full name of a scope: the layer's name as model.summary() prints it}
    failed_in   name of the layer in which eager code failed, or None
    building    whether that layer was still to be built: it was creating its weights
    """

    def __init__(self):
        self.layers = {}
        self.failed_in, self.building = None, False
        self._open = []

    def install(self):
        """Record from now on, for the rest of this process."""
        scope_class = type(keras.Layer(name="probe")._open_name_scope())
        enter, leave, scopes = scope_class.__enter__, scope_class.__exit__, self

        def entered(scope):
            result = enter(scope)
            scopes._entered(scope.caller)
            return result

        def left(scope, *failure):
            scopes._left(failed=bool(failure and failure[0]))
            return leave(scope, *failure)

        scope_class.__enter__, scope_class.__exit__ = entered, left

    def _entered(self, caller):
        self._open.append(caller)
        if not tf.executing_eagerly():
            layer = self._outermost_layer()
            if layer:
                scope = tf.compat.v1.get_default_graph().get_name_scope()
                self.layers.setdefault(scope, layer.name)

    def _left(self, failed):
        if failed and self.failed_in is None and tf.executing_eagerly():
            layer = self._outermost_layer()
            self.failed_in, self.building = (layer.name, not layer.built) if layer else (None, False)
        if self._open:
            self._open.pop()

    def _outermost_layer(self):
        """The outermost open layer that is not a model itself: the one that model.summary() lists."""
        for caller in self._open:
            if isinstance(caller, keras.Layer) and not isinstance(caller, keras.Model):
                return caller
        return None


class Objects:
    """Those of TensorFlow and Keras that exist now, each found by its type.

    isinstance() would also ask an object what it is, and one that stands for another may fail at that: a
    weakref.proxy() of what is gone does.
    """

    def __init__(self):
        objects = gc.get_objects()
        types = {each for each in set(map(type, objects)) if issubclass(each, KINDS)}
        self._all = [each for each in objects if type(each) in types]
        self.datasets = self._of(tf.data.Dataset)

    def _of(self, kind):
        return [each for each in self._all if issubclass(type(each), kind)]

    def optimizer_names(self):
        """Names of all optimizers, with which the names of their ops begin."""
        return {optimizer.name for optimizer in self._of(Optimizer)}

    def layers_of_models(self):
        """[path, class, output shape] of each layer of each outermost model, in order.

        The path is the names of the models around it and its own; the shape has None for the batch.
        """
        models = [model for model in self._of(keras.Model) if model.built]
        inner = {id(layer) for model in models for layer in model._flatten_layers(include_self=False)}
        inner |= {id(getattr(model, "_functional", None)) for model in models}  # what a Sequential has
        return [row for model in models if id(model) not in inner for row in _layers_of(model, ())]

    def widest_sum_bytes(self):
        """Bytes per sample of the widest sum of three or more tensors: the gradient of one used so often."""
        outputs = [op.outputs[0] for op in self._ops("AddN") if len(op.inputs) > 2]
        return max((_bytes_per_sample(tensor) for tensor in outputs if tensor.shape.rank), default=0)

    def scratch_of_3d_gradients(self):
        """[name, bytes of scratch, bytes of its tensors per sample, and of its filter] of each gradient of a
        3-D convolution on the CPU.

        It takes the scratch memory, whose size follows from the processor's third cache, only where its
        tensors together have more than a 26th of that (Conv3DCustomBackpropFilterOp in
        tensorflow/core/kernels/conv_grad_ops_3d.cc).
        """
        cache, found = _third_cache(), []
        for op in self._ops(*GRADIENTS_OF_3D) if cache else ():
            try:
                found.append([op.name, *_scratch(op, cache)])
            except (TypeError, ValueError):  # a shape is unknown
                continue
        return found

    def _ops(self, *types):
        return [op for graph in self._of(tf.Graph) for op in graph.get_operations() if op.type in types]

    def variables(self):
        """(address, category, path, shape, dtype) of each variable, Keras's or not."""
        rows, seen = [], set()
        kinds = {id(v): "optimizer" for o in self._of(Optimizer) for v in o.variables}
        kinds |= {id(v): "other" for m in self._of(Metric) for v in m.variables}
        for variable in filter(_is_made, self._of(keras.Variable)):
            kind = kinds.get(id(variable), "weights")
            if variable.name.endswith("gradient_accumulator"):
                kind = "gradients"
            seen.add(id(variable.value))
            rows.append((address(variable.value), kind, variable.path, *form(variable)))
        kinds = {path: kind for _, kind, path, *_ in rows}
        for variable in (v for v in self._of(tf.Variable) if id(v) not in seen and _is_made(v)):
            path = variable.name.partition(":")[0]
            kind = kinds.get(REPLICA.sub("", path), "weights")  # a MirroredVariable has one in each replica
            rows.append((address(variable), kind, path, *form(variable)))
        return [row for row in rows if row[0]]

    def fills_a_cache(self):
        """Whether a data set keeps in memory, by cache(), what it has made."""
        caches = [dataset for dataset in self.datasets if "Cache" in type(dataset).__name__]
        return any(not tf.get_static_value(getattr(cache, "_filename", None)) for cache in caches)

    def elements_of_datasets(self):
        """(what it is, TensorSpec) of each component of the elements of data sets."""
        sizes = [tf.get_static_value(getattr(dataset, "_buffer_size", None)) for dataset in self.datasets
                 if "Prefetch" in type(dataset).__name__]  # fmt: skip
        ahead = max((int(size) for size in sizes if size is not None), default=0)
        batch = "a batch from tf.data" + (
            f" (prefetch, {ahead} batch{'es' * (ahead > 1)})" if ahead > 0 else ""
        )
        for dataset in self.datasets:
            for spec in tf.nest.flatten(dataset.element_spec):
                if isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None:
                    batched = "Batch" in type(dataset).__name__ or spec.shape.as_list()[:1] == [None]
                    yield (batch if batched else "an element of tf.data"), spec


def _is_made(variable):
    """Whether a variable has a name and a value: one whose memory was refused may have neither."""
    if isinstance(variable, keras.Variable):
        return getattr(variable, "_value", None) is not None
    try:
        return bool(variable.name)
    except AttributeError:
        return False


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


def _bytes_per_sample(tensor):
    return tensor.dtype.size * (tensor.shape[1:].num_elements() or 0)


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


def form(tensor):
    """(shape, dtype) of a tensor or variable, as a Record has them."""
    return f"[{','.join(map(str, tensor.shape))}]", tf.as_dtype(tensor.dtype).name


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p)]  # the other fields are not needed


def address(variable):
    """The address of a variable's values, on whatever device; None if it cannot be determined."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    try:
        tensor = tf.convert_to_tensor(variable)
        if tensor.dtype in NO_NUMBERS:
            return None
        capsule = tf.experimental.dlpack.to_dlpack(tensor)
        return _DLTensor.from_address(pointer(capsule, b"dltensor")).data
    except Exception:  # a variable without a value
        return None


def owner(path, layers):
    """The layer of a variable, by its path; in paths of optimizer slots it stands between underscores."""
    parts = REPLICA.sub("", path).split("/")
    for part in parts:
        if part in layers:
            return part
    tail = f"_{parts[-1]}_"
    return max((name for name in layers if f"_{name}_" in tail), key=len, default=None)
