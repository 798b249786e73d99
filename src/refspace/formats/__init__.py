"""File formats of volumes, structures, tables and meshes: one module or folder each."""
