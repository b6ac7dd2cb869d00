"""Make an installed TensorFlow smaller, for one kind of GPU: symbols, headers and the kernels of others go.

Needs `strip` and `readelf` of binutils. What is removed is not needed to run; kernels are not cut out but
set to zero, which compresses to nothing. Only machine code of the one compute capability is left, no PTX
either: on another GPU this TensorFlow has no kernels.
"""

import collections
import mmap
import re
import shutil
import struct
import subprocess

SECTION = re.compile(r"\.nv_fatbin\s+PROGBITS\s+\w+\s+(\w+)\s+(\w+)")
FATBIN = b"\x50\xed\x55\xba"  # begins a fat binary; then its version, and the sizes of header and content
MACHINE_CODE = 2  # the kind of an entry; 1 is PTX


def slim(site, capability):
    """Slim the TensorFlow installed in `site`. capability: of the GPU, such as "9.0"."""
    shutil.rmtree(site / "tensorflow/include", ignore_errors=True)
    for library in sorted((site / "tensorflow").rglob("*.so*")):
        subprocess.run(["strip", "--strip-all", library], check=True)
        counts = keep_kernels(library, int(capability.replace(".", "")))
        if counts:
            found = ", ".join(f"{text} {count}" for text, count in sorted(counts.items()))
            print(f"{library.name}: machine code {capability} kept, of {found}")


def keep_kernels(library, architecture):
    """Zero the kernels of other architectures (90 is 9.0); returns {what: how many entries there were}."""
    sections = subprocess.run(["readelf", "-SW", library], check=True, capture_output=True, text=True).stdout
    counts, section = collections.Counter(), SECTION.search(sections)
    if not section:
        return counts
    start, size = (int(number, 16) for number in section.groups())
    with open(library, "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for kind, number, first, last in entries(data, start, start + size):
            counts[f"{'machine code' if kind == MACHINE_CODE else 'PTX'} {number / 10}"] += 1
            if (kind, number) != (MACHINE_CODE, architecture):
                data[first:last] = bytes(last - first)
    return counts


def entries(data, place, end):
    """(kind, architecture, first byte, byte after the last) of each kernel image in the fat binaries."""
    while place < end:
        if data[place : place + 4] != FATBIN:
            place += 8
            continue
        _, header, size = struct.unpack_from("<HHQ", data, place + 4)
        entry, place = place + header, place + header + size
        while entry < place:
            kind, _, header, size = struct.unpack_from("<HHIQ", data, entry)
            [architecture] = struct.unpack_from("<I", data, entry + 28)
            yield kind, architecture, entry + header, entry + header + size
            entry += header + size
        place = (place + 7) // 8 * 8
