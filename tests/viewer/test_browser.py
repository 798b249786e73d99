"""The viewer in a real browser: its pixels are those of slices, its sides are right."""

import functools
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.browser import ViewerPage, chromium, until
from helpers.servers import nginx
from numpy.typing import NDArray

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.formats.meshes import write_neuroglancer_meshes
from refspace.viewer.export import write_neuroglancer
from refspace.viewer.server import Server
from refspace.viewer.viewing import View

pytestmark = pytest.mark.browser

# Of each pane: what it cuts, what lies across and down, and the directions of both on the screen.
PANES = {
    "coronal": ("ap", ("ml", "R"), ("dv", "I")),
    "horizontal": ("dv", ("ml", "R"), ("ap", "P")),
    "sagittal": ("ml", ("ap", "A"), ("dv", "I")),
}
SIDES = {
    "coronal": {"left": "L", "right": "R", "top": "D", "bottom": "V"},
    "horizontal": {"left": "L", "right": "R", "top": "A", "bottom": "P"},
    "sagittal": {"left": "P", "right": "A", "top": "D", "bottom": "V"},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def space() -> ReferenceSpace:
    """A phantom whose hemispheres differ: a structure of the right alone, and one nobody knows."""
    whole = refspace.phantom(resolution=200)
    labels = whole.annotation.copy(data=whole.annotation.values.copy())
    labels.values[20:30, 10:16, 38:46] = 4_294_967_290  # beyond what a float32 holds
    labels.values[20:30, 20:24, 10:16] = 77_777  # in no structure
    nodes = [*whole.structure_tree.nodes(), {**ROOTLESS, "rgb_triplet": [3, 250, 128]}]
    return ReferenceSpace(StructureTree(nodes), labels)


ROOTLESS = {
    "id": 4_294_967_290,
    "acronym": "<img src=x onerror=alert(1)>",
    "name": "<script>document.title='owned'</script> & co",
    "structure_id_path": [4_294_967_290],
}


@pytest.fixture(scope="module")
def opened(browser: Any, space: ReferenceSpace) -> Iterator[tuple[ViewerPage, View]]:
    """A page of it that several tests look at, each from where the one before has left it."""
    with space.view(browser=False) as view:
        page = open_page(browser, view)
        yield page, view
        page.close()


def open_page(browser: Any, view: View) -> ViewerPage:
    page = ViewerPage(browser, view.url)
    page.bare()
    return page


def differing(page: ViewerPage, space: ReferenceSpace, cmap: Any = None) -> dict[str, float]:
    """Part of the voxels of each pane whose pixel has another colour than `get_slice_image`."""
    pixels, place = page.pixels(), page.place
    planes = {
        name: differing_in_pane(space, pane, pixels, place, name, cmap)
        for name, pane in zip(PANES, page.panes, strict=True)
    }
    return {name: part for name, part in planes.items() if part}


def differing_in_pane(
    space: ReferenceSpace,
    pane: dict[str, Any],
    pixels: NDArray[np.uint8],
    place: dict[str, Any],
    name: str,
    cmap: Any,
) -> float:
    cut, across, down = PANES[name]
    image = space.get_slice_image(cut, place["position"][cut], cmap)
    image = image.transpose(down[0], across[0], "rgb")
    middle = {"x": pane["x"] + pane["width"] / 2, "y": pane["y"] + pane["height"] / 2}
    columns = middle["x"] + on_screen(space, image, across, place)
    rows = middle["y"] + on_screen(space, image, down, place)
    inside_x = (columns > pane["x"] + 2) & (columns < pane["x"] + pane["width"] - 2)
    inside_y = (rows > pane["y"] + 2) & (rows < pane["y"] + pane["height"] - 2)
    assert inside_x.all(), f"{name}: the volume is wider than the pane"
    assert inside_y.all(), f"{name}: the volume is higher than the pane"
    shown = pixels[rows.astype(int)[:, None], columns.astype(int)[None]]
    return float((shown != image.values).any(axis=-1).mean())


def on_screen(
    space: ReferenceSpace, image: xr.DataArray, axis: tuple[str, str], place: dict[str, Any]
) -> NDArray[np.float64]:
    """Pixels from the middle of a pane to the centre of each voxel along an axis."""
    dim, direction = axis
    grows = space.grid.frame[space.grid.frame_dims.index(dim)]
    sign = 1 if grows == direction else -1
    offsets: NDArray[np.float64] = image[dim].values - place["position"][dim]
    return sign * offsets / place["zoom"]


def test_pixels_of_every_pane_are_those_of_slices(
    opened: tuple[ViewerPage, View], space: ReferenceSpace
) -> None:
    page, view = opened
    assert until(lambda: differing(page, space)) == {}
    check_sides(page)
    page.keep_picture("annotation")
    # Nothing has asked for anything but this server.
    assert page.hosts == {view.url.split("/")[2]}
    assert page.errors == []
    assert view.notes == ()


def check_sides(page: ViewerPage) -> None:
    for name, pane in zip(PANES, page.panes, strict=True):
        assert {**pane["sides"], "plane": ""} == {**SIDES[name], "plane": ""}


# The world of NIfTI, and a frame that no rotation takes to that or to Allen's.
@pytest.mark.parametrize("frame", ["RAS", "RPS"])
def test_sides_and_pixels_are_right_in_other_frames(
    browser: Any, space: ReferenceSpace, frame: str
) -> None:
    shown = space.in_frame(frame)
    with shown.view(browser=False) as view:
        page = open_page(browser, view)
        assert until(lambda: differing(page, shown)) == {}
        check_sides(page)
        page.keep_picture(f"annotation_{frame}")
        page.close()


def test_a_parent_highlights_its_subtree_alone(
    opened: tuple[ViewerPage, View], space: ReferenceSpace
) -> None:
    page, _ = opened
    tree = space.structure_tree
    # The planes move to where it has voxels: the whole volume is still to be seen.
    page.frame.evaluate("viewer.navigationState.zoomFactor.value *= 1.9")
    before = page.place
    page.page.fill("#search", "isocortex")
    page.page.click(".row >> nth=0")
    assert page.page.inner_text("#what") == "Isocortex"
    ids = set(tree.descendant_ids(tree.resolve("Isocortex"))[0])
    unknown = {77_777: (0, 0, 0)}
    cmap = {i: rgb if i in ids else (0, 0, 0) for i, rgb in tree.get_colormap().items()}
    assert until(lambda: page.place == before) is False
    assert until(lambda: differing(page, space, cmap | unknown)) == {}
    at = np.array([[page.place["position"][dim] for dim in space.grid.dims]])
    assert int(space.structure_at(at)[0]) in ids
    page.keep_picture("isocortex")
    page.page.click("#all")
    assert until(lambda: differing(page, space)) == {}


def test_names_under_the_mouse_and_hostile_names(
    opened: tuple[ViewerPage, View], space: ReferenceSpace
) -> None:
    page, _ = opened
    for label, expected in {4_294_967_290: ROOTLESS["name"], 77_777: "unknown id"}.items():
        inside = (space.annotation == label).values.nonzero()
        voxel = [int(axis[len(axis) // 2]) for axis in inside]
        place = [float(space.annotation[d][i]) for d, i in zip(space.grid.dims, voxel, strict=True)]
        move_to(page, dict(zip(space.grid.dims, place, strict=True)))
        assert until(functools.partial(lacks, page, expected)) is False
    page.page.fill("#search", "script")
    assert ROOTLESS["name"] in page.page.inner_text("#tree")
    assert page.page.locator("#tree script, #tree img").count() == 0
    assert page.page.title() == "annotation · 200 µm · refspace"
    assert page.errors == []


def lacks(page: ViewerPage, text: str) -> bool:
    """Whether what is said of the voxel under the mouse lacks a text."""
    return text not in page.page.inner_text("#hover")


def move_to(page: ViewerPage, place: dict[str, float]) -> None:
    """Cut at a place, and put the mouse on it in the coronal pane."""
    names = ["ml", "dv", "ap"]
    page.frame.evaluate(
        "at => viewer.navigationState.position.value = Float32Array.from(at)",
        [place[name] for name in names],
    )
    pane = page.panes[0]
    box = page.page.locator("#view").bounding_box()
    x, y = box["x"] + pane["x"] + pane["width"] / 2, box["y"] + pane["y"] + pane["height"] / 2
    page.page.mouse.move(x - 5, y)
    page.page.mouse.move(x, y)


def test_values_of_hemispheres_with_their_legend(browser: Any, space: ReferenceSpace) -> None:
    table = pd.DataFrame({"left": [0.0, np.nan], "right": [10.0, 5.0]}, index=["Isocortex", "CB"])
    with space.view(values=table, browser=False) as view:
        page = open_page(browser, view)
        page.page.wait_for_selector("#legend:not([hidden])")
        ends = [page.page.inner_text(f"#legend-{end}") for end in ("low", "high")]
        assert ends == ["0", "10"]
        iso = set(space.structure_tree.descendant_ids(space.structure_tree.resolve("Isocortex"))[0])
        assert until(lambda: wrong_values(page, space, iso)) == []
        page.keep_picture("values")
        page.close()


def wrong_values(page: ViewerPage, space: ReferenceSpace, iso: set[int]) -> list[str]:
    """What is wrong in the coronal pane: sides in their colours, the rest hatched, else black."""
    pane, place, pixels = page.panes[0], page.place, page.pixels().astype(int)
    plane = space.annotation.sel(ap=place["position"]["ap"], method="nearest")
    plane = plane.transpose("dv", "ml")
    x = pane["x"] + pane["width"] / 2 + (plane.ml.values - place["position"]["ml"]) / place["zoom"]
    y = pane["y"] + pane["height"] / 2 + (plane.dv.values - place["position"]["dv"]) / place["zoom"]
    shown = pixels[y.astype(int)[:, None], x.astype(int)[None]]
    is_iso = np.isin(plane.values, [*iso])
    is_left = np.broadcast_to(plane.ml.values <= space.midline, plane.shape)
    grey = (shown.max(axis=-1) == shown.min(axis=-1)) & (shown[..., 0] > 80)
    faults = {
        "left": (np.abs(shown[is_iso & is_left] - [68, 1, 84]) > 1).any(),
        "right": (np.abs(shown[is_iso & ~is_left] - [253, 231, 37]) > 1).any(),
        "no value": not grey[(plane.values != 0) & ~is_iso].all(),
        "outside": shown[plane.values == 0].any(),
    }
    return [name for name, is_wrong in faults.items() if is_wrong]


def test_points_images_and_template(browser: Any, space: ReferenceSpace) -> None:
    ramp = space.annotation.copy(data=np.zeros(space.annotation.shape, "f4"))
    ramp.values[..., : ramp.shape[2] // 2] = 100.0  # the left half
    shown = ReferenceSpace(space.structure_tree, space.annotation, template=ramp)
    middle = [float(space.annotation[d][space.annotation.sizes[d] // 2]) for d in space.grid.dims]
    with shown.view(points=np.array([middle]), opacity=0, browser=False) as view:
        page = open_page(browser, view)
        assert until(lambda: template_faults(page)) == []
        page.keep_picture("template_and_point")
        page.close()


def template_faults(page: ViewerPage) -> list[str]:
    """What is wrong in the coronal pane: the left half is white, a point is in the middle."""
    pane, pixels = page.panes[0], page.pixels()
    x, y = round(pane["x"] + pane["width"] / 2), round(pane["y"] + pane["height"] / 2)
    faults = {
        "point": not (pixels[y, x, 0] > 200 and pixels[y, x, 2] < 60),
        "left": pixels[y, x - 60].min() < 250,
        "right": pixels[y, x + 60].max() > 5,
    }
    return [name for name, is_wrong in faults.items() if is_wrong]


@pytest.mark.parametrize("cors", [True, False])
def test_a_store_on_another_machine_is_read_from_there_where_it_may(
    browser: Any, stored: Path, tmp_path: Path, cors: bool
) -> None:
    with nginx(stored.parent, tmp_path, cors=cors) as host:
        space = refspace.open(f"{host}/{stored.name}")
        with space.view(browser=False) as view:
            page = open_page(browser, view)
            assert until(lambda: differing(page, space)) == {}
            here, there = view.url.split("/")[2], host.split("/")[2]
            assert page.hosts == ({here, there} if cors else {here})
            page.close()


def test_a_state_that_is_hosted_beside_a_store(browser: Any, stored: Path, tmp_path: Path) -> None:
    space = refspace.open(stored)
    with nginx(stored.parent, tmp_path, cors=True) as host:
        folder = stored.with_name("look")
        write_neuroglancer(space, folder, f"{host}/{stored.name}", f"{host}/look", with_meshes=True)
        write_neuroglancer_meshes(folder / "meshes", {549: space.mesh("TH")})
        state = json.loads((folder / "state.json").read_text())
        state["layers"][0]["segments"] = ["549"]
        server = Server(connect=(host,))
        server.show(state)
        page = browser.new_page(viewport={"width": 900, "height": 640})
        page.goto(f"{server.url}v/view/")
        # The thalamus, in its colour in the pane of three dimensions.
        assert until(lambda: not has_color(page, (255, 112, 128))) is False
        page.close()
        server.close()


def test_the_template_of_a_state_that_is_hosted(browser: Any, tmp_path: Path) -> None:
    whole = refspace.phantom(resolution=400).in_frame("RAS")
    ramp = whole.annotation.copy(data=np.zeros(whole.annotation.shape, "f4"))
    # The right half is bright; some way from world 0, and in chunks.
    ramp.values[..., whole.annotation.ml.values > whole.midline] = 100.0
    space = ReferenceSpace(whole.structure_tree, whole.annotation, template=ramp)
    space.to_zarr(tmp_path / "brain.zarr", chunks=16)
    with nginx(tmp_path, tmp_path, cors=True) as host:
        write_neuroglancer(space, tmp_path / "look", f"{host}/brain.zarr", f"{host}/look")
        state = json.loads((tmp_path / "look" / "state.json").read_text())
        state["layers"][1]["selectedAlpha"] = 0
        server = Server(connect=(host,))
        server.show(state)
        page = browser.new_page(viewport={"width": 900, "height": 640})
        page.goto(f"{server.url}v/view/")
        # The coronal pane is the upper left one, and the middle of the brain in its middle.
        assert until(lambda: not (grey_at(page, 150) < 5 and grey_at(page, 300) > 250)) is False
        page.close()
        server.close()


def grey_at(page: Any, x: int) -> int:
    """How bright a pixel of a page is, in the middle of its upper panes."""
    from PIL import Image

    return Image.open(io.BytesIO(page.screenshot())).convert("L").getpixel((x, 200))


def has_color(page: Any, color: tuple[int, int, int]) -> bool:
    """Whether the lower right quarter, that of three dimensions, has a colour's hue."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(float)
    quarter = pixels[360:, 480:].reshape(-1, 3)
    lit = quarter[quarter.max(axis=1) > 40]
    share = lit / lit.max(axis=1, keepdims=True)
    return bool((np.abs(share - np.array(color) / max(color)).max(axis=1) < 0.1).sum() > 200)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the phantom, which is not to be changed."""
    url = tmp_path_factory.mktemp("hosted") / "brain.zarr"
    refspace.phantom(resolution=200).to_zarr(url, chunks=32)
    return url


def test_a_damaged_chunk_that_the_page_reads_itself(
    browser: Any, stored: Path, tmp_path: Path
) -> None:
    store = tmp_path / "brain.zarr"
    shutil.copytree(stored, store)
    for chunk in (store / "s0" / "annotation" / "c").rglob("*"):
        if chunk.is_file():
            data = bytearray(chunk.read_bytes())
            data[len(data) // 2] ^= 0x55
            chunk.write_bytes(data)
    with nginx(tmp_path, tmp_path, cors=True) as host:
        space = refspace.open(f"{host}/brain.zarr")
        with space.view(browser=False) as view:
            page = open_page(browser, view)
            page.page.wait_for_selector("#notes li")
            assert f"{host}/brain.zarr cannot be read" in page.page.inner_text("#notes")
            page.close()


def test_keys_move_and_choose_in_the_tree(browser: Any, space: ReferenceSpace) -> None:
    with space.view(browser=False) as view:
        page = open_page(browser, view)
        page.page.fill("#search", "cortex")
        rows = page.page.locator(".row .name").all_inner_texts()
        page.page.press("#search", "ArrowDown")
        for key, row in (("Enter", 0), ("ArrowDown", 0), (" ", 1)):
            page.page.keyboard.press(key)
            assert page.page.inner_text("#what").startswith(rows[row])
        for key in ("ArrowUp", "ArrowUp"):
            page.page.keyboard.press(key)
        assert page.page.evaluate("document.activeElement.id") == "search"
        # In a narrow window the panes lie below the tree.
        page.page.set_viewport_size({"width": 420, "height": 800})
        assert page.page.locator("main").bounding_box()["width"] == 420
        page.close()


def test_a_damaged_chunk_is_told_in_the_page(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("damaged") / "brain.zarr"
    refspace.phantom(resolution=400).to_zarr(store, chunks=16)
    space = refspace.open(store)
    for chunk in (store / "s0" / "annotation" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\x00" * chunk.stat().st_size)
    with space.view(browser=False) as view:
        page = open_page(browser, view)
        page.page.wait_for_selector("#notes li")
        assert "annotation" in page.page.inner_text("#notes")
        page.close()
    assert view.notes
