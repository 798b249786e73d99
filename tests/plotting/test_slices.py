"""Slices: what is up is up, colours are exact, names fit, and no more than the slice is read."""

import itertools

import dask
import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.pictures import GRID, fill, lines_of, names_of, pixels, spotted
from helpers.volumes import CountingSource
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import refspace
from refspace.errors import AnnotationError, GridError, PositionError, StructureNotFoundError
from refspace.labels import labelled

SPACE = refspace.phantom(resolution=200)


# ----- upright, in any order of storage


@pytest.mark.parametrize(
    ("orientation", "frame"),
    [("PIR", "PIR"), ("RAS", "PIR"), ("RAS", "RAS"), ("LPI", "RAS"), ("SLA", "LPS")],
)
@pytest.mark.parametrize("axis", ["coronal", "horizontal", "sagittal"])
def test_superior_and_anterior_are_up_and_sides_are_named(
    orientation: str, frame: str, axis: str
) -> None:
    space = spotted(orientation, frame)
    dim = {"coronal": "ap", "horizontal": "dv", "sagittal": "ml"}[axis]
    ax = space.plot.slice(axis, space.centroid("spot")[dim])
    shown = pixels(ax)
    rows, columns = np.nonzero((shown[..., :3] == [255, 0, 0]).all(axis=-1))
    # Superior is up; in a horizontal slice anterior is, and the spot is posterior.
    assert rows.tolist() == [shown.shape[0] - 1 if axis == "horizontal" else 0]
    is_right = columns.tolist() == [shown.shape[1] - 1]
    sides = ax.get_title("left"), ax.get_title("right")
    if axis == "sagittal":
        assert sides == ("A", "P")
        assert is_right
    else:
        # The frame decides: its coordinates grow to the right.
        assert sides == (("R", "L") if frame == "LPS" else ("L", "R"))
        assert is_right is (frame != "LPS")


@pytest.mark.parametrize("orientation", ["PIR", "LSA"])
def test_along_the_axes_are_the_coordinates_of_the_space(orientation: str) -> None:
    space = spotted(orientation, "RAS")
    where = space.centroid("spot")
    ax = space.plot.slice("coronal", where["ap"])
    image = fill(ax)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == space.grid.edges("ml")
    assert (bottom, top) == space.grid.edges("dv")
    array = np.asarray(image.get_array())
    row = int((where["dv"] - bottom) / (top - bottom) * array.shape[0])
    column = int((where["ml"] - left) / (right - left) * array.shape[1])
    assert array[row, column, :3].tolist() == [255, 0, 0]
    assert ax.get_xlabel() == "ml [mm] → right"
    assert ax.xaxis.get_major_formatter()(1500) == "1.5"


# ----- colours


@pytest.mark.parametrize("axis", ["ap", "dv", "ml"])
def test_colours_are_those_of_get_slice_image(axis: str) -> None:
    position = sum(SPACE.grid.edges(axis)) / 2
    image = SPACE.get_slice_image(axis, position)
    shown = pixels(SPACE.plot.slice(axis))
    expected = image.transpose("dv", "ap", "rgb").values if axis == "ml" else image.values
    inside = shown[..., 3] > 0
    np.testing.assert_array_equal(shown[inside][:, :3], expected[inside])
    assert (expected[~inside] == 0).all()
    labels = SPACE.annotation.isel({axis: SPACE.grid.index(axis, position)})
    assert inside.sum() == int((labels != 0).sum())


def test_unknown_labels_are_magenta_and_ids_are_exact() -> None:
    big = 2**32 - 1
    tree = refspace.StructureTree(
        [
            {"id": i, "acronym": str(i), "structure_id_path": [i], "rgb_triplet": [1, 2, i % 251]}
            for i in (big, big - 1, 2**24, 2**24 + 1)
        ]
    )
    labels = np.array([[[big, big - 1, 2**24, 2**24 + 1, 77, 0]]], "u4")
    space = refspace.ReferenceSpace(tree, labelled(labels, refspace.Grid((1, 1, 6), (10,) * 3)))
    shown = pixels(space.plot.slice("coronal", labels=False))[0]
    expected = [[1, 2, i % 251, 255] for i in labels[0, 0, :4].tolist()]
    assert shown.tolist() == [*expected, [255, 0, 255, 255], [0, 0, 0, 0]]


