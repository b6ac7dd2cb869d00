"""What memory is used for: the categories of allocations, in the order in which they are shown."""

CATEGORIES = ("weights", "optimizer", "gradients", "activations", "inputs", "workspace", "other")
OTHERS, UNUSED = "all others", "idle in XLA's block"  # curves besides those of categories and layers
