// The page around the panes: tree of structures, legend, names under the mouse, sides of the panes.
"use strict";

const $ = (id) => document.getElementById(id);
const LETTERS = { ap: "AP", dv: "SI", ml: "LR" };
const SHOWN = { A: "A", P: "P", S: "D", I: "V", L: "L", R: "R" };
const PLANES = { ap: "coronal", dv: "horizontal", ml: "sagittal" };
// More rows than these make no list that anybody reads.
const MOST_FOUND = 300;

// The client's numbers of a source: of chunks that failed to load, in its three tiers.
const STATISTICS = 74;
const FAILED = [54, 57, 60];

const structures = new Map();
let roots = [];
let about = {};
let chosen = null;
let mostFailed = 0;

async function json(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// ----- neuroglancer, in the frame

function client() {
  return $("view").contentWindow.viewer;
}

function layer(name) {
  return client()?.layerManager?.getLayerByName(name)?.layer ?? undefined;
}

function annotation() {
  const found = layer("annotation");
  return found?.displayState ? found : undefined;
}

function until(ready) {
  return new Promise((resolve) => {
    const look = () => {
      let found;
      try {
        found = ready();
      } catch {
        found = undefined;
      }
      if (found) resolve(found);
      else setTimeout(look, 50);
    };
    look();
  });
}

function showSegments(ids) {
  const group = annotation().displayState.segmentationGroupState.value;
  group.selectedSegments.clear();
  group.visibleSegments.clear();
  group.restoreState({ segments: ids.map(String) });
}

// ----- the tree

function subtree(id) {
  const found = [id];
  for (const next of found) found.push(...structures.get(next).children);
  return found;
}

function label({ acronym, name }) {
  return acronym && acronym !== name ? `${name} (${acronym})` : name;
}

async function choose(id) {
  chosen = id;
  const { selectedAlpha } = annotation().displayState;
  if (id !== null && selectedAlpha.value === 0) {
    // Values are beneath, and a structure that is chosen is to be seen.
    selectedAlpha.value = 0.5;
    $("opacity").value = 0.5;
  }
  showSegments(id === null ? [] : subtree(id));
  $("what").textContent = id === null ? "all structures" : label(structures.get(id));
  $("all").hidden = id === null;
  for (const row of document.querySelectorAll(".row")) {
    const isChosen = row.dataset.id === String(id);
    row.classList.toggle("chosen", isChosen);
    row.setAttribute("aria-selected", String(isChosen));
  }
}

async function go(id) {
  const place = await json(`page/place/${id}`);
  if (place === null || chosen !== id) return;
  const navigation = client().navigationState;
  const names = navigation.coordinateSpace.value.names;
  const position = Float32Array.from(navigation.position.value);
  for (const [dim, value] of Object.entries(place)) position[names.indexOf(dim)] = value;
  navigation.position.value = position;
}

function row(structure, depth, hasChildren) {
  const element = document.createElement("div");
  element.className = "row";
  element.dataset.id = structure.id;
  element.tabIndex = 0;
  element.setAttribute("role", "treeitem");
  element.setAttribute("aria-level", depth + 1);
  element.style.paddingLeft = `${6 + 14 * depth}px`;
  element.title = `${label(structure)}, id ${structure.id}`;
  const fold = document.createElement("span");
  fold.className = "fold";
  fold.textContent = hasChildren ? "▸" : "";
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = structure.color;
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = structure.name;
  const acronym = document.createElement("span");
  acronym.className = "acronym";
  acronym.textContent = structure.acronym === structure.name ? "" : structure.acronym;
  element.append(fold, swatch, name, acronym);
  element.classList.toggle("chosen", structure.id === chosen);
  const act = () => {
    const next = chosen === structure.id ? null : structure.id;
    choose(next);
    if (next !== null) go(next).catch(() => {});
  };
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      act();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      step(element, event.key === "ArrowDown" ? 1 : -1);
    }
  });
  return { element, fold };
}

function step(element, by) {
  // To the next row that is to be seen; above the first is the search.
  const rows = [...document.querySelectorAll(".row")].filter((row) => row.offsetParent !== null);
  const next = element === null ? 0 : rows.indexOf(element) + by;
  (next < 0 ? $("search") : rows[next])?.focus();
}

function branch(id, depth) {
  const structure = structures.get(id);
  const holder = document.createElement("div");
  const { element, fold } = row(structure, depth, structure.children.length > 0);
  holder.append(element);
  let inner = null;
  const unfold = (open) => {
    if (structure.children.length === 0) return;
    if (inner === null) {
      inner = document.createElement("div");
      inner.setAttribute("role", "group");
      inner.append(...structure.children.map((child) => branch(child, depth + 1)));
      holder.append(inner);
    }
    inner.hidden = !open;
    fold.textContent = open ? "▾" : "▸";
    element.setAttribute("aria-expanded", String(open));
  };
  const isOpen = () => inner !== null && !inner.hidden;
  fold.addEventListener("click", (event) => {
    event.stopPropagation();
    unfold(!isOpen());
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") unfold(true);
    if (event.key === "ArrowLeft") unfold(false);
  });
  if (depth < 2 || above().includes(id)) unfold(true);
  return holder;
}

