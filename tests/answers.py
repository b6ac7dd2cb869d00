"""A reader's answers, as the tests of the exercises give them, and the trials that judge them."""

import functools

import numpy as np

import labkit
from labkit.exercises import ____


def answer(source, name, **there):
    """What a reader's cell leaves behind: functions belong to the notebook, not to a module.

    there   what other cells of the notebook have defined before
    """
    notebook = {"__name__": "__main__", "np": np, "labkit": labkit, "____": ____, **there}
    exec(source, notebook)
    return notebook[name]


def once(run):
    """`run`, but a trial that is exactly an earlier one is not repeated: its outcome is there already.

    Many answers are compared with the same trials. Functions are the same only if they are one object.
    """
    kept = functools.lru_cache(maxsize=None, typed=True)(run)

    def run_once(train, **options):
        try:
            hash((train, *options.values()))
        except TypeError:  # such as a list of files
            return run(train, **options)
        return kept(train, **options)

    return run_once
