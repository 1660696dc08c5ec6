
"use strict";
// Everything that a target could have named is put into the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const [WEIGHT, UNIT, COUNT] = data.measure;
const nodeCount = data.nodes.length / 2;
const parents = new Uint32Array(nodeCount + 1), frames = new Uint32Array(nodeCount + 1);
for (let i = 1; i <= nodeCount; i++) {
  parents[i] = i - data.nodes[2 * i - 2];
  frames[i] = data.nodes[2 * i - 1];
}
const frameCount = data.frames.length / 2, functionCount = data.functions.length / 3;
const functionOf = (frame) => data.frames[2 * frame];
const sampleCount = data.samples.length / 4;
const processes = data.processes, threads = data.threads;
const ROW = 18, LEAST_PX = 0.6;

// What is shown.
const view = { process: -1, thread: -1, roots: "both", by: "function", inverted: false, pattern: null, order: "own" };
// The tree of the view: node 0 is everything. `keys` says what a node is: below `frameCount` a frame or function, then
// processes, then threads.
let tree = null, zoomed = 0, focused = 0, hits = [];
// Samples of the view: [thread, node, weight, count], as positions in data.samples.
let shown = [];

const keyOf = (frame) => (view.by === "line" ? frame : functionOf(frame));
const isFrame = (key) => key < frameCount;

function describe(key) {
  if (key < frameCount) {
    const fn = view.by === "line" ? functionOf(key) : key;
    const line = view.by === "line" ? data.frames[2 * key + 1] : data.functions[3 * fn + 2];
    const file = data.strings[data.functions[3 * fn + 1]];
    return { name: data.strings[data.functions[3 * fn]], where: file ? file + ":" + line : "", file };
  }
  key -= frameCount;
  if (key < processes.length) return { name: processes[key], where: "", file: "" };
  return { name: threads[key - processes.length][1], where: "", file: "" };
}

function label(key) {
  const { name, where } = describe(key);
  if (view.by !== "line" || !where) return name;
  return name + " " + where.slice(where.lastIndexOf("/") + 1);
}

function amount(weight) {
  if (weight === 0) return "0";
  if (UNIT === "nanoseconds") {
    if (weight >= 1e9) return (weight / 1e9).toFixed(2) + " s";
    if (weight >= 1e6) return (weight / 1e6).toFixed(1) + " ms";
    return (weight / 1e3).toFixed(1) + " \u00b5s";
  }
  return weight.toLocaleString("en") + " " + UNIT;
}

const percent = (part, all) => (all > 0 ? (100 * part / all).toFixed(part === all ? 0 : 2) : "0") + " %";

function select() {
  shown = [];
  for (let i = 0; i < sampleCount; i++) {
    const thread = data.samples[4 * i];
    if (view.thread >= 0 ? thread !== view.thread : view.process >= 0 && threads[thread][0] !== view.process) continue;
    shown.push(i);
  }
}

// Root frames of a sample, outermost first.
function rootsOf(thread) {
  if (view.roots === "none" || view.inverted) return [];
  const keys = [];
  if (processes.length > 1) keys.push(frameCount + threads[thread][0]);
  if (view.roots === "both" && threads.length > 1) keys.push(frameCount + processes.length + thread);
  return keys;
}

function newTree() {
  return { parent: [0], key: [-1], weight: [0], count: [0], own: [0], children: [null], depth: [0], lazy: [null] };
}

function addNode(parent, key) {
  const at = tree.parent.length;
  tree.parent.push(parent);
  tree.key.push(key);
  tree.weight.push(0);
  tree.count.push(0);
  tree.own.push(0);
  tree.children.push(null);
  tree.depth.push(tree.depth[parent] + 1);
  tree.lazy.push(null);
  (tree.children[parent] ||= new Map()).set(key, at);
  return at;
}

const child = (parent, key) => (tree.children[parent] && tree.children[parent].get(key)) || addNode(parent, key);

