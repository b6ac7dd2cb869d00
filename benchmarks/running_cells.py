"""Runs the cells of a notebook on a Jupyter server as a page does: over its web socket."""

import asyncio
import html
import json
import re
import time
import uuid

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect


class RunningCells:
    """Cells that run one after another, and what becomes of them.

    .done      how many have run
    .seconds   how long each took
    .errors    (number of the cell, what came out) of those that failed and were not meant to
    .waited    seconds in which a cell said that it waits for room, and .told: what it said
    .deaths    how often the kernel died
    """

    def __init__(self):
        self.done, self.seconds, self.errors, self.deaths = 0, [], [], 0
        self.waited, self.told, self._waits_since = 0.0, set(), None

    def run(self, address, headers, cells):
        """Run notebook cells on the kernel whose channels are at that address."""
        asyncio.run(self._run(address.replace("http", "ws", 1), headers, cells))

    async def _run(self, address, headers, cells):
        socket = await websocket_connect(HTTPRequest(address, headers=headers), max_message_size=2**28)
        for number, cell in enumerate(cells):
            message, start = _execute(cell.source), time.monotonic()
            await socket.write_message(json.dumps(message))
            error = await self._follow(socket, message["header"]["msg_id"])
            self.seconds.append(time.monotonic() - start)
            self.done += 1
            if error and "raises-exception" not in cell.metadata.get("tags", []):
                self.errors.append((number, error))
        socket.close()

    async def _follow(self, socket, asked):
        """Read messages until the cell is done; returns its error, or None."""
        error = None
        while True:
            text = await socket.read_message()
            if text is None:
                raise RuntimeError("the connection to the kernel was lost")
            message = json.loads(text)
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                self.deaths += 1
                return f"the kernel is {content['execution_state']}"
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind in ("display_data", "update_display_data"):
                self._notice(content["data"].get("text/html", ""))
            elif kind == "error":
                error = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                self._notice("")
                return error

    def _notice(self, shown):
        """Count the time in which what is shown says that the trial waits."""
        now = time.monotonic()
        if self._waits_since is not None:
            self.waited += now - self._waits_since
        waits = re.search(r"waiting for room: [^<]*", html.unescape(shown))
        self._waits_since = now if waits else None
        self.told |= {waits[0]} if waits else set()


def _execute(code):
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"session": uuid.uuid4().hex, "username": "", "date": "2020-01-01T00:00:00Z"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
    content |= {"allow_stdin": False, "stop_on_error": False}
    return {
        "header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell",
        "buffers": [],
    }  # fmt: skip
