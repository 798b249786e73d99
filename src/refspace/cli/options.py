"""Arguments that commands share."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

_OUTPUTS = ("output", "labels_nrrd", "labels_txt")

if TYPE_CHECKING:
    _ParamType = click.ParamType[float | list[float]]
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import StructureTree
else:
    # Generic from click 8.4 on.
    _ParamType = click.ParamType


class Resolution(_ParamType):
    """µm per voxel: one number, or three with commas."""

    name = "micrometres"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | list[float]:
        """Turn the text into a number or three."""
        try:
            numbers = [float(part) for part in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3):
            self.fail(f"{value!r} is not a number like 25, or three like 10,20,20", param, ctx)
        return numbers if len(numbers) == 3 else numbers[0]


def annotation_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an annotation volume and what its header may lack."""
    for decorate in (
        click.option("--orientation", help="Directions of the file's axes, like PIR."),
        click.option("--resolution", type=Resolution(), help="µm per voxel, like 25 or 10,20,20."),
        click.argument("annotation", type=click.Path(exists=True, dir_okay=False)),
    ):
        command = decorate(command)
    return command


def refuse_overwriting(inputs: Sequence[str | Path], outputs: Sequence[str | Path]) -> None:
    """Stop a command that would write over what it reads, or twice to one file."""
    taken = {Path(path).resolve() for path in inputs}
    for path in map(Path, outputs):
        if path.resolve() in taken:
            raise click.UsageError(f"{path} would be overwritten; give another name to write to")
        taken.add(path.resolve())


def takes_space(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the reference space of an annotation and a structures file."""

    @functools.wraps(command)
    def with_space(
        annotation: str, structures_file: str, resolution: Any, orientation: Any, **options: Any
    ) -> None:
        outputs = [options[name] for name in _OUTPUTS if options.get(name)]
        refuse_overwriting([annotation, structures_file], outputs)
        command(open_space(annotation, structures_file, resolution, orientation), **options)

    argument = click.argument("structures_file", metavar="STRUCTURES")
    return annotation_argument(argument(with_space))


def open_space(
    annotation: str, structures_file: str, resolution: Any, orientation: str | None
) -> "ReferenceSpace":
    """Open an NRRD file and a structures file."""
    from refspace.formats.structures import read_structures
    from refspace.reference_space import ReferenceSpace

    tree = read_structures(structures_file)
    return ReferenceSpace(tree, annotation, resolution, orientation=orientation)


structures_option = functools.partial(
    click.option,
    "--structures",
    "-s",
    multiple=True,
    help="Ids, acronyms or names, with commas or one option each.",
)


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
