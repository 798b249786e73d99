"""The Allen CCF on any server: names, resolutions, orientation, species, citation, licence; lists.

No request is made, and no array library needed, to say which volumes there are.
"""

import itertools
from collections.abc import Iterator

from refspace.sources.source import AtlasEntry, Request

# The voxels run to posterior, inferior and right. The headers state left-posterior-superior, which
# is wrong.
ORIENTATION = "PIR"
SPECIES = "Mus musculus"
CITATION = "Wang et al. 2020, Cell 181(4), 936-953, https://doi.org/10.1016/j.cell.2020.04.007"
LICENCE = "https://alleninstitute.org/legal/terms-use/"
# Of the Allen Institute's archive.
VERSIONS = ("ccf_2015", "ccf_2016", "ccf_2017")
RESOLUTIONS = (10, 25, 50, 100)
# Of the Allen Brain Cell Atlas.
ABC_NAME, ABC_RELEASE, ABC_RESOLUTION = "ccf_2020", "20230630", 10


def list_allen(request: Request) -> Iterator[AtlasEntry]:
    """List what the archive has; no request is made.

    Parameters
    ----------
    request
        Without options.
    """
    request.check_options(())
    for version, resolution in itertools.product(VERSIONS, RESOLUTIONS):
        yield AtlasEntry(version, resolution=float(resolution), species=SPECIES)


def list_abc(request: Request) -> Iterator[AtlasEntry]:
    """List what the bucket has; no request is made.

    Parameters
    ----------
    request
        Without options.
    """
    request.check_options(())
    yield AtlasEntry(ABC_NAME, ABC_RELEASE, float(ABC_RESOLUTION), SPECIES)
