"""A `train` with Keras's dtype policy set before it builds its model."""

import functools


class WithPrecision:
    """Calls `train` under a dtype policy, "mixed_float16" for instance; for trials, each its own process."""

    def __init__(self, train, policy):
        self._train, self._policy = train, policy
        functools.update_wrapper(self, train)

    def __call__(self, **params):
        import keras

        keras.config.set_dtype_policy(self._policy)
        return self._train(**params)
