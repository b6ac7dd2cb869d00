"""Inside a trial: which name scope of a graph is which layer.

TensorFlow makes scope names unique, so an op of the layer `conv2d` may be called
"sequential_1/conv2d_1/Conv2D" though the model has another layer of the name `conv2d_1`. Guessing from
names gets the wrong layer; this records, as Keras opens each scope, whose it is.
"""

import keras
import tensorflow as tf


class Scopes:
    """`layers`: the scope's full name -> the layer's name as model.summary() prints it."""

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
        """Of the layers open now, the one that the summary of the model lists: models apart."""
        for caller in self._open:
            if isinstance(caller, keras.Layer) and not isinstance(caller, keras.Model):
                return caller
        return None
