"""Arguments by which commands choose structures, regions and hemispheres."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from refspace.cli.completion import complete_structures
from refspace.cli.options import sides_options
from refspace.cli.terminal import echo
from refspace.cli.values import Depth, StructureSet

if TYPE_CHECKING:
    from refspace.grid import Hemisphere
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import Regions, StructureTree

# Structures that a message names.
_SHOWN = 5
structures_option = functools.partial(
    click.option,
    "--structures",
    "-s",
    multiple=True,
    shell_complete=complete_structures,
    help="Ids, acronyms or names, with commas or one option each.",
)
direct_only_option = click.option(
    "--direct-only", is_flag=True, help="Leave out the structures' descendants."
)
hemisphere_option = click.option(
    "--hemisphere",
    type=click.Choice(["left", "right"], case_sensitive=False),
    help="That hemisphere alone.",
)
by_hemisphere_option = click.option(
    "--by-hemisphere", is_flag=True, help="Keep the hemispheres apart."
)


# ----- regions


@dataclass(frozen=True)
class RegionChoice:
    """Regions that a command was asked for, before there is a tree to find them in.

    Parameters
    ----------
    structures
        Structures, as they were typed.
    depth
        Depth in the tree, or its leaves.
    structure_set
        Ids or names of structure sets, or the name of other regions.
    """

    structures: tuple[str, ...] = ()
    depth: int | Literal["leaves"] | None = None
    structure_set: tuple[int | str, ...] = ()

    def regions(self, tree: "StructureTree", *, direct_only: bool = False) -> "Regions | None":
        """Regions of a tree; None where none are chosen, which means all structures."""
        if self.structures:
            return tree.regions(resolve(tree, self.structures), direct_only=direct_only)
        if len(self.structure_set) == 1 and isinstance(self.structure_set[0], str):
            from refspace.structure_tree.named_regions import name_of_regions

            if (name := name_of_regions(self.structure_set[0])) is not None:
                return tree.regions(name, direct_only=direct_only)
        if self.structure_set:
            return tree.regions(structure_set=self.structure_set, direct_only=direct_only)
        if self.depth == "leaves":
            return tree.regions("leaves", direct_only=direct_only)
        if self.depth is not None:
            return tree.regions(depth=self.depth, direct_only=direct_only)
        return None


def takes_choice(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the regions that it is asked for, as ``choice``."""

    @functools.wraps(command)
    def with_choice(
        *args: Any,
        structures: tuple[str, ...],
        depth: Any,
        structure_set: tuple[int | str, ...],
        **options: Any,
    ) -> None:
        if sum((bool(structures), depth is not None, bool(structure_set))) > 1:
            raise click.UsageError("give one of --structures, --depth and --structure-set")
        command(*args, choice=RegionChoice(structures, depth, structure_set), **options)

    for decorate in (
        click.option(
            "--structure-set",
            type=StructureSet(),
            multiple=True,
            metavar="SET",
            help="Structures of a set, instead, by its id or name as 'refspace tree --sets' lists "
            "them, any number of times; or summary, divisions, observatory, beryl or cosmos.",
        ),
        click.option(
            "--depth",
            type=Depth(),
            metavar="DEPTH",
            help="Structures of that depth in the tree, like 5, instead; or 'leaves'.",
        ),
        structures_option(),
    ):
        with_choice = decorate(with_choice)
    return with_choice


# ----- hemispheres


def takes_hemisphere(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that has a space the space of one hemisphere, where one is asked for."""

    @functools.wraps(command)
    def with_hemisphere(
        space: "ReferenceSpace", hemisphere: "Hemisphere | None", **options: Any
    ) -> None:
        command(within(space, hemisphere), **options)

    return hemisphere_option(sides_options(with_hemisphere))


def within(space: "ReferenceSpace", hemisphere: "Hemisphere | None") -> "ReferenceSpace":
    """Space of one hemisphere, where one is asked for; then what tells them apart is said."""
    if hemisphere is None:
        return space
    tell_separation(space)
    return space.hemisphere(hemisphere)


def tell_separation(space: "ReferenceSpace") -> None:
    """Say on standard error what tells the hemispheres apart, of whatever depends on it."""
    echo(f"hemispheres: {space.volume.hemispheres}", err=True)


# ----- structures


def resolve(tree: "StructureTree", texts: Sequence[str]) -> list[int]:
    """Turn texts, each a structure or several with commas between them, into ids."""
    ids: list[int] = []
    for text in texts:
        parts = text.split(",")
        while parts:
            taken = _longest_structure(tree, parts)
            ids += tree.resolve(",".join(parts[:taken]).strip())
            parts = parts[taken:]
    return ids


def _longest_structure(tree: "StructureTree", parts: Sequence[str]) -> int:
    """How many parts make a structure: names hold commas too, as "Visual areas, layer 4" does."""
    from refspace.errors import StructureNotFoundError

    for count in range(len(parts), 1, -1):
        with contextlib.suppress(StructureNotFoundError):
            tree.resolve(",".join(parts[:count]).strip())
            return count
    return 1


# ----- masks of nothing


def refuse_empty(
    space: "ReferenceSpace", groups: Iterable[Sequence[int]], *, direct_only: bool
) -> None:
    """Stop where a mask, of the structures of a group, would have no voxel."""
    for group in groups:
        if len(_empty(space, group, direct_only=direct_only)) == len(group):
            raise click.ClickException(
                f"{_listed(space, group)}: no voxel in the annotation, so the mask would be of "
                f"nothing; leave it out{_hint(direct_only)}"
            )


def tell_empty(
    space: "ReferenceSpace", structures: Sequence[int], *, direct_only: bool, what: str = "masks"
) -> None:
    """Tell which of some masks, or meshes, have no voxel; stop where all have none."""
    empty = _empty(space, structures, direct_only=direct_only)
    if not empty:
        return
    if len(empty) == len(structures):
        refuse_empty(space, [structures], direct_only=direct_only)
    echo(
        f"Warning: {len(empty)} of {len(structures)} {what} have no voxel: {_listed(space, empty)}",
        err=True,
    )


def _empty(space: "ReferenceSpace", structures: Sequence[int], *, direct_only: bool) -> list[int]:
    """Structures without voxels."""
    voxels = space.direct_voxel_map if direct_only else space.total_voxel_map
    return [i for i in structures if not voxels[i]]


def _listed(space: "ReferenceSpace", structures: Sequence[int]) -> str:
    nodes = space.structure_tree.nodes(structures[:_SHOWN])
    names = [f"{node['id']} ({node.get('acronym') or 'no acronym'})" for node in nodes]
    return ", ".join([*names, *(["…"] if len(structures) > _SHOWN else [])])


def _hint(direct_only: bool) -> str:
    return ", or leave out --direct-only, which leaves out its descendants" if direct_only else ""
