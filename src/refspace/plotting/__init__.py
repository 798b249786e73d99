"""Pictures of reference spaces, drawn with matplotlib (the ``plot`` extra)."""
