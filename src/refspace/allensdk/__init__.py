"""AllenSDK's modules for atlases, by AllenSDK's names, made of refspace.

A script or notebook that works with reference spaces runs when ``allensdk`` is replaced by
``refspace.allensdk`` in its imports:

>>> from refspace.allensdk.core.reference_space import ReferenceSpace
>>> from refspace.allensdk.core.reference_space_cache import ReferenceSpaceCache
>>> from refspace.allensdk.config.manifest import Manifest

`StructureTree` and `ReferenceSpace` are those of refspace. The caches and the queries have
AllenSDK's names, arguments and results, and its files in the same places: a folder that one of the
two has filled, the other reads. Of AllenSDK's other modules and methods, an error says what they
take:

>>> import refspace.allensdk.brain_observatory
Traceback (most recent call last):
...
refspace.errors.MissingDependencyError: refspace.allensdk has no module brain_observatory; ...
"""

from refspace.allensdk.missing import refuse_missing_modules

refuse_missing_modules()