function build() {
  tree = newTree();
  if (view.inverted) {
    tree.lazy[0] = shown.map((i) => [i, data.samples[4 * i + 1]]);
    for (const i of shown) {
      tree.weight[0] += data.samples[4 * i + 2];
      tree.count[0] += data.samples[4 * i + 3];
    }
    expand(0);
  } else {
    // Per root: where each node of the file is in the tree. A path is walked up to what is known only.
    const places = new Map();
    for (const i of shown) {
      const thread = data.samples[4 * i], roots = rootsOf(thread);
      const root = roots.reduce(child, 0);
      if (!places.has(root)) places.set(root, new Map([[0, root]]));
      const known = places.get(root), path = [];
      let node = data.samples[4 * i + 1];
      while (!known.has(node)) {
        path.push(node);
        node = parents[node];
      }
      let at = known.get(node);
      for (let p = path.length - 1; p >= 0; p--) {
        at = child(at, keyOf(frames[path[p]]));
        known.set(path[p], at);
      }
      tree.weight[at] += data.samples[4 * i + 2];
      tree.own[at] += data.samples[4 * i + 2];
      tree.count[at] += data.samples[4 * i + 3];
    }
    for (let at = tree.parent.length - 1; at > 0; at--) {
      tree.weight[tree.parent[at]] += tree.weight[at];
      tree.count[tree.parent[at]] += tree.count[at];
    }
  }
  zoomed = focused = 0;
}

// Inverted, leaves are roots, and there may be as many paths as stacks: only what is wide enough to be seen below `top` is
// taken apart.
function expand(top) {
  const least = tree.weight[top] / 4000, work = [top];
  while (work.length) {
    const at = work.pop();
    const members = tree.lazy[at];
    if (members) {
      tree.lazy[at] = null;
      for (const [i, node] of members) {
        if (node === 0) {
          tree.own[at] += data.samples[4 * i + 2];
          continue;
        }
        const to = child(at, keyOf(frames[node]));
        tree.weight[to] += data.samples[4 * i + 2];
        tree.count[to] += data.samples[4 * i + 3];
        (tree.lazy[to] ||= []).push([i, parents[node]]);
      }
    }
    if (tree.children[at]) {
      for (const to of tree.children[at].values()) if (tree.weight[to] >= least) work.push(to);
    }
  }
}

// Children by weight, so that the widest are on the left, whatever the order in the file.
function sorted(at) {
  if (!tree.children[at]) return [];
  return [...tree.children[at].values()].sort((a, b) => tree.weight[b] - tree.weight[a] || tree.key[a] - tree.key[b]);
}

function ancestors(at) {
  const all = [];
  for (; at !== 0; at = tree.parent[at]) all.push(at);
  all.push(0);
  return all.reverse();
}

// Boxes from the top: the callers of what is zoomed in over the whole width, then what it has called.
let boxes = [], rows = 1;
function layout() {
  const width = canvas.clientWidth;
  boxes = [];
  const above = ancestors(zoomed);
  above.forEach((at, depth) => boxes.push({ at, x: 0, w: width, depth, above: at !== zoomed }));
  let level = [{ at: zoomed, x: 0 }], depth = above.length;
  const scale = width / (tree.weight[zoomed] || 1);
  while (level.length) {
    const next = [];
    for (const { at, x } of level) {
      let left = x;
      for (const to of sorted(at)) {
        const w = tree.weight[to] * scale;
        if (w < LEAST_PX) break;
        boxes.push({ at: to, x: left, w, depth, above: false });
        next.push({ at: to, x: left });
        left += w;
      }
    }
    level = next;
    if (next.length) depth++;
  }
  rows = depth;
}

const canvas = $("graph"), scroll = $("scroll"), tip = $("tip");
const context = canvas.getContext("2d");

function colour(key, dark) {
  if (!isFrame(key)) return dark ? "#37474f" : "#cfd8dc";
  const { name, file } = describe(key);
  if (name.startsWith("<") && !file) return dark ? "#4a4a4a" : "#d6d6d6";
  let hash = 7;
  for (const c of file) hash = (hash * 31 + c.charCodeAt(0)) | 0;
  let shade = 3;
  for (const c of name) shade = (shade * 31 + c.charCodeAt(0)) | 0;
  const hue = 12 + Math.abs(hash) % 46;
  return dark ? `hsl(${hue} 55% ${26 + Math.abs(shade) % 9}%)` : `hsl(${hue} 88% ${66 + Math.abs(shade) % 13}%)`;
}

