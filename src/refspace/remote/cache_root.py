"""The folder of this user for what is kept of other machines: downloads, stores, label indices."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "REFSPACE_CACHE"


def default_root() -> Path:
    """Folder of the cache that is used by default.

    Examples
    --------
    >>> default_root().is_absolute() or CACHE_VARIABLE in os.environ
    True
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    return platformdirs.user_cache_path("refspace", appauthor=False)
