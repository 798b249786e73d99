"""How many examples the tests of properties take: three profiles, and what share each test has."""

import os

from hypothesis import settings

# A slow machine is no failure; where a run must tell of the change alone, chance stays out.
settings.register_profile(
    "thorough", max_examples=100, deadline=None, derandomize="CI" in os.environ
)
# What runs on each change: there is an end to what a change may wait for.
settings.register_profile("wide", settings.get_profile("thorough"), max_examples=30)
# What one runs again and again: every property is tried, with fewer examples.
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=10)


def examples(count: int, **others) -> settings:
    """So many examples in a thorough run; in a quick one the same share of them as elsewhere."""
    share = settings.default.max_examples / settings.get_profile("thorough").max_examples
    return settings(max_examples=max(2, round(count * share)), **others)
