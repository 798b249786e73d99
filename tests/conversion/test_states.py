"""Whatever is done to a space and its store, in any order and through kills, plain NumPy agrees."""

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import dask
import numpy as np
import pytest
from helpers.files import names
from helpers.profiles import examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import RefspaceError
from refspace.grid import Grid
from refspace.labels import labelled

# Parent of each structure: a small tree, and ids that float32 would merge.
PARENTS = {1: None, 2: 1, 3: 1, 5: 2, 2**24: 2, 2**24 + 1: 3, 614454277: 5}
IDS = [*PARENTS]


class Killed(BaseException):
    """Stands for the end of a process: from then on it changes nothing on the disk."""


class Steps:
    """Counts changes of the disk, and lets none happen from a certain one on."""

    def __init__(self):
        self.left = None
        sys.addaudithook(self._watch)

    def _watch(self, event, args):
        if self.left is None:
            return
        writes = event != "open" or (
            isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open") and writes:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def kill_after(self, count, job):
        """Run a job that is killed before so many changes and one; whether it ended before."""
        self.left = count
        try:
            job()
        except Killed:
            return False
        except RefspaceError:
            # What a kill interrupts may be told as a full disk is, by a process that is gone.
            return False
        finally:
            self.left = None
        return True


STEPS = Steps()


def path_to(structure, parents):
    above = parents[structure]
    return [structure] if above is None else [*path_to(above, parents), structure]


def tree_of(parents):
    return StructureTree(
        {"id": i, "acronym": f"s{i}", "name": f"structure {i}", "rgb_triplet": [1, 2, 3]}
        | {"structure_id_path": path_to(i, parents)}
        for i in parents
    )


def subtree(structure, parents):
    return [i for i in parents if structure in path_to(i, parents)]


class Model:
    """The page of plain NumPy: voxels, where they begin, and the parent of each structure."""

    def __init__(self, voxels, start=(0, 0, 0), parents=PARENTS):
        self.voxels, self.start, self.parents = voxels, start, dict(parents)

    def mask(self, structure):
        return np.isin(self.voxels, subtree(structure, self.parents))

    def crop(self, structure):
        places = np.argwhere(self.mask(structure))
        low, high = places.min(axis=0), places.max(axis=0) + 1
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        start = tuple(int(a + b) for a, b in zip(self.start, low, strict=True))
        return Model(self.voxels[part], start, self.parents)

    def relabel(self, structure):
        return Model(np.where(self.mask(structure), structure, 0), self.start, self.parents)

    def prune(self, structures):
        kept = {i for s in structures for i in path_to(s, self.parents)}
        return Model(self.voxels, self.start, {i: p for i, p in self.parents.items() if i in kept})


class Spaces(RuleBasedStateMachine):
    """A space, its store, and a model of both."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.url = self.folder / "atlas.zarr"
        self.stored = None
        self.stopped = None
        self.draw(0)

    def teardown(self):
        shutil.rmtree(self.folder)

    def draw(self, seed):
        chance = np.random.default_rng(seed)
        voxels = chance.choice([0, *IDS], chance.integers(1, 7, 3)).astype("u4")
        self.model = Model(voxels)
        grid = Grid(voxels.shape, (10, 20, 30))
        self.space = ReferenceSpace(tree_of(PARENTS), labelled(voxels, grid))

    def job(self):
        """Writing the space of now, as a call that may be made again.

        What is to replace a store is in memory: a handle on one that was replaced is refused.
        """
        space = ReferenceSpace(self.space.structure_tree, self.space.annotation.compute())
        self.space = space
        return lambda **how: refspace.convert(
            space.annotation, space.structure_tree, self.url, chunks=2, threads=1, **how
        )

    # ----- what changes the space

    @rule(seed=st.integers(0, 10**6))
    def another(self, seed):
        self.draw(seed)

    @rule(structure=st.sampled_from(IDS))
    def crop(self, structure):
        if structure in self.model.parents and self.model.mask(structure).any():
            self.space, self.model = self.space.crop([structure]), self.model.crop(structure)

    @rule(structure=st.sampled_from(IDS))
    def relabel(self, structure):
        if structure in self.model.parents:
            labels = self.space.relabel([structure])
            self.space = ReferenceSpace(self.space.structure_tree, labels)
            self.model = self.model.relabel(structure)

    @rule(chosen=st.sets(st.sampled_from(IDS), min_size=1))
    def prune(self, chosen):
        kept = [structure for structure in chosen if structure in self.model.parents]
        if kept:
            self.model = self.model.prune(kept)
            nodes = self.space.structure_tree.nodes([*self.model.parents])
            self.space = ReferenceSpace(StructureTree(nodes), self.space.annotation)

    # ----- what changes the store

    @rule()
    def convert(self):
        self.job()(overwrite=True)
        self.stored, self.stopped = self.model, None

    @rule(count=st.integers(0, 120))
    def convert_and_be_killed(self, count):
        job, before = self.job(), self.stored
        if STEPS.kill_after(count, lambda: job(overwrite=True)):
            self.stored, self.stopped = self.model, None
            return
        self.stopped = job, self.model
        if not self.url.exists():
            self.stored = None
            return
        # The old one or the new one, whole.
        found = refspace.open(self.url)
        allowed = [model for model in (before, self.model) if model is not None]
        (self.stored, *_) = [model for model in allowed if agrees(found, model)]

    @precondition(lambda self: self.stopped is not None)
    @rule()
    def resume(self):
        self.job()
        job, model = self.stopped
        job(overwrite=True)
        self.stored, self.stopped = model, None
        assert names(self.folder) == ["atlas.zarr"]

    @precondition(lambda self: self.stored is not None)
    @rule()
    def reopen(self):
        self.space, self.model = refspace.open(self.url), self.stored

    @precondition(lambda self: self.stored is not None)
    @rule()
    def verify(self):
        assert refspace.verify_store(self.url, threads=1).faults == ()

    @precondition(lambda self: self.stored is not None)
    @rule(seed=st.integers(0, 10**6))
    def damage_and_verify(self, seed):
        chance = random.Random(seed)
        path = chance.choice(sorted(p for p in self.url.rglob("*") if p.is_file()))
        whole = path.read_bytes()
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        key = path.relative_to(self.url).as_posix()
        faults = {fault.key for fault in refspace.verify_store(self.url, threads=1).faults}
        assert any(key == fault or key.startswith(f"{fault}/") for fault in faults)
        path.write_bytes(whole)

    # ----- what holds at any time

    @invariant()
    def agrees_with_numpy(self):
        assert agrees(self.space, self.model)


def agrees(space, model):
    """Whether a space answers as a model does."""
    if {*space.structure_tree.node_ids()} != {*model.parents}:
        return False
    if space.annotation.shape != model.voxels.shape:
        return False
    totals = space.total_voxel_map
    starts = [float(space.annotation[dim][0]) for dim in ("ap", "dv", "ml")]
    spacing = (10, 20, 30)
    return (
        np.array_equal(space.annotation.values, model.voxels)
        and {i: int(model.mask(i).sum()) for i in model.parents} == totals
        and starts == [(n + 0.5) * s for n, s in zip(model.start, spacing, strict=True)]
        and all(
            np.array_equal(space.make_structure_mask([i]).values, model.mask(i))
            for i in [*model.parents][:2]
        )
    )


@pytest.mark.promise(
    "a space is converted, cropped, relabelled, pruned, stopped and resumed in any order",
    "counts, masks and voxels are those of plain NumPy, and stores are whole or absent",
)
@pytest.mark.usefixtures("no_sync")
def test_any_order_of_steps():
    from hypothesis.stateful import run_state_machine_as_test

    with dask.config.set(scheduler="synchronous"):
        run_state_machine_as_test(Spaces, settings=examples(40, stateful_step_count=12))
