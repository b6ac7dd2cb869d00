"""What calls of compile, fit, evaluate and predict tell of a program. Used in trials only, where Keras is."""

import inspect


def facts_of(method, model, given, policy):
    """What a call tells of the program, as far as fixes depend on it. policy: Keras's before that ran."""
    facts = {"given": [name for name, value in given.items() if value is not None]}
    if method == "compile":
        return facts | _facts_of_compile(given)
    from .kinds.streams import is_one_hot

    facts |= {name: _data(given.get(name)) for name in ("x", "y", "sample_weight")}
    facts |= {"batch_size": given.get("batch_size"), "one_hot": is_one_hot(given.get("y"))}
    if method == "fit":
        facts |= {
            "class_weight": given.get("class_weight") is not None,
            **_facts_of_validation(given.get("validation_data")),
            "validation_batch_size": given.get("validation_batch_size"),
            **_facts_of_model(model, policy),
        }
    return facts


def _facts_of_compile(given):
    from .kinds.training import name_of

    optimizer = given.get("optimizer", "rmsprop")
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return {
        "optimizer": name_of(optimizer),
        "accumulation_steps": getattr(inner, "gradient_accumulation_steps", None) or 1,
        "loss": _loss(given.get("loss")),
        "metrics": _names([given.get("metrics"), given.get("weighted_metrics")]),
        "run_eagerly": bool(given.get("run_eagerly", False)),
        "jit_compile": given.get("jit_compile", "auto"),
    }


def _facts_of_validation(data):
    """Of validation_data; if it is a tuple of arrays, of its inputs."""
    from .kinds.streams import is_one_hot, streamable

    is_tuple = isinstance(data, list | tuple)
    return {
        "validation": _data(data[0] if is_tuple and streamable(data) else data),
        "validation_one_hot": is_tuple and len(data) > 1 and is_one_hot(data[1]),
    }


def _names(metrics):
    """Which metrics these are: their names as text, their classes, and their functions as f()."""
    import tensorflow as tf

    def name(metric):
        if isinstance(metric, str):
            return metric
        return f"{metric.__name__}()" if inspect.isfunction(metric) else type(metric).__name__

    return [name(metric) for metric in tf.nest.flatten(metrics) if metric is not None]


def _facts_of_model(model, policy):
    import keras

    layers = list(model._flatten_layers(include_self=False))
    blocks, now = _blocks(layers), keras.config.dtype_policy()
    return {
        "compute_dtypes": sorted({each.compute_dtype for each in layers if each.weights or not each.built}),
        "policy": now.name,
        "sets_policy": now is not policy and all(each.dtype_policy is not policy for each in layers),
        "rounds_ids": any(map(_rounds_ids, [model, *layers])),
        "run_eagerly": bool(model.run_eagerly),
        "jit": bool(model.jit_compile),
        "blocks": [block.name for block in blocks],
        "random_in_blocks": any(getattr(each, "rate", 0) for each in _inside(blocks)),
        "normalized_in_blocks": any(type(each).__name__ == "BatchNormalization" for each in _inside(blocks)),
    }


def _rounds_ids(layer):
    """Whether it is a Sequential that begins with an Embedding, and whose input takes the policy's dtype.

    Keras makes that input when the model is built, if the code gives none; 16 bits hold no integers beyond
    256 (bfloat16) or 2048 (float16) exactly.
    """
    import keras

    if not isinstance(layer, keras.Sequential) or not layer.layers:
        return False
    if not isinstance(layer.layers[0], keras.layers.Embedding):
        return False
    inputs = getattr(layer, "inputs", ())  # a Sequential that is built as it is called has none
    return not layer.built or any("float16" in str(each.dtype) for each in inputs)


def _blocks(layers):
    """The layers made of layers, none of Keras's own, of a kind that comes twice or more."""
    import keras

    composed = [
        layer
        for layer in layers
        if _inside([layer])
        and (isinstance(layer, keras.Model) or not type(layer).__module__.startswith("keras."))
    ]
    kinds = [_kind(layer) for layer in composed]
    return [layer for layer, kind in zip(composed, kinds, strict=True) if kinds.count(kind) > 1]


def _kind(layer):
    return [type(each).__name__ for each in (layer, *_inside([layer]))]


def _inside(layers):
    return [each for layer in layers for each in layer._flatten_layers(include_self=False)]


def _loss(loss):
    """The name of the loss and its settings; "" for neither a name nor one of Keras's losses."""
    if isinstance(loss, str):
        return {"name": loss}
    config = loss.get_config() if hasattr(loss, "get_config") else {}
    smoothing = config.get("label_smoothing", 0)
    return {
        "name": getattr(loss, "name", "") or "",
        "label_smoothing": smoothing,
        "from_logits": config.get("from_logits", False),
        "is_object": True,
    }


def _data(x):
    """{"kind": ...} of what is given as data: for arrays with their shapes, dtypes and bytes.

    nested   whether they are in a dict, list or tuple
    stream   whether what is no array gives one batch after another
    """
    import tensorflow as tf

    from .kinds.streams import streamable

    if x is None:
        return {"kind": "nothing"}
    leaves = [leaf for leaf in tf.nest.flatten(x) if leaf is not None] if not _has_batches(x) else []
    if streamable(leaves):
        return {
            "kind": "arrays",
            "nested": leaves[0] is not x,
            "shapes": [list(leaf.shape) for leaf in leaves],
            "dtypes": [str(leaf.dtype) for leaf in leaves],
            "bytes": sum(leaf.nbytes for leaf in leaves),
        }
    if leaves and all(tf.is_tensor(leaf) for leaf in leaves):
        return {"kind": "tensors"}
    holds_rows = hasattr(x, "shape") or isinstance(x, list | tuple | dict)  # a table, a sparse matrix, a list
    return {"kind": type(x).__name__, "stream": _has_batches(x) or not holds_rows}


def _has_batches(x):
    import keras
    import tensorflow as tf

    return isinstance(x, tf.data.Dataset | keras.utils.PyDataset) or inspect.isgenerator(x)
