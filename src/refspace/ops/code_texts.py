"""Texts in the place of codes: what the structures are called in which points lie."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.ops.point_labels import VoxelLookup, look_up_table
from refspace.types import BACKGROUND, MAX_LABEL


@dataclass(frozen=True, eq=False)
class CodeTexts:
    """Text for each code of points.

    Parameters
    ----------
    name
        What the texts are: ``acronym`` or ``name``.
    codes
        Codes that have a text, sorted.
    texts
        The text of each.
    """

    name: str
    codes: NDArray[np.int64]
    texts: NDArray[np.str_]

    @classmethod
    def from_mapping(cls, name: str, texts: Mapping[int, str]) -> "CodeTexts":
        """Make a table of the texts of codes.

        Examples
        --------
        >>> CodeTexts.from_mapping("acronym", {8: "grey", 5: "CH"}).texts.tolist()
        ['CH', 'grey']
        """
        codes = sorted(texts)
        width = max((len(text) for text in texts.values()), default=1)
        # Wide enough for the digits of labels that no structure has.
        dtype = f"<U{max(width, len(str(MAX_LABEL)))}"
        return cls(name, np.array(codes, np.int64), np.array([texts[i] for i in codes], dtype))

    def of_codes(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.str_]:
        """Text of each code: of one without a text its digits, of none, as outside, an empty one.

        Examples
        --------
        >>> texts = CodeTexts.from_mapping("acronym", {8: "grey"})
        >>> texts.of_codes(np.array([8, 0, -1, 12])).tolist()
        ['grey', '', '', '12']
        """
        positions = kernels.find(np.asarray(codes, np.int64), self.codes)
        found: NDArray[np.str_] = np.append(self.texts, self.texts.dtype.type(""))[positions]
        is_other = (positions == self.codes.size) & (codes > BACKGROUND)
        return np.where(is_other, codes.astype(found.dtype), found)

    def of_array(self, codes: xr.DataArray) -> xr.DataArray:
        """Texts of the codes of an array, lazy where that is."""
        data = codes.data
        if codes.chunks is None:
            texts = self.of_codes(data)
        else:
            texts = data.map_blocks(self.of_codes, dtype=self.texts.dtype)
        attrs = {"long_name": f"{self.name} of the structure"}
        return xr.DataArray(texts, codes.coords, codes.dims, self.name, attrs)

    def of_series(self, codes: "pd.Series[int]") -> "pd.Series[str]":
        """Texts of the codes of a Series, with its index."""
        # As pandas has texts by default, whatever type that is.
        return pd.Series(self.of_codes(codes.to_numpy()).tolist(), codes.index, name=self.name)


def look_up_texts(
    points: pd.DataFrame,
    lookup: VoxelLookup,
    columns: Sequence[Hashable] | None,
    texts: CodeTexts,
    scheduler: str | None = None,
) -> "pd.Series[str]":
    """Texts of the points of a table in memory, with its index.

    Parameters
    ----------
    points, lookup, columns, scheduler
        As for `look_up_table`.
    texts
        Text of each code.
    """
    return texts.of_series(look_up_table(points, lookup, columns, {}, scheduler))
