"""Orientation, species, citation and licence of all volumes of the Allen CCF, on any server."""

# The voxels run to posterior, inferior and right. The headers state left-posterior-superior, which
# is wrong.
ORIENTATION = "PIR"
SPECIES = "Mus musculus"
CITATION = "Wang et al. 2020, Cell 181(4), 936-953, https://doi.org/10.1016/j.cell.2020.04.007"
LICENCE = "https://alleninstitute.org/legal/terms-use/"