const colours = new Map(), labels = new Map();
let pending = false;
function draw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    paint();
  });
}

function paint() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const width = scroll.clientWidth, height = scroll.clientHeight, ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = height + "px";
    layout();
  }
  $("space").style.height = Math.max(0, rows * ROW - height) + "px";
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  const top = scroll.scrollTop;
  for (const box of boxes) {
    const y = box.depth * ROW - top;
    if (y < -ROW || y > height) continue;
    const key = tree.key[box.at];
    const hit = key >= 0 && matches.has(key);
    let fill = key < 0 ? (dark ? "#333" : "#e6e6e6") : colours.get(key);
    if (!fill) colours.set(key, fill = colour(key, dark));
    context.globalAlpha = box.above ? 0.6 : 1;
    context.fillStyle = hit ? (dark ? "#8e3fbf" : "#c98be8") : fill;
    context.fillRect(box.x, y, Math.max(box.w - 0.5, 0.5), ROW - 1);
    context.globalAlpha = 1;
    if (box.at === focused && (focused || document.activeElement === canvas)) {
      context.strokeStyle = dark ? "#90caf9" : "#0d47a1";
      context.lineWidth = 2;
      context.strokeRect(box.x + 1, y + 1, Math.max(box.w - 2.5, 1), ROW - 3);
    }
    if (box.w > 24) {
      let text = key < 0 ? "all" : labels.get(key);
      if (text === undefined) labels.set(key, text = label(key));
      context.fillStyle = dark ? "#f2f2f2" : "#111";
      context.fillText(cut(text, box.w - 8), box.x + 4, y + ROW / 2);
    }
  }
}

// Text of at most this width. Seven pixels per letter, or less: measuring every box would take longer than drawing them.
function cut(text, width) {
  if (context.measureText(text.slice(0, 400)).width <= width) return text.slice(0, 400);
  let low = 0, high = Math.min(text.length, 400);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + "\u2026").width <= width) low = middle; else high = middle - 1;
  }
  return low > 1 ? text.slice(0, low) + "\u2026" : "";
}

function sentence(at) {
  if (at === 0) return `all: ${amount(tree.weight[0])} ${WEIGHT}, ${tree.count[0].toLocaleString("en")} ${COUNT}`;
  const { name, where } = describe(tree.key[at]);
  const own = view.inverted ? "" : `, own ${amount(tree.own[at])}`;
  const of = zoomed ? `, ${percent(tree.weight[at], tree.weight[zoomed])} of what is zoomed into` : "";
  return `${name}${where ? " " + where : ""}: ${percent(tree.weight[at], tree.weight[0])}, ${amount(tree.weight[at])}${own}, ` +
    `${tree.count[at].toLocaleString("en")} ${COUNT}${of}`;
}

// The box of a frame, which may be too narrow to have one.
const boxOf = (at) => boxes.find((box) => box.at === at);

