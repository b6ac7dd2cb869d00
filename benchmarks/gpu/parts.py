"""Bring TensorFlow to a machine without a network, in parts of 50 MB. See README.md in this folder.

fetch    here: install what check.py needs, at the locked versions, slim it, and split it into parts
install  there: check the parts, and unpack them into a separate folder
links    there: link the CUDA libraries under the names TensorFlow expects; prints the LD_LIBRARY_PATH to set
"""

import argparse
import contextlib
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from slim import slim

ROOT = Path(__file__).parents[2]
PART_BYTES = 50_000_000  # with the checkout, under 64 MiB
NEEDED = {
    "tensorflow": """absl-py astunparse certifi charset-normalizer flatbuffers gast google-pasta grpcio
        h5py idna keras markdown-it-py mdurl ml-dtypes namex numpy opt-einsum optree packaging protobuf
        pygments requests rich setuptools six tensorflow termcolor typing-extensions urllib3 wheel wrapt""",
    "labkit": """asttokens cloudpickle executing ipython ipython-pygments-lexers jedi matplotlib-inline parso
        pexpect prompt-toolkit psutil ptyprocess pure-eval stack-data traitlets wcwidth""",
    "cuda": "nvidia-cuda-cupti-cu12 nvidia-cuda-nvcc-cu12 nvidia-cuda-runtime-cu12",
    "cuda libraries": """nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12 nvidia-cudnn-cu12 nvidia-cufft-cu12
        nvidia-cusolver-cu12 nvidia-cusparse-cu12 nvidia-nvjitlink-cu12""",
}
LIBRARIES = [
    "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11", "libcusolver.so.11", "libcusparse.so.12",
    "libcudnn.so.9",
]  # fmt: skip


def fetch(folder, capability, with_libraries, preset):
    """Download into `folder`/wheels, install in `folder`/site with this Python, split into `folder`/parts.

    capability: the compute capability of the GPU, such as "9.0"; preset: of xz, 0 to 9
    """
    wheels, site = folder / "wheels", folder / "site"
    download(wheels, with_libraries)
    install = ("install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade", "--target")
    pip(*install, site, *sorted(wheels.glob("*.whl")))
    slim(site, capability)
    whole = folder / "site.tar.xz"
    with tarfile.open(whole, "w:xz", preset=preset) as tar:
        tar.add(site, ".")
    split(whole, folder / "parts")
    whole.unlink()


def download(wheels, with_libraries):
    """Download the wheels of NEEDED, for this Python."""
    groups = [names for group, names in NEEDED.items() if with_libraries or group != "cuda libraries"]
    wanted = " ".join(groups).split()
    lines = (ROOT / "requirements-gpu.lock").read_text().splitlines()
    chosen = [line for line in lines if line.partition("==")[0] in wanted]
    assert {line.partition("==")[0] for line in chosen} == set(wanted), "the lock file lacks some of NEEDED"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(chosen))
        file.flush()
        pip("download", "--no-deps", "--only-binary=:all:", "-d", wheels, "-r", file.name)


def split(whole, parts):
    """Write a file in parts 00, 01, ..., and their checksums in `sha256`."""
    parts.mkdir(parents=True, exist_ok=True)
    for old in parts.iterdir():
        old.unlink()
    sums = []
    with open(whole, "rb") as file:
        while data := file.read(PART_BYTES):
            name = f"{len(sums):02}"
            (parts / name).write_bytes(data)
            sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
    (parts / "sha256").write_text("".join(sums))
    print(f"{len(sums)} parts, {whole.stat().st_size / 1e6:.0f} MB, in {parts}")


def install(parts, site):
    """Join the parts and unpack them into the folder `site`."""
    sums = dict(reversed(line.split()) for line in (parts / "sha256").read_text().splitlines())
    bad = [n for n, s in sums.items() if not (parts / n).exists() or sha256(parts / n) != s]
    if bad:
        sys.exit(f"Missing or damaged: parts {', '.join(bad)}. Bring them again.")
    with tempfile.TemporaryFile() as whole:
        for name in sorted(sums):
            whole.write((parts / name).read_bytes())
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:xz") as tar:
            tar.extractall(site)
    print(f"installed in {site}: export PYTHONPATH={site}")


def links(folder):
    """Make links in `folder` for libraries that exist only under another major version."""
    there, path = libraries(), [str(folder.absolute())]
    folder.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        stem = name.partition(".so.")[0]
        found = there.get(name) or max(
            (p for n, p in there.items() if n.startswith(f"{stem}.so.")), default=None
        )
        print(f"# {name}: {found or 'NOT FOUND'}", file=sys.stderr)
        if found is None:
            continue
        path.append(str(found.parent))
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(found)
    print(f"export LD_LIBRARY_PATH={':'.join(dict.fromkeys(path))}")


def libraries():
    """{file name: path} of the CUDA libraries known to the loader, in Python's packages or in /usr/local."""
    with contextlib.suppress(OSError):
        cached = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    listed = [Path(p) for p in re.findall(r"=> (\S+)", cached)]
    packages = [p for place in sys.path for p in Path(place or ".").glob("nvidia/**/lib*.so.*")]
    toolkit = [p for place in Path("/usr/local").glob("cuda*/lib64") for p in place.glob("lib*.so.*")]
    return {p.name: p for p in (*toolkit, *listed, *packages)}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], check=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("fetch")
    one.add_argument("folder", type=Path)
    one.add_argument("--capability", default="9.0", help="compute capability of the GPU; default 9.0")
    one.add_argument("--cuda-libraries", action="store_true", help="2.3 GB more, for when links do not work")
    one.add_argument("--preset", type=int, default=6, help="of xz, 0 to 9; default 6: slow, and small")
    one = commands.add_parser("install")
    one.add_argument("parts", type=Path)
    one.add_argument("site", type=Path)
    one = commands.add_parser("links")
    one.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "fetch":
        fetch(options.folder, options.capability, options.cuda_libraries, options.preset)
    elif options.command == "install":
        install(options.parts, options.site)
    else:
        links(options.folder)


if __name__ == "__main__":
    main()
