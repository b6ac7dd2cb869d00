"""%%trial in a real kernel."""

import psutil
import pytest
from conftest import twice
from jupyter_client.manager import start_new_kernel


@pytest.fixture(scope="module")
def kernel():
    manager, client = twice(start_new_kernel)(kernel_name="python3")
    cell = Cell(manager, client)
    cell.run("%load_ext labkit")
    yield cell
    launched = psutil.Process(manager.provisioner.process.pid).children(recursive=True)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    _, left = psutil.wait_procs(launched, timeout=60)
    assert not left


class Cell:
    """Runs cells and collects what they show: streams as text, displays by MIME type."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def run(self, source, interrupt_at=None):
        """Run a cell; interrupt it once it has printed and shown that text."""
        streams, shown, seen = {"stdout": "", "stderr": ""}, [], []

        def hook(message):
            nonlocal interrupt_at
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                streams[content["name"]] += content["text"]
            elif kind in ("execute_result", "display_data", "update_display_data"):
                shown.append(content["data"])
                seen.append(content["data"].get("text/html", ""))
            elif kind == "error":
                streams["stderr"] += "\n".join(content["traceback"])
            if interrupt_at and streams["stdout"] and any(interrupt_at in html for html in seen):
                interrupt_at = None
                self.manager.interrupt_kernel()

        reply = self.client.execute_interactive(source, timeout=180, output_hook=hook)
        self.text, self.errors, self.shown, self.seen = streams["stdout"], streams["stderr"], shown, seen
        self.count = reply["content"]["execution_count"]
        return self


def test_a_cell_runs_as_a_trial_and_leaves_its_outcome(kernel):
    cell = kernel.run("%%trial --memory-limit 64MiB n=3 name=relu\nprint(name * n)\nn + 1")
    assert cell.text == "relurelurelu\n4\n"
    assert "peak" in cell.shown[-1]["text/plain"] and "<b>" in cell.shown[-1]["text/html"]
    assert kernel.run("print(_trial.status, _trial.result, _trial.limit_bytes)").text == "ok 4 67108864\n"


def test_a_traceback_has_the_readers_own_line_numbers(kernel):
    cell = kernel.run("%%trial\nx = 1\n\nx / 0")
    assert f"Cell In[{cell.count}], line 4" in cell.shown[-1]["text/plain"]
    kernel.run("import labkit\ndef train():\n    return 1 / 0")
    defined = kernel.count
    assert (
        f"Cell In[{defined}], line 3, in train()" in kernel.run("labkit.run(train)").shown[-1]["text/plain"]
    )


def test_a_cell_defined_twice_is_named_by_its_last_run(kernel):
    for _ in range(2):
        kernel.run("def again():\n    return 1 / 0")
    defined = kernel.count
    assert f"Cell In[{defined}], line 2" in kernel.run("labkit.run(again)").shown[-1]["text/plain"]


def test_the_source_of_a_cell_reaches_the_trial(kernel):
    """AutoGraph needs it: without, `while` over a tensor is an error inside a tf.function."""
    kernel.run(
        "def halvings(n=1024):\n    import tensorflow as tf\n\n    @tf.function\n    def count(x):\n"
        "        steps = tf.constant(0)\n        while x > 1:\n            x, steps = x / 2, steps + 1\n"
        "        return steps\n\n    return int(count(tf.constant(float(n))))"
    )
    assert kernel.run("import labkit; print(labkit.run(halvings).result)").text == "10\n"


def test_variables_are_sent_only_when_asked(kernel):
    kernel.run("data = [1, 2]; other = 5")
    assert kernel.run("%%trial --use data,other\nprint(sum(data) + other)").text == "8\n"
    assert "NameError" in kernel.run("%%trial\nprint(data)").shown[-1]["text/plain"]
    assert "no variable 'nothing'" in kernel.run("%%trial --use nothing\n1").errors


def test_help_and_mistakes_in_the_line(kernel):
    assert "--memory-limit SIZE" in kernel.run("%%trial --help\n1").text
    assert "Forms that work" in kernel.run("%%trial --memory-limit lots\n1").errors
    assert "unrecognized arguments: --limit" in kernel.run("%%trial --limit 3\n1").errors
    assert "No closing quotation" in kernel.run("%%trial --memory-limit '256 MiB\n1").errors
    assert "not name=value" in kernel.run("%%trial 3=x\n1").errors
    assert kernel.run("%%trial a=1 --timeout 100 b=2\na + b").text == "3\n"


@pytest.mark.parametrize("line", ["!nvidia-smi", "    %time x = 1", "x?", "?x"])
def test_a_line_for_the_notebook_alone_is_told_from_python(kernel, line):
    cell = kernel.run(f"%%trial\nif True:\n    x = 1\n{line}")
    assert line.strip() in cell.errors and "a trial runs plain Python" in cell.errors
    cell = kernel.run(f"%%trial\ntext = '''\n{line}\n'''\nlen(text) > 3")
    assert cell.text == "True\n"


def test_an_interrupt_of_the_kernel_stops_the_trial(kernel):
    source = "%%trial --timeout 600\nimport time\nprint('up')\ntime.sleep(600)"
    cell = kernel.run(source, interrupt_at="running for")
    assert cell.text == "up\n" and "stopped" in cell.shown[-1]["text/plain"]
    assert kernel.run("print(1 + 1)").text == "2\n"


def test_the_kernel_itself_never_imports_tensorflow(kernel):
    kernel.run("outcome = labkit.run('import keras; keras.ops.zeros(3)')")
    assert kernel.run("import sys; print(outcome.ok, 'tensorflow' in sys.modules)").text == "True False\n"
