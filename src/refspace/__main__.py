"""Runs the command line: ``python -m refspace``."""

from refspace.cli import main

if __name__ == "__main__":
    main(prog_name="python -m refspace")
