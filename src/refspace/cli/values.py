"""Values of options: numbers, lengths, lists with commas."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Generic from click 8.4 on.
    _ParamType = click.ParamType


class _OneOrThree(_ParamType):
    """One number, or three with commas."""

    number: type[float] = float
    hint = ""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into a number or three."""
        try:
            numbers = [self.number(part) for part in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3):
            self.fail(f"{value!r} is not a number {self.hint}", param, ctx)
        return numbers if len(numbers) == 3 else numbers[0]


class Resolution(_OneOrThree):
    """µm per voxel: one number, or three with commas."""

    name = "micrometres"
    hint = "like 25, or three like 10,20,20"


class Lengths(_OneOrThree):
    """Voxels along each axis: one number, or three with commas."""

    name = "voxels"
    number = int
    hint = "of voxels like 128, or three like 128,128,32"


class Number(_ParamType):
    """A number; a whole one keeps all its digits."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into an integer, or else into a float."""
        for number in (int, float):
            with suppress(ValueError):
                return number(value)
        self.fail(f"{value!r} is not a number", param, ctx)


class Depth(_ParamType):
    """Depth in the tree, or its leaves."""

    name = "depth"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into an integer, or leave it where it is ``leaves``."""
        try:
            return value if value == "leaves" else int(value)
        except ValueError:
            self.fail(f"{value!r} is no depth like 5, nor 'leaves'", param, ctx)


class StructureSet(_ParamType):
    """Id of a structure set, or the name of one."""

    name = "set"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the digits of an id into an integer, and leave a name as it is."""
        text = str(value).strip()
        return int(text) if text.isascii() and text.isdigit() else text


def commas(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Parts of a text with commas between them."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


def shares(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Numbers with commas between them."""
    try:
        return tuple(map(float, commas(ctx, param, value) or ()))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} are no shares like 0.05,0.5,0.95") from error


def key_values(ctx: click.Context, param: click.Parameter, value: Iterable[str]) -> dict[str, Any]:
    """Turn texts like KEY=VALUE into a mapping."""
    pairs = [text.partition("=") for text in value]
    for key, equals, text in pairs:
        if not (key and equals):
            raise click.BadParameter(f"{key + equals + text!r} is no {param.metavar}")
    return {key: text for key, _, text in pairs}
