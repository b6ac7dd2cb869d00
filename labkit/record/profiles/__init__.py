"""TensorFlow's profile files: found in a log folder, decoded without TensorFlow, divided into steps."""
