"""Tables on a terminal."""

from collections.abc import Collection

import click
import pandas as pd
import xarray as xr


def counts_table(counts: xr.Dataset, structure_ids: Collection[int] = ()) -> pd.DataFrame:
    """Rows of some structures, or of all that have voxels, by id."""
    table = counts[["direct", "total", "volume"]].to_dataframe()
    table = table[["acronym", "name", "direct", "total", "volume"]]
    table = table.rename(columns={"volume": "volume_mm3"})
    return table.loc[list(structure_ids)] if structure_ids else table[table["total"] > 0]


def format_table(table: pd.DataFrame) -> str:
    """Table as text, the names flush left and cut to a line."""
    names = table["name"].str.slice(0, 40)
    shown = table.assign(name=names.str.ljust(names.str.len().max() or 0)).reset_index()
    return shown.to_string(index=False, float_format="{:.3f}".format)


def warn_of_unknown(counts: xr.Dataset) -> None:
    """Say on standard error which ids of the volume the tree does not know."""
    if counts.sizes["unknown"]:
        ids = ", ".join(map(str, counts["unknown"].values[:5]))
        more = ", …" if counts.sizes["unknown"] > 5 else ""
        voxels = int(counts["unknown_voxels"].sum())
        click.echo(
            f"Warning: {voxels} voxels hold {counts.sizes['unknown']} ids that the structures "
            f"lack: {ids}{more}",
            err=True,
        )
