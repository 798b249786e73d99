"""The command line. Every command is a few lines over the library."""

from refspace.cli.main import main

__all__ = ["main"]