def test_structures_are_coloured_as_a_whole() -> None:
    ax = SPACE.plot.slice("coronal", 7000, structures=["Isocortex", "TH"])
    tree, shown = SPACE.structure_tree, pixels(ax).copy()
    labels = SPACE.annotation.isel(ap=35).values
    for acronym in ("Isocortex", "TH"):
        (node,) = tree.get_structures_by_acronym([acronym])
        inside = np.isin(labels, tree.descendant_ids([node["id"]])[0])
        assert inside.any()
        assert (shown[inside] == [*node["rgb_triplet"], 255]).all()
        shown[inside] = 0
    assert not shown.any()


def test_regions_with_texts_have_colours_of_a_palette() -> None:
    ax = SPACE.plot.slice("coronal", 7000, structures={"Isocortex": "cortex", "TH": "thalamus"})
    assert len(np.unique(pixels(ax).reshape(-1, 4), axis=0)) == 3
    assert {name for name, *_ in names_of(ax).placed()} == {"cortex", "thalamus"}


def test_keywords_reach_imshow() -> None:
    image = fill(SPACE.plot.slice(alpha=0.25, interpolation="nearest"))
    assert image.get_alpha() == 0.25
    assert image.get_interpolation() == "nearest"


# ----- template


def test_template_is_grey_beneath_with_contrast_of_the_brain() -> None:
    intensity = SPACE.annotation.copy(data=np.random.default_rng(0).gamma(2, 50, SPACE.grid.shape))
    ax = SPACE.plot.slice("coronal", 7000, template=intensity)
    below, above = sorted(ax.get_images(), key=lambda image: image.zorder)
    assert above.get_alpha() == 0.5
    plane = intensity.isel(ap=35).values
    inside = (SPACE.annotation.isel(ap=35) != 0).values
    low, high = np.percentile(plane[inside], (1, 99.5))
    expected = np.clip((plane - low) / (high - low), 0, 1)
    # Rows of the image ascend with the coordinates, as those of the array do here.
    shown = np.asarray(below.get_array())
    np.testing.assert_allclose(shown[inside][:, 0], expected[inside])
    assert (shown[..., 3] == inside).all()
    # Without it the brain is grey, and its colours cover it.
    plain = SPACE.plot.slice("coronal", 7000)
    grey = min(plain.get_images(), key=lambda image: image.zorder)
    assert np.unique(np.asarray(grey.get_array())[inside][:, 0]).size == 1
    assert fill(plain).get_alpha() is None


def test_a_template_elsewhere_is_refused() -> None:
    with pytest.raises(GridError, match="the template lies on"):
        SPACE.plot.slice(template=refspace.phantom(resolution=400).annotation)


def test_a_template_without_contrast_is_drawn() -> None:
    flat = SPACE.annotation.copy(data=np.full(SPACE.grid.shape, np.nan))
    assert len(SPACE.plot.slice(template=flat).get_images()) == 2


# ----- lines


def test_lines_run_along_pixel_edges() -> None:
    ax = spotted("PIR").plot.slice("horizontal", 50, outline="spot", labels=False)
    (borders, thin), (outline, thick) = lines_of(ax)
    # The corner pixel has two inner edges: above it and left of it.
    expected = {((1500.0, 300.0), (1800.0, 300.0)), ((1500.0, 300.0), (1500.0, 400.0))}
    for lines in (borders, outline):
        drawn = {tuple(map(tuple, np.round(s, 6).tolist())) for s in lines}
        assert drawn == expected
    assert thick > thin


