"""%%trial: a cell that runs as a trial."""

import argparse
import ast
import shlex
import sys

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class

from ..errors import LabkitError
from ..process.traceback_frames import cell_name
from ..trials.trial import Trial
from .predict_memory import parameter


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"%%trial: {message}\n{self.format_usage()}")

    def exit(self, status=0, message=None):
        raise _HelpShown


class _HelpShown(Exception):
    pass


def _parser():
    parser = _Parser(
        prog="%%trial",
        description="Run this cell in its own process under a memory limit. Variables of this notebook "
        "exist there only if sent with --use. The outcome is shown and kept as _trial.",
    )
    parser.add_argument(
        "--memory-limit", metavar="SIZE", help='such as 256MiB or "1.5 GB"; default: no limit'
    )
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="default 120")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--profile", action="store_true", help="record every allocation: _trial.timeline")
    parser.add_argument("--use", default="", metavar="X,Y", help="variables of this notebook to send")
    parser.add_argument("parameters", nargs="*", metavar="name=value", help="variables for the cell")
    return parser


@magics_class
class TrialMagics(Magics):
    @cell_magic
    def trial(self, line, cell):
        """Run this cell in its own process under a memory limit. `%%trial --help` lists the options."""
        try:
            options = _parser().parse_intermixed_args(shlex.split(line))
        except ValueError as e:  # a quotation without end
            raise UsageError(f"%%trial: {line.strip()}: {e}") from None
        except _HelpShown:
            return None
        _check_python(cell)
        outcome = Trial(
            "\n" + cell,  # the line of the magic counts, so that line numbers are those of the cell
            memory_limit=options.memory_limit,
            timeout=options.timeout,
            profile=options.profile,
            seed=options.seed,
            params={**self._variables(options.use), **dict(map(_parameter, options.parameters))},
            filename=self._cell_name(),
            echo=True,
        ).run()
        self.shell.user_ns["_trial"] = outcome
        return outcome

    def _cell_name(self):
        """The running cell's name, "Cell In[3]", from the stack: IPython's own counter can be ahead."""
        frame = sys._getframe()
        while frame is not None:
            name = cell_name(frame.f_code.co_filename)
            if name:
                return name
            frame = frame.f_back
        return "<cell>"

    def _variables(self, names):
        names = [name.strip() for name in names.split(",") if name.strip()]
        for name in names:
            if name not in self.shell.user_ns:
                raise LabkitError(
                    f"--use {name}: this notebook has no variable {name!r}. Run the cell that defines it."
                )
        return {name: self.shell.user_ns[name] for name in names}


def _check_python(cell):
    """Raise UsageError where a cell is no Python for a line that only a notebook understands."""
    try:
        ast.parse(cell)
    except SyntaxError as e:
        line = (e.text or "").strip()
        if line.startswith(("!", "%", "?")) or line.endswith("?"):
            raise UsageError(
                f"%%trial: {line}: a trial runs plain Python. Put what begins with ! or % into a cell of its "
                "own, or use subprocess.run()."
            ) from None
    except (ValueError, MemoryError, RecursionError):  # the trial itself says what is wrong
        pass


def _parameter(text):
    try:
        return parameter(text)
    except LabkitError as e:
        raise UsageError(f"%%trial: {e}") from None
