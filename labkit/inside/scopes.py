"""Inside a trial: which layer each name scope of a graph belongs to.

TensorFlow makes scope names unique, so an op of the layer `conv2d` may be called
"sequential_1/conv2d_1/Conv2D" although the model has another layer called `conv2d_1`. Guessing from names
finds the wrong layer; so the layer is recorded as Keras opens each scope.
"""

import keras
import tensorflow as tf


class Scopes:
    """Records the layers of name scopes.

    layers      {full name of a scope: the layer's name as model.summary() prints it}
    failed_in   name of the layer in which eager code failed, or None
    """

    def __init__(self):
        self.layers = {}
        self.failed_in = None
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
            self.failed_in = layer.name if layer else None
        if self._open:
            self._open.pop()

    def _outermost_layer(self):
        """The outermost open layer that is not a model itself: the one that model.summary() lists."""
        for caller in self._open:
            if isinstance(caller, keras.Layer) and not isinstance(caller, keras.Model):
                return caller
        return None
