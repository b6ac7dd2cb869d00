"""What memory is used for: the categories of allocations, in the order in which they are shown."""

CATEGORIES = ("weights", "optimizer", "gradients", "activations", "inputs", "workspace", "other")
# Curves besides those of categories and layers
OTHERS, UNUSED, BEFORE = "all others", "idle in XLA's block", "held before the record"
