"""Make the corpus's real outputs again: `python tests/corpus/make.py [NAME ...]`, about 15 s each.

Each script runs in a Python of its own on the CPU stand-in (TensorFlow's BFC allocator with a hard limit), as
somebody's job would, without labkit; what it writes, stdout and stderr together, is kept in `real/NAME.txt`.
A later run differs in addresses, times and process ids.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 60_000  # characters of one output: of a longer one, the middle is left out
HERE = Path(__file__).parent
NET = """
import keras, numpy as np
from keras import layers

def fit(stack, shape, batch_size, optimizer="adam", rows=None, outputs=10, **options):
    model = keras.Sequential([keras.Input(shape), *stack, layers.Dense(outputs)])
    model.compile(optimizer, "mse")
    X = np.zeros((batch_size, *shape), options.pop("dtype", "float32"))
    y = np.zeros((batch_size, outputs), "float32")
    model.fit(X, y, batch_size=batch_size, verbose=2, **options)
"""

# name: (limit in MiB, script). "b" in a name: held out, the rules were written without looking at it.
SCRIPTS = {
    "tensor_exceeds_limit_a": (
        100,
        NET
        + "fit([layers.Conv2D(64, 3, padding='same'), layers.GlobalAveragePooling2D()], (64, 64, 3), 256)",
    ),
    "tensor_exceeds_limit_b": (256, "import tensorflow as tf\nx = tf.zeros((100_000, 2000)) + 1"),
    "activations_a": (
        200,
        NET
        + "convs = [layers.Conv2D(32, 3, padding='same', activation='relu') for _ in range(8)]\n"
        + "fit([*convs, layers.GlobalAveragePooling2D()], (64, 64, 3), 64, 'sgd')",
    ),
    "activations_a_eager": (
        100,
        NET
        + "model = keras.Sequential([keras.Input((64, 64, 3))])\n"
        + "for _ in range(6):\n    model.add(layers.Conv2D(32, 3, padding='same', activation='relu'))\n"
        + "model.add(layers.GlobalAveragePooling2D())\n"
        + "model.compile('sgd', 'mse', run_eagerly=True)\n"
        + "model.train_on_batch(np.zeros((48, 64, 64, 3), 'float32'), np.zeros((48, 32)))",
    ),
    "activations_b": (150, NET + "fit([layers.LSTM(128)], (400, 16), 256)"),
    "activations_b_unet": (
        120,
        NET
        + "down = [layers.Conv2D(n, 3, padding='same', strides=s, activation='relu', name=f'down_{i}')\n"
        + "        for i, (n, s) in enumerate([(16, 1), (32, 2), (64, 2), (64, 1), (32, 1)])]\n"
        + "up = [layers.UpSampling2D(2), layers.Conv2D(32, 3, padding='same', name='up_0'),\n"
        + "      layers.UpSampling2D(2), layers.Conv2D(8, 3, padding='same', name='up_1')]\n"
        + "fit([*down, *up, layers.GlobalAveragePooling2D()], (128, 128, 3), 16, 'rmsprop')",
    ),
    "weights_or_optimizer_a_build": (
        230,
        NET + "fit([layers.Dense(4096, name=f'wide_{i}') for i in range(3)], (1024,), 8)",
    ),
    "weights_or_optimizer_a_slots": (
        700,
        NET + "fit([layers.Dense(4096, name=f'wide_{i}') for i in range(6)], (1024,), 8)",
    ),
    "weights_or_optimizer_a_gradients": (
        450,
        NET + "fit([layers.Dense(4096, name=f'wide_{i}') for i in range(6)], (1024,), 8, 'sgd')",
    ),
    "weights_or_optimizer_b": (
        120,
        NET
        + "fit([layers.Flatten(), layers.Dense(2000)], (64, 64, 3), 4, keras.optimizers.SGD(momentum=0.9))",
    ),
    "weights_or_optimizer_b_build": (
        90,
        NET + "fit([layers.Dense(4096), layers.Dense(4096), layers.Dense(4096)], (512,), 2, 'sgd')",
    ),
    "embedding_a": (
        400,
        NET
        + "fit([layers.Embedding(1_000_000, 64), layers.GlobalAveragePooling1D()], (20,), 16, dtype='int32')",
    ),
    "embedding_b": (
        256,
        NET
        + "fit([layers.Embedding(3_000_000, 50, name='words'), layers.Flatten()], (10,), 32, dtype='int32')",
    ),
    "attention_a": (
        400,
        NET
        + "x = keras.Input((2048, 32))\n"
        + "y = layers.MultiHeadAttention(8, 16)(x, x)\n"
        + "model = keras.Model(x, layers.Dense(1)(y))\nmodel.compile('adam', 'mse')\n"
        + "X = np.zeros((4, 2048, 32), 'float32')\nmodel.fit(X, X[..., :1], batch_size=4, verbose=2)",
    ),
    "attention_b": (
        250,
        "import tensorflow as tf\n\n@tf.function\ndef attend(q, k, v):\n"
        + "    scores = tf.matmul(q, k, transpose_b=True, name='attention_scores')\n"
        + "    return tf.matmul(tf.nn.softmax(scores), v)\n\nq = tf.random.normal((2, 4, 3000, 16))\n"
        + "for _ in range(3):\n    q = attend(q, q, q)",
    ),
    "array_copied_to_device_a": (
        300,
        "import numpy as np, tensorflow as tf\ntf.convert_to_tensor(np.zeros((100, 2**20), 'float32'))",
    ),
    "array_copied_to_device_a_fit": (
        200,
        NET
        + "X = np.zeros((60_000, 784), 'float64')\n"
        + "model = keras.Sequential([keras.Input((784,)), layers.Dense(8)])\n"
        + "model.compile('adam', 'mse')\nmodel.fit(X, np.zeros((60_000, 8)), batch_size=32)",
    ),
    "array_copied_to_device_b_slices": (
        200,
        "import numpy as np, tensorflow as tf\nX = np.zeros((5000, 128, 128, 3), 'float32')\n"
        + "data = tf.data.Dataset.from_tensor_slices(X).batch(32)\nfor batch in data:\n    pass",
    ),
    "array_copied_to_device_a_proto": (
        300,
        "import numpy as np, tensorflow as tf\nX = np.zeros((600, 2**20), 'float32')\n"
        + "@tf.function\ndef first():\n    return tf.constant(X)[0]\n\nfirst()",
    ),
    "predict_output_a": (
        200,
        NET
        + "model = keras.Sequential([keras.Input((64, 64, 3)), layers.Conv2D(16, 3, padding='same')])\n"
        + "import tensorflow as tf\n"
        + "data = tf.data.Dataset.from_tensors(np.zeros((16, 64, 64, 3), 'float32')).repeat(100)\n"
        + "model.predict(data, verbose=2)",
    ),
    "predict_output_b": (
        150,
        NET
        + "model = keras.Sequential([keras.Input((100,)), layers.Dense(5000, activation='softmax')])\n"
        + "model.predict(np.zeros((6000, 100), 'float32'), batch_size=64, verbose=2)",
    ),
    "fragmentation_a": (
        64,
        "import tensorflow as tf\nresults = [tf.ones((1024, 1024)) for _ in range(14)]\nkept = results[::2]\n"
        + "del results\ntf.ones((3, 1024, 1024))",
    ),
    "fragmentation_b": (
        100,
        "import tensorflow as tf\nparts = [tf.fill((n % 3 + 1, 512, 1024), 1.0) for n in range(20)]\n"
        + "for n in range(0, 20, 2):\n    parts[n] = None\ntf.random.uniform((11, 512, 1024))",
    ),
    "growth_a": (
        100,
        NET
        + "import tensorflow as tf\n"
        + "model = keras.Sequential([keras.Input((64,)), layers.Dense(1024)])\nkept = []\n"
        + "for epoch in range(1000):\n    print(f'Epoch {epoch + 1}/1000')\n"
        + "    kept.append(model(tf.ones((512, 64))))",
    ),
    "growth_b": (
        120,
        NET
        + "for trial in range(100):\n    print('trial', trial)\n"
        + "    fit([layers.Dense(1024, activation='relu'), layers.Dense(1024)], (256,), 32, epochs=1)",
    ),
    "host_memory_a": (300, "import numpy as np\nX = np.ones((2**20, 2**22), 'float64')"),
    "host_memory_a_cpu": (
        None,
        "import resource, tensorflow as tf\ntf.zeros(())\n"
        + "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        + "x = tf.zeros((64, 1024, 1024, 64))",
    ),
    "host_memory_b_list": (
        None,
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\nX = [0.0] * 10**9",
    ),
    "unknown_b_crash": (
        None,
        "import resource, tensorflow as tf\ndata = tf.data.Dataset.range(10**9).shuffle(10**9)\n"
        + "resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))\nprint(next(iter(data)))",
    ),
    "xla_a": (
        100,
        NET
        + "convs = [layers.Conv2D(32, 3, padding='same', activation='relu') for _ in range(6)]\n"
        + "model = keras.Sequential([keras.Input((64, 64, 3)), *convs, layers.GlobalAveragePooling2D()])\n"
        + "model.compile('sgd', 'mse', jit_compile=True)\n"
        + "model.fit(np.zeros((64, 64, 64, 3), 'float32'), np.zeros((64, 32)), batch_size=64, verbose=2)",
    ),
    "warning_only_a": (None, "import tensorflow as tf\nx = tf.zeros((3, 2**30))\nprint('done', x.shape)"),
    "not_oom_a": (300, NET + "fit([layers.Dense(10), layers.Reshape((7, 7))], (4,), 8)"),
    "not_oom_a_done": (300, NET + "fit([layers.Dense(10)], (4,), 8, epochs=3)"),
    "not_oom_b": (
        300,
        "import tensorflow as tf\nprint('memory_limit: 300 MiB, allocator: BFC')\n"
        + "tf.matmul(tf.zeros((2, 3)), tf.zeros((2, 3)))",
    ),
}


def text_of(limit, script):
    """What a run of the script writes, with paths made short and its exit status where a signal ended it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text(script)
        environ = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
        environ.pop("PYTHONPATH", None)
        if limit:
            environ |= {"TF_CPU_ALLOCATOR_USE_BFC": "true", "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(limit)}
        done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240,
        )  # fmt: skip
        text = done.stdout.decode(errors="replace").replace(folder, "/home/me")
    text = re.sub(r'(File ").*?/(?=site-packages/|lib/python3)', r"\1/venv/", text)
    text = text if len(text) <= MOST else f"{text[: MOST - 10_000]}\n[... left out ...]\n{text[-10_000:]}"
    return text + (f"exit status {done.returncode}\n" if done.returncode < 0 else "")


def main(names):
    for name in names or SCRIPTS:
        text = text_of(*SCRIPTS[name])
        (HERE / "real" / f"{name}.txt").write_text(text)
        print(name, len(text), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
