"""A viewer in the browser: neuroglancer's client, served on loopback, and folders for other hosts.

`view` shows a space, `export` writes what another host needs to show a store. Nothing is
downloaded: the package ``neuroglancer`` ships the client.
"""

from refspace.viewer.view import View, view

__all__ = ["View", "view"]
