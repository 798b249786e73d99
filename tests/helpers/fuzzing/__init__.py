"""Files that nobody should write, and what becomes of those who read them.

`mutators` change bytes, text and JSON; `formats` says of every format that refspace reads what a
good file is, how it may be changed, and how it is read; `child` reads many cases in a process with
limits, and `runner` starts it again when it dies.
"""

from helpers.fuzzing.cases import Case, packed, unpacked
from helpers.fuzzing.formats import FORMATS, Format
from helpers.fuzzing.runner import Finding, Reader, fuzz, replay

__all__ = [
    "FORMATS",
    "Case",
    "Finding",
    "Format",
    "Reader",
    "fuzz",
    "packed",
    "replay",
    "unpacked",
]
