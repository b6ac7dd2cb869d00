"""Messages between kernel and launcher: lines of JSON over a socket, with file descriptors."""

import json
import socket


class Lines:
    """Messages over a socket: one line of JSON each, some with file descriptors."""

    def __init__(self, sock):
        self.socket = sock
        self._rest = b""

    def send(self, message, fds=()):
        socket.send_fds(self.socket, [json.dumps(message).encode() + b"\n"], fds)

    def receive(self):
        """(messages, descriptors) that have arrived; messages is None once the other end has hung up."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 3)
        except ConnectionError:
            data, fds = b"", []
        if not data:
            return None, fds
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], fds
