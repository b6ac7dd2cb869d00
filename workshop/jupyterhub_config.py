"""JupyterHub on this machine alone, to try a class before it comes: make hub.

Any name logs in, with the password that `make hub` prints, and everybody's programs run as the same user: it
is for rehearsals on the loopback address. shared-machine.md has the settings for a real class.
"""

import os
import shutil
from pathlib import Path

COURSE = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("LABKIT_CLASS_FOLDER") or COURSE / "workshop" / "class")
PORT = int(os.environ.get("LABKIT_CLASS_PORT") or 8000)

c = get_config()  # noqa: F821 - JupyterHub defines it

c.JupyterHub.bind_url = f"http://127.0.0.1:{PORT}"
c.JupyterHub.hub_port = PORT + 1
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PORT + 2}"
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie_secret")
c.JupyterHub.db_url = f"sqlite:///{FOLDER / 'hub.sqlite'}"
c.ConfigurableHTTPProxy.pid_file = str(FOLDER / "proxy.pid")
c.JupyterHub.cleanup_servers = True

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["LABKIT_CLASS_PASSWORD"]
c.SharedPasswordAuthenticator.allow_all = True

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(FOLDER / "{username}")
c.Spawner.default_url = "/lab/tree/00-start-here.ipynb"
c.Spawner.args = ["--allow-root"] if os.getuid() == 0 else []
c.Spawner.env_keep = ["PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV"]

# How the trials of a class share the machine: see shared-machine.md.
SETTINGS = ("LABKIT_BUDGET", "LABKIT_TRIAL_MEMORY", "LABKIT_TURNS")
c.Spawner.environment = {name: os.environ[name] for name in SETTINGS if name in os.environ}


def copy_lessons(spawner):
    """Give a learner lessons of their own, unless they have them."""
    home = FOLDER / spawner.user.name
    if not home.exists():
        shutil.copytree(COURSE / "notebooks", home)


c.Spawner.pre_spawn_hook = copy_lessons
