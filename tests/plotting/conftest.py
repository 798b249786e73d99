"""Figures are closed, and look the same on every machine."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from helpers.pictures import plain_style


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    with plain_style():
        yield
        plt.close("all")
