"""One measurement, in a process of its own: ``python -m benchmarks.worker FUNCTION INPUTS``.

FUNCTION is the name of one of `benchmarks.rivals`, such as ``ours.mask``, and INPUTS is JSON. The
last line that is printed is JSON, too: the figures, or ``failed`` and why.
"""

import json
import sys
import warnings
from importlib import import_module

from benchmarks.measurement import Inputs
from benchmarks.timing import measured


def main(function: str, inputs: str) -> None:
    """Measure, and print the figures."""
    warnings.simplefilter("ignore")  # of the other libraries
    module, name = function.split(".")
    given = Inputs.from_json(inputs)
    try:
        timed = getattr(import_module(f"benchmarks.rivals.{module}"), name)(given)
        figures = measured(timed, given)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        figures = {"failed": text[:300]}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
