"""Lazy verbs on annotation volumes: DataArray in, DataArray out, nothing read on the way."""
