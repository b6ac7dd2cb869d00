"""Starts JupyterHub with workshop/jupyterhub_config.py, on this machine only: make hub."""

import os
import secrets
from pathlib import Path

COURSE = Path(__file__).resolve().parent.parent


def main():
    password = os.environ.setdefault("LABKIT_CLASS_PASSWORD", secrets.token_urlsafe(9))
    folder = Path(os.environ.setdefault("LABKIT_CLASS_FOLDER", str(COURSE / "workshop" / "class")))
    folder.mkdir(parents=True, exist_ok=True)
    port = os.environ.get("LABKIT_CLASS_PORT", "8000")
    print(f"http://127.0.0.1:{port}  any name, password {password}  (Ctrl-C ends it)", flush=True)
    hub = COURSE / ".venv" / "bin" / "jupyterhub"
    os.execv(hub, [str(hub), "-f", str(COURSE / "workshop" / "jupyterhub_config.py"), "--log-level=WARN"])


if __name__ == "__main__":
    main()