function focusOn(at) {
  focused = at;
  $("frame").textContent = sentence(at);
  const box = boxOf(at);
  if (box) {
    const y = box.depth * ROW;
    if (y < scroll.scrollTop) scroll.scrollTop = y;
    if (y + ROW > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = y + ROW - scroll.clientHeight;
  }
  draw();
}

function zoom(at) {
  hits = [];
  zoomed = at;
  if (view.inverted) expand(at);
  layout();
  scroll.scrollTop = 0;
  focusOn(at);
}

// Search: keys that match, and how much of the time stands below them, counted once per stack.
let matches = new Set();
function search() {
  matches = new Set();
  const input = $("search"), text = input.value;
  let found = "";
  input.removeAttribute("aria-invalid");
  if (text) {
    let pattern = null;
    try {
      pattern = new RegExp(text, "i");
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      found = "not a regular expression: " + error.message;
    }
    if (pattern) {
      const keys = frameCount + processes.length + threads.length;
      const last = view.by === "line" ? frameCount : functionCount;
      for (let key = 0; key < keys; key++) {
        if (key >= last && key < frameCount) continue;
        const { name, where } = describe(key);
        if (pattern.test(name) || (where && pattern.test(where))) matches.add(key);
      }
      const sum = matched();
      const names = matches.size === 1 ? "1 name matches" : `${matches.size.toLocaleString("en")} names match`;
      found = `${names}, with ${percent(sum, tree.weight[0])} of ${WEIGHT}: ${amount(sum)}`;
    }
  }
  $("found").textContent = found;
  hits = [];
  draw();
}

function matched() {
  const state = new Int8Array(nodeCount + 1);
  for (let i = 1; i <= nodeCount; i++) state[i] = state[parents[i]] || matches.has(keyOf(frames[i])) ? 1 : 0;
  let sum = 0;
  for (const i of shown) {
    const thread = data.samples[4 * i], process = threads[thread][0];
    const root = matches.has(frameCount + process) || matches.has(frameCount + processes.length + thread);
    if (root || state[data.samples[4 * i + 1]]) sum += data.samples[4 * i + 2];
  }
  return sum;
}

function nextHit() {
  if (!hits.length) {
    hits = boxes.filter((box) => !box.above && matches.has(tree.key[box.at])).map((box) => box.at);
    hits.sort((a, b) => tree.weight[b] - tree.weight[a]);
  }
  if (hits.length) focusOn(hits[(hits.indexOf(focused) + 1) % hits.length]);
}

// The table: what a screen reader reads, and anybody who wants numbers.
const MAX_ROWS = 100;
function table() {
  const keys = view.by === "line" ? frameCount : functionCount;
  const own = new Float64Array(keys), total = new Float64Array(keys), seen = new Int32Array(keys);
  let mark = 0, all = 0;
  for (const i of shown) {
    const weight = data.samples[4 * i + 2];
    let node = data.samples[4 * i + 1];
    all += weight;
    mark++;
    if (node) own[keyOf(frames[node])] += weight;
    for (; node; node = parents[node]) {
      const key = keyOf(frames[node]);
      if (seen[key] !== mark) {
        seen[key] = mark;
        total[key] += weight;
      }
    }
  }
  const by = view.order === "own" ? own : total, other = view.order === "own" ? total : own;
  const order = [...total.keys()].filter((key) => total[key] > 0);
  order.sort((a, b) => by[b] - by[a] || other[b] - other[a] || a - b);
  const body = $("rows");
  body.replaceChildren();
  for (const key of order.slice(0, MAX_ROWS)) {
    const { name, where } = describe(key);
    const row = body.insertRow();
    for (const value of [own[key], total[key]]) {
      const cell = row.insertCell();
      cell.className = "number";
      cell.textContent = `${amount(value)}  ${percent(value, all)}`;
      cell.dataset.weight = value;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.title = "search for it";
    button.addEventListener("click", () => {
      $("search").value = "^" + name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") + "$";
      search();
      nextHit();
    });
    row.insertCell().append(button);
    const cell = row.insertCell();
    cell.className = "where";
    cell.textContent = where;
  }
  $("tabletitle").textContent = view.by === "line" ? "Lines" : "Functions";
  const more = order.length - Math.min(order.length, MAX_ROWS);
  $("more").textContent = more > 0 ? `\u2026 and ${more.toLocaleString("en")} more` : "";
  $("byown").closest("th").setAttribute("aria-sort", view.order === "own" ? "descending" : "none");
  $("bytotal").closest("th").setAttribute("aria-sort", view.order === "total" ? "descending" : "none");
}

function update() {
  colours.clear();
  labels.clear();
  select();
  build();
  layout();
  // As high as the graph, up to most of the window; it stays so while one zooms.
  scroll.style.height = `min(62vh, ${Math.max(rows, 8) * ROW + 2}px)`;
  scroll.scrollTop = 0;
  table();
  search();
  focusOn(0);
}

const MAX_OPTIONS = 1000;
function options(list, rows, every) {
  list.replaceChildren(new Option(every, "-1"));
  rows.sort((a, b) => b.weight - a.weight);
  for (const { text, value } of rows.slice(0, MAX_OPTIONS)) list.add(new Option(text, value));
  if (rows.length > MAX_OPTIONS) {
    const rest = new Option(`\u2026 and ${rows.length - MAX_OPTIONS} lighter ones`, "");
    rest.disabled = true;
    list.add(rest);
  }
  list.disabled = rows.length < 2;
}

const weights = new Float64Array(threads.length);
for (let i = 0; i < sampleCount; i++) weights[data.samples[4 * i]] += data.samples[4 * i + 2];

function threadOptions() {
  const rows = threads.map(([process, text], value) => ({ process, text, value, weight: weights[value] }));
  options($("thread"), rows.filter((row) => row.weight > 0 && (view.process < 0 || row.process === view.process)), "all");
}

function start() {
  $("title").textContent = data.title;
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  const [stacks, folded] = data.folded;
  let about = `${data.start}, ${(data.duration_ns / 1e9).toFixed(1)} s: ${amount(all)} of ${WEIGHT} in ${sampleCount.toLocaleString("en")} stacks.`;
  if (stacks) about += ` ${stacks.toLocaleString("en")} of the lightest stacks (${amount(folded)}, ${percent(folded, all)}) are shown without their middle frames, as \u201c<folded away>\u201d.`;
  $("about").textContent = about;
  for (const comment of data.comments) {
    const item = document.createElement("li");
    item.textContent = comment;
    $("comments").append(item);
  }
  const sums = new Float64Array(processes.length);
  threads.forEach(([process], thread) => { sums[process] += weights[thread]; });
  options($("process"), processes.map((text, value) => ({ text, value, weight: sums[value] })).filter((row) => row.weight > 0), "all");
  threadOptions();
  update();
}

$("controls").addEventListener("submit", (event) => event.preventDefault());
let typed = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(search, 120);
});
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    search();
    nextHit();
  } else if (event.key === "Escape") {
    $("search").value = "";
    search();
    canvas.focus();
  }
});
$("process").addEventListener("change", (event) => {
  view.process = Number(event.target.value);
  view.thread = -1;
  threadOptions();
  update();
});
$("thread").addEventListener("change", (event) => {
  view.thread = Number(event.target.value);
  update();
});
for (const id of ["roots", "by"]) {
  $(id).addEventListener("change", (event) => {
    view[id] = event.target.value;
    update();
  });
}
$("inverted").addEventListener("change", (event) => {
  view.inverted = event.target.checked;
  update();
});
$("reset").addEventListener("click", () => zoom(0));
for (const order of ["own", "total"]) {
  $("by" + order).addEventListener("click", () => {
    view.order = order;
    table();
  });
}

