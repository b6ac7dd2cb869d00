"""What TensorFlow and others print when memory runs out, parsed: messages, memory dumps, whole logs."""