def test_every_inner_edge_is_drawn_once() -> None:
    ax = SPACE.plot.slice("coronal", 7000)
    ((lines, _),) = lines_of(ax)
    labels = SPACE.annotation.isel(ap=35).values
    edges = (labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum()
    assert np.abs(np.diff(lines, axis=1)).sum() == pytest.approx(edges * 200)


# ----- names


@pytest.mark.parametrize("axis", ["coronal", "sagittal"])
def test_names_are_within_their_regions_and_not_over_one_another(axis: str) -> None:
    figure = plt.figure(figsize=(8, 6))
    ax = SPACE.plot.slice(axis, structures=SPACE.structure_tree.regions(depth=5), ax=figure)
    figure.canvas.draw()
    placed = names_of(ax).placed()
    assert len(placed) > 4
    boxes = []
    left, right, bottom, top = fill(ax).get_extent()
    image = np.asarray(fill(ax).get_array())
    for name, size, x, y in placed:
        (node,) = SPACE.structure_tree.get_structures_by_acronym([name])
        # Less than letters of this font take.
        height, width = size * 0.7 * figure.dpi / 72, len(name) * size * 0.25 * figure.dpi / 72
        boxes.append((x, y, x + width, y + height))
        corners = ax.transData.inverted().transform([(x, y), (x + width, y + height)])
        columns = (corners[:, 0] - left) / (right - left) * image.shape[1]
        rows = (corners[:, 1] - bottom) / (top - bottom) * image.shape[0]
        part = image[int(min(rows)) : int(max(rows)) + 1, int(min(columns)) : int(max(columns)) + 1]
        assert part.size
        assert (part == [*node["rgb_triplet"], 255]).all(), name
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(boxes, 2):
        assert c <= e or g <= a or d <= f or h <= b


def test_more_is_named_where_there_is_more_room() -> None:
    counts = []
    for width in (1, 5):
        figure = plt.figure(figsize=(width, width))
        ax = SPACE.plot.slice(ax=figure)
        figure.canvas.draw()
        counts.append(len(names_of(ax).placed()))
    assert counts[0] < counts[1]
    assert {size for _, size, *_ in names_of(ax).placed()} <= {5, 6, 7}
    # What is out of sight is not named.
    ax.set_xlim(0, 100)
    assert names_of(ax).placed() == []


def test_names_hold_no_markup() -> None:
    tree = refspace.StructureTree(
        [{"id": 1, "acronym": "$x_{\x1b$", "structure_id_path": [1], "rgb_triplet": [9, 9, 9]}]
    )
    space = refspace.ReferenceSpace(tree, labelled(np.ones(GRID.shape, "u4"), GRID))
    ax = space.plot.slice()
    ax.figure.canvas.draw()
    assert [name for name, *_ in names_of(ax).placed()] == ["$x_{\\x1b$"]


def test_no_names() -> None:
    assert names_of(SPACE.plot.slice(labels=False)) is None


# ----- panels


def test_panels_have_one_scale_and_one_bar() -> None:
    axes = SPACE.plot.slice("coronal", [4000, 7000, 9000, 10000, 11000])
    assert axes.shape == (5,)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes}) == 1
    bars = [[a for a in ax.artists if isinstance(a, AnchoredSizeBar)] for ax in axes]
    assert [len(bar) for bar in bars] == [0, 0, 0, 0, 1]
    assert [ax.get_title() for ax in axes][:2] == ["ap = 4 mm", "ap = 7 mm"]
    assert axes[0].figure.get_figwidth() == pytest.approx(180 / 25.4)


@pytest.mark.parametrize("count", [1, 2])
def test_axes_and_figures_that_are_given(count: int) -> None:
    figure, axes = plt.subplots(1, count, squeeze=False)
    drawn = SPACE.plot.slice("coronal", [4000, 7000][:count], ax=axes)
    assert [*drawn] == [*axes[0]]
    single = SPACE.plot.slice("coronal", 4000, ax=axes[0, 0])
    assert single is axes[0, 0]
    assert SPACE.plot.slice(ax=Figure()).figure.axes
    assert SPACE.plot.slice(ax=figure.subfigures()) in figure.axes
    with pytest.raises(GridError, match=f"there are {count} axes for 3 positions"):
        SPACE.plot.slice("coronal", [1000, 2000, 3000], ax=axes)


