"""Codecs of chunks: those that are allowed, and how each is undone within a known size."""

from refspace.store.codecs.chain import ArrayDecoder, Box
from refspace.store.codecs.metadata import array_decoder, cached_decoder

__all__ = ["ArrayDecoder", "Box", "array_decoder", "cached_decoder"]