function at(event) {
  const bounds = canvas.getBoundingClientRect();
  const x = event.clientX - bounds.left, depth = Math.floor((event.clientY - bounds.top + scroll.scrollTop) / ROW);
  return boxes.find((box) => box.depth === depth && box.x <= x && x < box.x + box.w);
}
canvas.addEventListener("mousemove", (event) => {
  const box = at(event);
  tip.hidden = !box;
  if (!box) return;
  tip.textContent = sentence(box.at);
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4)) + "px";
  const below = event.clientY + 20 + tip.offsetHeight < innerHeight;
  tip.style.top = (below ? event.clientY + 20 : event.clientY - tip.offsetHeight - 8) + "px";
});
canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
canvas.addEventListener("click", (event) => {
  const box = at(event);
  if (box) zoom(box.at);
});
canvas.addEventListener("focus", draw);
canvas.addEventListener("blur", draw);
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const beside = (step) => {
    const siblings = sorted(tree.parent[focused]).filter((at) => boxOf(at));
    const next = siblings[siblings.indexOf(focused) + step];
    if (next !== undefined) focusOn(next);
  };
  const down = () => {
    const first = sorted(focused).find((at) => boxOf(at));
    if (first !== undefined) focusOn(first);
  };
  const actions = {
    ArrowDown: down,
    ArrowUp: () => focused && focusOn(tree.parent[focused]),
    ArrowLeft: () => beside(-1),
    ArrowRight: () => beside(1),
    Enter: () => zoom(focused),
    " ": () => zoom(focused),
    Escape: () => zoom(tree.parent[zoomed]),
    Backspace: () => zoom(tree.parent[zoomed]),
    Home: () => zoom(0),
  };
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  if (event.key === "/") {
    event.preventDefault();
    $("search").focus();
  } else if (event.key === "n") {
    nextHit();
  } else if (event.key === "i") {
    $("inverted").click();
  }
});
scroll.addEventListener("scroll", draw);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours.clear(); draw(); });
start();