def test_scale_bar_is_as_long_as_it_says() -> None:
    ax = SPACE.plot.slice("coronal")
    ax.figure.canvas.draw()
    (bar,) = (a for a in ax.artists if isinstance(a, AnchoredSizeBar))
    assert bar.txt_label.get_text() == "2 mm"
    (line,) = bar.size_bar.get_children()
    assert line.get_width() == 2000
    drawn = np.ptp(line.get_window_extent().intervalx) - line.get_linewidth() * 100 / 72
    per_bar = np.ptp(ax.transData.transform([(0, 0), (2000, 0)])[:, 0])
    assert drawn == pytest.approx(per_bar, abs=2)


def test_middle_is_that_of_the_structures() -> None:
    ax = SPACE.plot.slice("coronal", structures="VISp")
    assert ax.get_title() == f"coronal, ap = {SPACE.centroid('VISp')['ap'] / 1000:.3f} mm"
    # A sagittal plane between the hemispheres would show none of it.
    ax = SPACE.plot.slice("sagittal", structures="VISp")
    assert pixels(ax).any()
    assert SPACE.plot.slice("sagittal").get_title() == "sagittal, ml = 5.7 mm"
    right = SPACE.hemisphere("right").plot.slice("sagittal", structures="VISp")
    assert pixels(right).any()


def test_positions_are_spread_through_structures() -> None:
    low, high = SPACE.bounds("TH").positions["ap"]
    positions = SPACE.plot.positions("coronal", 3, "TH")
    np.testing.assert_allclose(np.diff(positions), (high - low) / 3)
    assert positions.mean() == pytest.approx((low + high) / 2)
    with pytest.raises(GridError, match="count is 0"):
        SPACE.plot.positions("coronal", 0)


def test_units() -> None:
    assert SPACE.plot.slice("ap", 7, unit="mm").get_title() == "coronal, ap = 7 mm"
    assert SPACE.plot.slice(0, 35, unit="voxel").get_title() == "coronal, ap = 7.1 mm"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"axis": "oblique"}, GridError, "no axis 'oblique'; choose ap, dv, ml, coronal, horizontal, sagittal, 0"),
        ({"position": -30}, PositionError, "is outside the volume"),
        ({"position": []}, GridError, r"position is \[\]; give one along ap, like 6600"),
        ({"position": "front"}, GridError, "position is front"),
        ({"structures": "VISpp"}, StructureNotFoundError, "did you mean VISp"),
        ({"structures": "retina"}, AnnotationError, "no voxels"),
        ({"unit": "m"}, GridError, "unit is 'm'"),
    ],
)
def test_what_cannot_be_drawn(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        SPACE.plot.slice(**arguments)
    assert plt.get_fignums() == []


def test_a_plane_of_nothing_is_drawn() -> None:
    space = spotted("PIR").with_volume(spotted("PIR").volume.hemisphere("left"))
    ax = space.plot.slice("sagittal", 1700)
    assert not pixels(ax).any()
    assert sorted(ax.get_xlim()) == [0, 400]


# ----- what is read


def test_each_chunk_of_the_planes_is_read_once() -> None:
    chunks = ((17, 17, 17, 15), (20, 20), (30, 27))
    labels = CountingSource(SPACE.annotation.values)
    template = CountingSource(np.random.default_rng(0).random(SPACE.grid.shape))
    space = refspace.ReferenceSpace(
        SPACE.structure_tree,
        SPACE.annotation.copy(data=labels.dask(chunks)),
        template=SPACE.annotation.copy(data=template.dask(chunks)),
    )
    expected = {(ap, dv, ml): 1 for ap in (1, 2) for dv in (0, 1) for ml in (0, 1)}
    with dask.config.set(scheduler="synchronous"):
        space.plot.slice("coronal", [4000, 4500, 8000, 4000], outline="TH")
    for source in (labels, template):
        assert source.chunk_reads(chunks) == expected
