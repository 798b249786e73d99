"""What all volumes of the Allen CCF have in common, whoever serves them."""

# Their headers say otherwise; their voxels run to posterior, inferior, right.
ORIENTATION = "PIR"
CITATION = "Wang et al. 2020, Cell 181(4), 936-953, https://doi.org/10.1016/j.cell.2020.04.007"
LICENCE = "https://alleninstitute.org/legal/terms-use/"
