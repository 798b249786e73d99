"""Help texts: whole sentences, and examples that can be run as they are printed."""

import click

# More than any sentence has.
_LONGEST = 1000


def examples(*commands: str) -> str:
    r"""Text below the options of a command, as its ``epilog``: examples of how it is called.

    Parameters
    ----------
    *commands
        Each one example, which runs in the folder where ``refspace demo`` was run. A longer one
        has several lines, with a backslash at the end of each but the last.

    Examples
    --------
    >>> examples("refspace list").splitlines()[1:]
    ['Examples:', '  refspace list']
    """
    lines = [f"  {line}" for command in commands for line in _indented(command)]
    # The sign by which click keeps the lines of a paragraph.
    return "\n".join(["\b", "Examples:", *lines])


def _indented(command: str) -> list[str]:
    first, *others = (line.strip() for line in command.splitlines())
    return [first, *(f"    {line}" for line in others)]


class WholeSentences(click.Group):
    """Group whose list of commands has the whole first sentence of each."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, over several lines where a sentence is long."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(_LONGEST)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
