"""Structures from files: trees in JSON and XML, tables of text and Parquet, look-up tables."""

from refspace.formats.structures.read import parse_structures, read_structures

__all__ = ["parse_structures", "read_structures"]
