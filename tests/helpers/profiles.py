"""How much a run tries: examples of properties, damages, kills; three profiles and their shares."""

import os

from hypothesis import settings

# A slow machine is no failure; where a run must tell of the change alone, chance stays out.
settings.register_profile(
    "thorough", max_examples=100, deadline=None, derandomize="CI" in os.environ
)
# What runs on each change: there is an end to what a change may wait for.
settings.register_profile("wide", settings.get_profile("thorough"), max_examples=20)
# What one runs again and again: every property is tried, with fewer examples.
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=10)


def share(count: int) -> int:
    """So many in a thorough run, and in another the share of them that properties have there."""
    thorough = settings.get_profile("thorough").max_examples
    return max(2, round(count * settings.default.max_examples / thorough))


def examples(count: int, **others) -> settings:
    """Settings of a property that takes so many examples in a thorough run."""
    return settings(max_examples=share(count), **others)
