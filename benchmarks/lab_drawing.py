"""The time of a sweep in a BatchSizeLab versus the same sweep without one, in one notebook kernel.

The kernel has no page: the time it takes to send to the page counts, what the page does with it does not.
"""

import ast
import statistics

from jupyter_client.manager import start_new_kernel
from report import Report

ROUNDS = 5
CODE = """
import time
import labkit
from labkit.widgets import BatchSizeLab

def train(batch_size, steps=12):
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Conv2D(32, 3), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    for _ in range(steps):
        model.train_on_batch(np.zeros((batch_size, 64, 64, 3), "float32"), np.zeros(batch_size))

def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

def plain():
    labkit.sweep(train, values=[8, 16, 32, 64, 128])

lab = BatchSizeLab(train, smallest=8, largest=128).set(estimate=False)
display(lab)
drawn, draw = [], lab._draw
lab._draw = lambda: drawn.append(seconds(draw))
plain()
rounds = []
for _ in range(%d):
    drawn.clear()
    alone, shown = seconds(plain), seconds(lab.run)
    rounds.append((alone, shown, sum(drawn), len(drawn)))
    lab.clear()
print(rounds)
"""


def main():
    report = Report("lab_drawing")
    manager, client = start_new_kernel()
    try:
        said = []
        answer = client.execute_interactive(
            CODE % ROUNDS, timeout=600, output_hook=lambda message: said.append(message["content"])
        )
        assert answer["content"]["status"] == "ok", answer["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(content["text"] for content in said if content.get("name") == "stdout")
    rounds = ast.literal_eval(text.strip().splitlines()[-1])
    for number, (alone, shown, drawing, times) in enumerate(rounds, 1):
        share = 100 * drawing / shown
        report(f"round {number}: sweep {alone:.2f} s, in a lab {shown:.2f} s, of which {drawing:.3f} s "
               f"({share:.1f} %) in {times} redraws")  # fmt: skip
    ratio = statistics.median(shown / alone for alone, shown, *_ in rounds)
    share = statistics.median(drawing / shown for _, shown, drawing, _ in rounds)
    report(f"median: {ratio:.2f} times the sweep alone; drawing {100 * share:.1f} % (target: under 10 %)")
    report.save()


if __name__ == "__main__":
    main()
