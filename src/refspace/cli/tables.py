"""Tables on a terminal."""

from collections.abc import Collection

import click
import pandas as pd
import xarray as xr

_NAME_WIDTH = 40


def counts_table(counts: xr.Dataset, structure_ids: Collection[int] = ()) -> pd.DataFrame:
    """Rows of some structures, or of all that have voxels, by id."""
    table = counts[["direct", "total", "volume"]].to_dataframe()
    table = table[["acronym", "name", "direct", "total", "volume"]]
    table = table.rename(columns={"volume": "volume_mm3"})
    return table.loc[list(structure_ids)] if structure_ids else table[table["total"] > 0]


def format_table(table: pd.DataFrame) -> str:
    """Table as text, the names flush left and cut to a line."""
    names = [str(name)[:_NAME_WIDTH] for name in table["name"]]
    width = max(map(len, names), default=0)
    shown = table.assign(name=[name.ljust(width) for name in names]).reset_index()
    return shown.to_string(index=False, float_format="{:.3f}".format)


def warn_of_unknown(counts: xr.Dataset) -> None:
    """Say on standard error which ids of the volume the tree does not know."""
    ids, voxels = counts.attrs["unknown_ids"], counts.attrs["unknown_voxels"]
    if ids:
        shown = ", ".join(map(str, ids[:5])) + (", …" if len(ids) > 5 else "")
        click.echo(
            f"Warning: {sum(voxels)} voxels hold {len(ids)} ids that the structures lack: {shown}",
            err=True,
        )
