"""Codecs of chunks: those that are allowed, and how each is undone within a known size."""

from refspace.store.codecs.arrays import ArrayDecoder, array_decoder

__all__ = ["ArrayDecoder", "array_decoder"]
