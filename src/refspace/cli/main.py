"""The group of all commands, and what is common to them: errors, warnings, interruptions."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from refspace.cli import (
    analysis,
    atlases,
    completion,
    export,
    fetch,
    figures,
    images,
    index,
    info,
    masks,
    meshes,
    ontology,
    places,
    spaces,
    stores,
    view,
)
from refspace.cli.help import WholeSentences, examples
from refspace.cli.options import in_options, show_each_once
from refspace.cli.outputs import overwrite_option
from refspace.cli.stopping import Stopped, exit_status, stopping_like_ctrl_c
from refspace.cli.terminal import echo, one_line
from refspace.cli.values import Resolution
from refspace.errors import JobError, RefspaceError
from refspace.version import __version__


class _Commands(WholeSentences):
    """Group that shows the library's errors and warnings as one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings(), stopping_like_ctrl_c():
            # Shown, and once, whatever Python was told to do with warnings.
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show_each_once()
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise
            except KeyboardInterrupt as stop:
                what = "Stopped" if isinstance(stop, Stopped) else "Interrupted"
                echo("; ".join([what, *_notes(stop)]), err=True)
                ctx.exit(exit_status(stop))
            except click.ClickException as error:
                object.__setattr__(error, "message", one_line(error.message))
                raise
            except JobError as error:
                for part, cause in error.failures.items():
                    # Of the parts of jobs, images alone are read by options.
                    echo(one_line(f"{part}: {in_options(cause, 'image-')}"), err=True)
                raise _one_line([error.summary, *_notes(error)]) from error
            except (RefspaceError, OSError) as error:
                message = in_options(str(error))
                raise _one_line([message, *_notes(error)]) from error


def _one_line(parts: Iterable[str]) -> click.ClickException:
    """What ends a command, and is shown as one line."""
    return click.ClickException(one_line("; ".join(parts)))


def _notes(error: BaseException) -> list[str]:
    """What was noted on an error on its way: where unfinished work lies, how to go on with it."""
    return list(getattr(error, "__notes__", ()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="refspace")
def main() -> None:
    """Brain reference spaces: an annotation volume and the tree of its structures.

    ANNOTATION is the file of a volume (NRRD, NIfTI, TIFF, MetaImage, MGH or .npy), with a structure
    graph as JSON or CSV, or a table of labels, for its STRUCTURES; or it is the path or URL of a
    zarr store, which may have structures of its own, or an atlas by name, like allen:ccf_2017.
    'refspace demo' makes files to try the other commands with, 'refspace convert' makes a store of
    them, 'refspace fetch' one of an atlas by name. 'refspace COMMAND --help' has examples.
    """


@main.command(epilog=examples("refspace demo brain --resolution 200"))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="refspace-demo")
@click.option(
    "--resolution",
    type=Resolution(),
    default=50,
    show_default=True,
    help="µm per voxel of the sample brain, 10 or more.",
)
@overwrite_option
def demo(folder: Path, resolution: float | Sequence[float]) -> None:
    """Show the main job on a synthetic brain, and write what comes out into FOLDER."""
    from refspace.cli.demo import run_demo

    run_demo(folder, resolution)


for command in (
    *figures.COMMANDS,
    *spaces.COMMANDS,
    *masks.COMMANDS,
    *meshes.COMMANDS,
    *images.COMMANDS,
    *analysis.COMMANDS,
    *ontology.COMMANDS,
    *places.COMMANDS,
    *stores.COMMANDS,
    *index.COMMANDS,
    *info.COMMANDS,
    *export.COMMANDS,
    *fetch.COMMANDS,
    *atlases.COMMANDS,
    *completion.COMMANDS,
    *view.COMMANDS,
):
    main.add_command(command)
