"""What the warm process imports: TensorFlow and Keras, less what Keras brings along and few trainings need.

Two parts of Keras import scikit-learn and Matplotlib where these are installed, which takes half of the time
of the whole. A trial that uses such a part gets it then.
"""

import contextlib
import gc
import importlib.machinery
import sys

PARTS = ("wrappers", "visualization")


class Later:
    """A finder of modules, which are empty until an attribute of theirs is asked for."""

    def __init__(self, loader):
        self._loader = loader

    @classmethod
    def find_spec(cls, name, path, target=None):
        if not name.startswith("keras.") or name.rpartition(".")[2] not in PARTS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = cls(spec.loader)
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        def load(name):
            del module.__getattr__
            self._loader.exec_module(module)
            return getattr(module, name)

        module.__getattr__ = load


def import_tensorflow():
    """Import TensorFlow, Keras, and what watches a trial, in a way that a fork shares most of the memory."""
    sys.meta_path.insert(0, Later)
    gc.disable()  # hardly anything of all this is garbage, and to look for it again and again takes a while
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    from ..inside import child, copies, objects, recorder, steps  # noqa: F401

    gc.collect()
    gc.freeze()  # otherwise each child's first collection copies all of these pages
    gc.enable()


def import_for(code):
    """Import scikit-learn here, once for all trials, if the pickled code of one names it."""
    if b"sklearn" in code:
        with contextlib.suppress(Exception):  # the trial that needs it will say so
            import sklearn.datasets  # noqa: F401
