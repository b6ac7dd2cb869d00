"""A `train` function that runs under a given Keras dtype policy."""

import functools


class WithPrecision:
    """Calls `train` after setting a dtype policy such as "mixed_float16".

    The policy is set for the whole process and never reset: use it in trials only.
    """

    def __init__(self, train, policy):
        self._train, self._policy = train, policy
        functools.update_wrapper(self, train)

    def __call__(self, **params):
        import keras

        keras.config.set_dtype_policy(self._policy)
        return self._train(**params)
