"""Lines of TensorFlow's own C++ log, which an outcome keeps but the reader need not see."""

import re

_CHATTER = re.compile(
    r"(?:\d{4}-\d\d-\d\d [\d:.]+: [IWEF] |[IWEF]\d{4} \S+\s+\d+ \S+:\d+\] )"
    r"|WARNING: All log messages before absl|To enable the following instructions"
    r"|If the cause is memory fragmentation|Current allocation summary follows|Hint: If you want to see"
    r"|(?:Limit|InUse|MaxInUse|NumAllocs|MaxAllocSize|Reserved|PeakReserved|LargestFreeBlock):\s+\d"
    r"|\s*\[\[\{\{(?:function_)?node"
)


def is_tensorflow_chatter(line):
    """Whether a line is TensorFlow's C++ log, which the outcome keeps but the reader need not see."""
    return bool(_CHATTER.match(line)) or not line.strip()
