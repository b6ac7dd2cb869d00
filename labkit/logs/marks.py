"""Pieces of tracebacks that distinguish the causes."""

MAKES_WEIGHTS = {
    "add_weight",
    "/initializers/",
    "init_ops",
    "in build",
    "build_wrapper",
    "self.add(layer)",
    "load_weights",
    "batch_set_value",
}
MAKES_SLOTS = {"_resource_apply", "get_updates"}
MARKS = (
    "in predict",
    "def predict",
    ".predict(",
    "optimizer",
    *sorted(MAKES_SLOTS | MAKES_WEIGHTS),
    "from_tensor_slices",
    "convert_to_tensor",
    "mbedding",
    "ttention",
)
