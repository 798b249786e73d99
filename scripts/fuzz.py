"""Read files that nobody should write, for as long as one likes: what is not refused is kept.

``python scripts/fuzz.py --seconds 3600 --format nrrd`` mutates good files of a format (of all, one
after the other, if none is given) and has them read in a child process with limits of time and
memory. Each case that ends with an error that is not ours, or with the process, is kept in
``tests/corpus``, where a quick test replays it: mend the fault, and commit the case with it.

``--atheris`` lets coverage choose what is mutated further (``pip install atheris``; it runs until
it is stopped, in one process without limits, and wants one format).
"""

import runpy
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"

if __name__ == "__main__":
    # What mutates and reads is a helper of the tests, which use it too.
    sys.path.insert(0, str(TESTS))
    runpy.run_module("helpers.fuzzing.command", run_name="__main__", alter_sys=True)
