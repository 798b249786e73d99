"""Whether rivals give the same answer; see `benchmarks.answers` for what answers are."""

import math
from collections.abc import Mapping, Sequence

from benchmarks.measurement import Answer

_RELATIVE = 1e-4  # of float32 sums in another order


def same(first: Answer, second: Answer) -> bool:
    """Whether two answers agree."""
    if "digest" in first or "digest" in second:
        return bool(first.get("digest") == second.get("digest"))
    common = first["values"].keys() & second["values"].keys()
    return bool(common) and all(
        math.isclose(first["values"][key], second["values"][key], rel_tol=_RELATIVE)
        for key in common
    )


def dissenters(answers: Mapping[str, Answer]) -> Sequence[str]:
    """Names of those whose answer is not that of most; of the first, where it is a tie."""
    names = list(answers)
    if not names:
        return []
    agreeing = {name: [n for n in names if same(answers[name], answers[n])] for name in names}
    right = max(names, key=lambda name: len(agreeing[name]))
    return [name for name in names if name not in agreeing[right]]