function above() {
  // What is above the structure that is chosen, to be unfolded.
  const found = [];
  for (let id = structures.get(chosen)?.parent; id != null; id = structures.get(id).parent) found.push(id);
  return found;
}

function showTree() {
  const text = $("search").value.trim().toLowerCase();
  const tree = $("tree");
  if (text === "") {
    tree.replaceChildren(...roots.map((id) => branch(id, 0)));
    tree.querySelector(".chosen")?.scrollIntoView({ block: "center" });
    return;
  }
  const found = [...structures.values()]
    .map((structure) => ({ structure, rank: rank(structure, text) }))
    .filter(({ rank }) => rank < 4)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, MOST_FOUND);
  tree.replaceChildren(...found.map(({ structure }) => row(structure, 0, false).element));
}

function rank({ id, acronym, name }, text) {
  const [short, long] = [acronym.toLowerCase(), name.toLowerCase()];
  if (short === text || String(id) === text) return 0;
  if (short.startsWith(text)) return 1;
  if (long.startsWith(text)) return 2;
  return short.includes(text) || long.includes(text) ? 3 : 4;
}

// ----- the panes

function letter(dim, sign) {
  // The direction in which the coordinates of an axis grow, or the other one.
  const grows = about.frame[dim];
  return sign > 0 ? grows : LETTERS[dim].replace(grows, "");
}

function turned(q, v) {
  const [x, y, z, w] = q;
  const [a, b, c] = v;
  const tx = 2 * (y * c - z * b);
  const ty = 2 * (z * a - x * c);
  const tz = 2 * (x * b - y * a);
  return [a + w * tx + y * tz - z * ty, b + w * ty + z * tx - x * tz, c + w * tz + x * ty - y * tx];
}

function direction(pose, vector) {
  // The axis along which a direction of the screen runs; null where it is oblique.
  const along = turned(pose.orientation.orientation, vector);
  const i = along.findIndex((part) => Math.abs(part) > 0.999);
  if (i < 0) return null;
  const { displayDimensionIndices } = pose.displayDimensions.value;
  const names = pose.position.coordinateSpace.value.names;
  return { dim: names[displayDimensionIndices[i]], sign: Math.sign(along[i]) };
}

function overlay(panel) {
  let found = panel.element.querySelector(":scope > .refspace-sides");
  if (found === null) {
    found = panel.element.ownerDocument.createElement("div");
    found.className = "refspace-sides";
    found.style.cssText = "position:absolute;inset:0;pointer-events:none;z-index:5;color:#fff;" +
      "font:600 13px system-ui,sans-serif;text-shadow:0 0 3px #000,0 0 3px #000";
    for (const [name, place] of Object.entries({
      left: "left:7px;top:50%;transform:translateY(-50%)",
      right: "right:7px;top:50%;transform:translateY(-50%)",
      top: "top:26px;left:50%;transform:translateX(-50%)",
      bottom: "bottom:7px;left:50%;transform:translateX(-50%)",
      plane: "left:48px;top:7px;font-weight:400;white-space:nowrap",
    })) {
      const text = panel.element.ownerDocument.createElement("span");
      text.dataset.at = name;
      text.style.cssText = `position:absolute;${place}`;
      found.append(text);
    }
    panel.element.append(found);
  }
  return found;
}

function nameSides(panel) {
  const { pose } = panel.navigationState;
  const across = direction(pose, [1, 0, 0]);
  const down = direction(pose, [0, 1, 0]);
  const away = direction(pose, [0, 0, 1]);
  const texts = { left: "", right: "", top: "", bottom: "", plane: "oblique" };
  if (across && down && away && [across, down, away].every(({ dim }) => dim in LETTERS)) {
    texts.left = SHOWN[letter(across.dim, -across.sign)];
    texts.right = SHOWN[letter(across.dim, across.sign)];
    texts.top = SHOWN[letter(down.dim, -down.sign)];
    texts.bottom = SHOWN[letter(down.dim, down.sign)];
    const names = pose.position.coordinateSpace.value.names;
    const at = pose.position.value[names.indexOf(away.dim)];
    texts.plane = `${PLANES[away.dim]} · ${away.dim} ${Math.round(at)} µm`;
  }
  for (const text of overlay(panel).children) {
    const wanted = texts[text.dataset.at];
    if (text.textContent !== wanted) text.textContent = wanted;
  }
}

