"""What a fix is: what it changes in the trial, where it cannot be applied, and its line of code.

A Fix is pickled into its trial: begin(), compile(), fit(), evaluate() and predict() run there, with Keras.
why_not(), of() and write() run in the kernel, on a Program, which is what the code as it is was seen to do.
"""

OWN_LOOP = "`train` has a loop of its own, without {}."


class Fix:
    """One fix.

    name       of its row
    group      of fixes that exclude each other
    lesson     the number of the lesson that explains it
    divides    into how many smaller batches it divides one
    tolerance  by which the loss after the same samples may differ, as a fraction, and count as the same; None
               where it is another training, whose loss cannot be the same
    """

    name = group = lesson = ""
    divides, tolerance = 1, 0.001

    def begin(self):
        """Before `train` is called."""

    def compile(self, model, given):
        """The arguments of model.compile, from those that `train` gave; as for fit, evaluate and predict."""
        return given

    fit = evaluate = predict = compile

    def why_not(self, program):
        """A sentence on why it cannot be applied to the program; "" if it can."""
        return ""

    def of(self, trainings):
        """The fix with what it needs to know of the trainings that it can be applied to, Programs."""
        return self

    def failed(self, program):
        """Of the program that was seen with the fix: why it changed nothing; "" if it did."""
        return ""

    def write(self, code, program):
        """Write what to change in the reader's program to a labkit.fixes.kinds.rewrite.Code."""
        raise NotImplementedError


def no_compile(program):
    """Why nothing can be changed in compile."""
    outside = "The model is compiled outside `train`: compile it inside."
    return outside if program.fit else OWN_LOOP.format("compile")


def keeps_its_optimizers(compiled):
    """Whether these are facts of a compile that gives Keras neither optimizer nor loss, as a GAN's does."""
    given = compiled.get("given")
    return given is not None and not {"optimizer", "loss"} & set(given)
