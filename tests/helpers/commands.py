"""The command line, run in this process."""

from click.testing import CliRunner, Result

from refspace.cli import main


def run(*words: object) -> Result:
    """Run the command ``refspace``."""
    return CliRunner().invoke(main, [str(word) for word in words])
