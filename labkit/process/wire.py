"""Messages between kernel and launcher: lines of JSON over a socket, with file descriptors."""

import json
import selectors
import socket


def readable(files, seconds):
    """Those of the files that can be read, waited for so many seconds; select() takes none above 1023."""
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]


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