function fit() {
  // The whole volume in every pane.
  const scales = [];
  for (const { sliceView, navigationState, element } of client().display.panels) {
    if (sliceView === undefined) continue;
    const across = direction(navigationState.pose, [1, 0, 0]);
    const down = direction(navigationState.pose, [0, 1, 0]);
    if (across) scales.push(about.extent[across.dim] / element.clientWidth);
    if (down) scales.push(about.extent[down.dim] / element.clientHeight);
  }
  const scale = 1.04 * Math.max(...scales.filter(Number.isFinite));
  if (scale > 0) client().navigationState.zoomFactor.value = scale;
}

function nameAllSides() {
  for (const panel of client().display.panels) {
    if (panel.sliceView !== undefined) nameSides(panel);
  }
}

// ----- under the mouse

function hover() {
  const { mouseState, layerSelectedValues } = client();
  const parts = [];
  if (mouseState.active) {
    const value = layerSelectedValues.get(annotation())?.value;
    const id = Number(value?.key ?? value ?? 0);
    const structure = structures.get(id);
    if (structure !== undefined) parts.push(label(structure));
    else if (id > 0) parts.push(`unknown id ${id}`);
    const number = about.legend && layerSelectedValues.get(layer("values"))?.value;
    if (Number.isFinite(number)) parts.push(`${about.legend.label} ${Number(number.toPrecision(4))}`);
    const names = mouseState.coordinateSpace.names;
    for (const dim of ["ap", "dv", "ml"]) {
      const at = mouseState.position[names.indexOf(dim)];
      if (Number.isFinite(at)) parts.push(`${dim} ${Math.round(at)} µm`);
    }
  }
  $("hover").textContent = parts.join(" · ");
}

// ----- notes

async function remoteNotes() {
  // Of what the client reads itself, this program sees no error; the client counts them.
  if (!about.remote) return [];
  let failed = 0;
  for (const numbers of (await client().chunkQueueManager.getStatistics()).values()) {
    // Another version may count in another order.
    if (numbers.length !== STATISTICS) continue;
    for (const i of FAILED) failed += numbers[i];
  }
  mostFailed = Math.max(mostFailed, failed);
  if (mostFailed === 0) return [];
  return [`Chunks of ${about.remote} cannot be read; 'refspace verify' lists what is wrong with it`];
}

async function showNotes() {
  let notes;
  try {
    notes = [...(await json("notes.json")), ...(await remoteNotes().catch(() => []))];
  } catch {
    notes = ["The program that serves this page has ended."];
  }
  const all = [...(about.notes ?? []), ...notes];
  if ($("notes").children.length === all.length) return;
  $("notes").replaceChildren(
    ...all.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }),
  );
}

function showLegend({ label, low, high, gradient }) {
  $("legend").hidden = false;
  $("legend-label").textContent = label;
  $("legend-low").textContent = low;
  $("legend-high").textContent = high;
  $("legend-bar").style.background = gradient;
}

async function showFirst(ids) {
  // What the program has asked for: it is highlighted already.
  const known = ids.filter((id) => structures.has(id));
  if (known.length === 1) {
    await choose(known[0]);
    showTree();
    go(known[0]).catch(() => {});
  } else if (known.length > 1) {
    $("what").textContent = known.map((id) => label(structures.get(id))).join(", ");
    $("all").hidden = false;
  }
}

async function start() {
  const [rows, told] = await Promise.all([json("page/structures.json"), json("page/about.json")]);
  about = told;
  document.title = `${about.title} · refspace`;
  $("title").textContent = about.title;
  for (const [id, parent, acronym, name, color] of rows) {
    structures.set(id, { id, parent, acronym, name, color, children: [] });
  }
  for (const { id, parent } of structures.values()) {
    if (parent === null) roots.push(id);
    else structures.get(parent).children.push(id);
  }
  showTree();
  if (about.legend) showLegend(about.legend);
  $("search").addEventListener("input", showTree);
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    step(null, 1);
  });
  $("all").addEventListener("click", () => choose(null));
  showNotes();
  setInterval(showNotes, 2000);

  const { displayState } = await until(annotation);
  $("opacity").value = displayState.selectedAlpha.value;
  $("opacity").addEventListener("input", () => {
    displayState.selectedAlpha.value = Number($("opacity").value);
  });
  await until(() => client().display.panels.size > 0);
  client().layerSelectedValues.changed.add(hover);
  client().mouseState.changed.add(hover);
  client().navigationState.changed.add(nameAllSides);
  client().layout.changed.add(nameAllSides);
  setInterval(nameAllSides, 500);
  nameAllSides();
  fit();
  // The client takes the depth of its state for one of another scale.
  client().crossSectionDepthRange.value = about.depth;
  await showFirst(about.structures);
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  about.notes = [...(about.notes ?? []), String(error)];
  showNotes();
});
