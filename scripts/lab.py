"""Starts JupyterLab on the first lesson, for this machine only, and says where it is: make lab."""

import argparse
import errno
import os
import secrets
import socket
import sys
import webbrowser
from urllib.parse import quote

LESSON = "notebooks/00-start-here.ipynb"
CONTAINER_FILES = ["/.dockerenv", "/run/.containerenv"]


def browser_is_here() -> bool:
    """Whether a browser can open on a screen that the reader sees."""
    in_container = "container" in os.environ or any(map(os.path.exists, CONTAINER_FILES))
    if "SSH_CONNECTION" in os.environ or (in_container and os.geteuid() == 0):
        return False
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return bool(webbrowser.get())
    except webbrowser.Error:
        return False


def stop_unless_free(ip: str, port: int):
    """End with one sentence where nothing can listen on that port."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        socket.create_server(("" if ip == "*" else ip, port), family=family).close()
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        problem = "is already in use" if taken else f"cannot be used here ({error})"
        sys.exit(
            f"Port {port} {problem}: choose another, as in make lab ARGS=--port=9999, "
            "or leave it out, and JupyterLab finds a free one."
        )


def main(arguments: list[str]):
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ip", "--ServerApp.ip", default="127.0.0.1")
    parser.add_argument("--port", "--ServerApp.port", type=int)
    parser.add_argument("--IdentityProvider.token", "--ServerApp.token", dest="token")
    asked, rest = parser.parse_known_args(arguments)
    if asked.port is not None:
        stop_unless_free(asked.ip, asked.port)

    from jupyterlab.labapp import LabApp

    if {"-h", "--help", "--help-all", "--version"} & set(rest):
        LabApp.launch_instance(rest)
    token = asked.token or os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    options = [LESSON, "--allow-root", f"--ServerApp.ip={asked.ip}", f"--IdentityProvider.token={token}"]
    if asked.port is not None:
        options += [f"--ServerApp.port={asked.port}", "--ServerApp.port_retries=0"]
    if not browser_is_here():
        options.append("--no-browser")
    try:
        server = LabApp.initialize_server([*options, *rest])
        lesson = os.path.relpath(server.file_to_run, server.root_dir)
        address = f"{server.connection_url}lab/tree/{lesson}?token={quote(token)}"
        if server.open_browser:
            said = f"JupyterLab opens in your browser; if it does not, open {address}"
        else:
            forward = f"ssh -N -L {server.port}:127.0.0.1:{server.port} USER@THIS-MACHINE"
            said = (
                f"JupyterLab is running: to see it, open this address in a browser: {address}\n"
                f"If that browser is on another machine, run this there first: {forward}"
            )
        server.io_loop.add_callback(print, f"\n{said}\n", flush=True)  # when the server has said the rest
        server.start()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = "there is no room left on the disk" if full else error
        sys.exit(f"JupyterLab could not start ({problem}): once that is fixed, run make lab again.")


if __name__ == "__main__":
    main(sys.argv[1:])
