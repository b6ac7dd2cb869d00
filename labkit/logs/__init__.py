"""What TensorFlow and others print as memory runs out: messages, dumps, and logs that hold them."""
