"use strict";
// Every text from data is set as textContent, never parsed as HTML.
const $ = (id) => document.getElementById(id);
const STEPS = 200, NO_SHARE = 255, NO_ANSWER = 0xffff, NO_CHOICE = 0xfffe;
const ROW = 30, ARM = 26, SPARE_ROWS = 4, BINS = 20, MAX_ARMS = 80;
const FIELDS = ["task", "q", "show", "level", "topic", "model", "method", "condition", "measure", "min", "max", "sort", "item"];
const LEGEND = "Bar: seeds right. Dot: seeds differ. Number: accuracy on the items shown.";
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

const make = (name, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
};
const collator = new Intl.Collator("en", { numeric: true });
const percent = (share) => `${Math.round(100 * share)}`;
const letter = (index) => LETTERS[index] || `${index + 1}`;
const whole = new Intl.NumberFormat("en");
const plural = (count, noun) => `${whole.format(count)} ${noun}${count === 1 ? "" : "s"}`;

// ---- Data ----

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function prepared(task) {
  const size = task.ids.length, hasAxes = Object.keys(task.levels).length > 1;
  const models = [...new Set(task.arms.map((arm) => arm.model))];
  const predicted = new Uint16Array(bytes(task.predicted).buffer);
  const tables = Object.fromEntries(["right", "confidence", "agreement"].map((name) => [name, bytes(task[name])]));
  const arms = task.arms.map((arm, place) => {
    const part = (table) => table.subarray(place * size, (place + 1) * size);
    const own = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, part(table)]));
    const isFloor = arm.condition === "zero-shot";
    const base = isFloor ? arm.method : arm.condition;
    const source = hasAxes && arm.measure ? `${base} (${arm.measure})` : base;
    const name = [arm.model, isFloor ? "" : arm.method, source].filter(Boolean).join(" ");
    return { ...arm, ...own, predicted: part(predicted), isFloor, source, name };
  });
  for (const arm of arms) arm.floor = arm.floor === null ? null : arms[arm.floor];
  const order = [...arms].sort((a, b) => models.indexOf(a.model) - models.indexOf(b.model));
  const lower = task.ids.map((id, i) =>
    (task.questions ? [id, task.questions[i], ...task.choices[i]] : [id]).join("\n").toLowerCase());
  const longest = task.ids.reduce((most, id) => Math.max(most, id.length), 0);
  return { ...task, size, arms: order, lower, longest, ranks: new Map(), place: new Map(task.ids.map((id, i) => [id, i])) };
}

const tasks = new Map(JSON.parse($("data").textContent).map((task) => [task.name, prepared(task)]));
let task = null, view = {}, arms = [], shown = [], hidden = 0, stats = null, version = 0;

const isRight = (arm, item) => arm.right[item] !== NO_SHARE && arm.right[item] > STEPS / 2;
const isWrong = (arm, item) => arm.right[item] !== NO_SHARE && arm.right[item] <= STEPS / 2;
const isSplit = (arm, item) => arm.agreement[item] < STEPS;
const hasFilter = (arm, names) => names.every((name) => !view[name] || arm[name] === view[name]);

// Trained arms of each model, method and measure, which have the filters' model and method.
function groups() {
  const found = new Map();
  for (const arm of task.arms) {
    if (!arm.floor || !hasFilter(arm, ["model", "method"])) continue;
    const key = JSON.stringify([arm.model, arm.method, arm.measure]);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(arm);
  }
  return [...found.values()];
}
const isSource = (arm) => (view.condition ? arm.condition === view.condition : arm.place === 0);

const PATTERNS = {
  fixed: {
    label: () => `wrong zero-shot, right after ${view.condition || "easy"}`,
    test: () => {
      const pairs = groups().flat().filter(isSource);
      return (item) => pairs.some((arm) => isWrong(arm.floor, item) && isRight(arm, item));
    },
  },
  hard: {
    label: () => "only hard labels fix it",
    test: () => {
      const sets = groups().map((group) => ({
        hard: group.find((arm) => arm.place !== null && arm.place > 0 && arm.place === arm.places - 1),
        easier: group.filter((arm) => arm.place !== null && arm.place < arm.places - 1),
      })).filter((set) => set.hard && set.easier.length);
      return (item) => sets.some(({ hard, easier }) => isRight(hard, item) && isWrong(hard.floor, item)
        && easier.every((arm) => isWrong(arm, item)));
    },
  },
  split: {
    label: () => "seeds disagree",
    test: () => (item) => arms.some((arm) => isSplit(arm, item)),
  },
  broken: {
    label: () => `right zero-shot, wrong after ${view.condition || "easy"}`,
    test: () => {
      const pairs = groups().flat().filter(isSource);
      return (item) => pairs.some((arm) => isRight(arm.floor, item) && isWrong(arm, item));
    },
  },
  never: {
    label: () => "wrong in every arm",
    test: () => (item) => arms.length > 0 && arms.every((arm) => isWrong(arm, item)),
  },
};

// ---- Filters and order ----

let armsKey = "";

function chooseArms() {
  const key = JSON.stringify([view.task, view.model, view.method, view.condition]);
  if (key === armsKey) return;
  armsKey = key;
  const chosen = task.arms.filter((arm) => hasFilter(arm, ["model", "method", "condition"]));
  const floors = new Set(view.condition ? [] : chosen.map((arm) => arm.floor));
  const all = task.arms.filter((arm) => chosen.includes(arm) || floors.has(arm));
  hidden = Math.max(0, all.length - MAX_ARMS);
  arms = all.slice(0, MAX_ARMS);
  const right = new Float64Array(task.size).fill(NaN), confidence = right.slice(), split = right.slice();
  for (let item = 0; item < task.size; item++) {
    let sum = 0, seen = 0, sure = 0, known = 0, splits = 0;
    for (const arm of all) {
      if (arm.right[item] !== NO_SHARE) { sum += arm.right[item]; seen++; splits += isSplit(arm, item); }
      if (arm.confidence[item] !== NO_SHARE) { sure += arm.confidence[item]; known++; }
    }
    if (seen) { right[item] = sum / seen / STEPS; split[item] = splits; }
    if (known) confidence[item] = sure / known / STEPS;
  }
  stats = { right, confidence, split };
}

function matches() {
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const values = task.measures[view.measure] || [];
  const [least, most] = [view.min === "" ? -Infinity : +view.min, view.max === "" ? Infinity : +view.max];
  const isBounded = view.min !== "" || view.max !== "";
  const [measure, level] = view.level ? JSON.parse(view.level) : [];
  const pattern = PATTERNS[view.show] ? PATTERNS[view.show].test() : null;
  const keep = (item) =>
    !Number.isNaN(stats.right[item])
    && (!level || task.levels[measure][item].includes(level))
    && (!view.topic || task.topics[item] === view.topic)
    && (!isBounded || (values[item] !== null && values[item] >= least && values[item] <= most))
    && words.every((word) => task.lower[item].includes(word))
    && (!pattern || pattern(item));
  const found = [];
  for (let item = 0; item < task.size; item++) if (keep(item)) found.push(item);
  return found;
}

// Fewer columns where the list is narrow: the detail of an item has all values.
function columns() {
  const isNarrow = sight.width < 600, isWide = sight.width > 1000;
  const measure = view.measure, leveled = measure in task.levels ? measure : Object.keys(task.levels)[0];
  const share = (name) => (i) => (Number.isNaN(stats[name][i]) ? "" : percent(stats[name][i]));
  const all = [
    !isNarrow && { key: "id", width: Math.min(20, Math.max(6, task.longest)) * 7.4 + 14, type: "id", of: (i) => task.ids[i] },
    { key: task.questions ? "question" : "item", width: isNarrow ? 150 : 180, isFlexible: true, type: "text", of: (i) => (task.questions || task.ids)[i] },
    isWide && leveled && { key: "level", width: 84, type: "text", of: (i) => task.levels[leveled][i][0] ?? "", by: (i) => task.measures[leveled][i] },
    !isNarrow && measure && { key: "measure", label: measure, width: 84, type: "number", of: (i) => task.measures[measure][i] ?? "" },
    isWide && task.topics.some(Boolean) && { key: "topic", width: 104, type: "text", of: (i) => task.topics[i] ?? "" },
    { key: "right", label: "right %", width: 84, type: "number", of: share("right"), by: (i) => stats.right[i],
      title: "mean share of seeds right, over the arms shown" },
    isWide && { key: "confidence", label: "conf. %", width: 84, type: "number", of: share("confidence"), by: (i) => stats.confidence[i],
      title: "mean confidence in the predicted choice, over the arms shown" },
    isWide && { key: "split", width: 66, type: "number", of: (i) => (Number.isNaN(stats.split[i]) ? "" : stats.split[i]), by: (i) => stats.split[i],
      title: "arms whose seeds predict different choices" },
  ];
  return all.filter(Boolean).map((column) => ({ label: column.key, title: `sort by ${column.label || column.key}`, ...column }));
}

function ordered(found) {
  const isReversed = view.sort.startsWith("-");
  const key = view.sort.replace(/^-/, "");
  const column = columns().find((one) => one.key === key);
  const arm = task.arms.find((one) => key === `arm ${one.name}`);
  if (!column && !arm) return found;
  const by = arm ? (i) => (arm.right[i] === NO_SHARE ? NaN : arm.right[i]) : column.by || ranked(column);
  const values = new Float64Array(task.size).fill(NaN);
  for (const item of found) values[item] = by(item) ?? NaN;
  const sign = isReversed ? -1 : 1;
  return found.sort((a, b) => {
    const [first, second] = [values[a], values[b]];
    if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second) || a - b;
    return sign * (first - second) || a - b;
  });
}

// Returns the value to sort by: a number, or the rank of a text, which is compared once a task.
function ranked(column) {
  if (column.type === "number") return (i) => (column.of(i) === "" ? NaN : column.of(i));
  if (!task.ranks.has(column.key)) {
    const ranks = new Float64Array(task.size).fill(NaN);
    const known = task.ids.map((_, i) => i).filter((i) => column.of(i) !== "");
    known.sort((a, b) => collator.compare(column.of(a), column.of(b)));
    known.forEach((item, n) => {
      const isSame = n > 0 && collator.compare(column.of(known[n - 1]), column.of(item)) === 0;
      ranks[item] = isSame ? ranks[known[n - 1]] : n;
    });
    task.ranks.set(column.key, ranks);
  }
  const ranks = task.ranks.get(column.key);
  return (i) => ranks[i];
}

// ---- The list ----

let table = [];
const pool = [];

const isFirst = (place) => place === 0 || arms[place - 1].model !== arms[place].model;

function drawHead() {
  table = columns();
  const least = table.reduce((sum, column) => sum + column.width, 0) + arms.length * ARM;
  const tracks = table.map(({ width, isFlexible }) => (isFlexible ? `minmax(${width}px, 1fr)` : `${width}px`));
  const labels = arms.map((arm) => label(arm));
  const style = $("list").style;
  style.setProperty("--columns", [...tracks, `repeat(${arms.length}, ${ARM}px)`].join(" "));
  style.setProperty("--least", `${least}px`);
  style.setProperty("--labels", `${Math.min(20, Math.max(6, ...labels.map((text) => text.length))) * 6.6 + 10}px`);
  $("list").setAttribute("aria-colcount", table.length + arms.length);
  const heads = table.map((column) => {
    const node = headCell(column.key, column.label, column.title);
    if (column.type === "number") node.classList.add("number");
    if (column.isFlexible) node.prepend(make("p", { className: "legend", textContent: LEGEND }));
    return node;
  });
  $("head").replaceChildren(...heads, ...arms.map((arm, place) => armHead(arm, place, labels[place])));
}

function label(arm) {
  const trained = arms.filter((other) => !other.isFloor);
  const isSame = trained.every((other) => other.method === trained[0].method);
  return isSame || arm.isFloor ? arm.source : `${arm.source} ${arm.method}`;
}

function headCell(key, text, title, ...children) {
  const button = make("button", { type: "button", textContent: text, title });
  button.dataset.sort = key;
  const node = make("div", {}, button, ...children);
  node.setAttribute("role", "columnheader");
  node.setAttribute("aria-sort", view.sort === key ? "ascending" : view.sort === `-${key}` ? "descending" : "none");
  return node;
}

function armHead(arm, place, text) {
  let sum = 0, seen = 0;
  for (const item of shown) if (arm.right[item] !== NO_SHARE) { sum += arm.right[item]; seen++; }
  const seeds = arm.seeds < arm.planned ? `${arm.seeds} of ${arm.planned} seeds` : plural(arm.seeds, "seed");
  const title = `${arm.name}: ${seeds}${arm.kind === "control" ? ", control" : ""}; accuracy on the items shown`;
  const node = headCell(`arm ${arm.name}`, text, title, make("small", { textContent: seen ? percent(sum / seen / STEPS) : "-" }));
  node.classList.add("arm");
  if (isFirst(place)) {
    const width = arms.filter((other) => other.model === arm.model).length * ARM - 2;
    node.classList.add("first");
    node.append(make("strong", { textContent: arm.model, title: arm.model, style: `width: ${width}px` }));
  }
  return node;
}

function newRow() {
  const cells = table.map((column) => make("span", { className: column.type === "id" ? "id" : column.type === "number" ? "number" : "" }));
  const bars = make("canvas", { width: arms.length * ARM * devicePixelRatio, height: ROW * devicePixelRatio });
  bars.style.cssText = `grid-column: span ${arms.length}; width: ${arms.length * ARM}px`;
  bars.setAttribute("aria-colspan", arms.length);
  const row = make("div", { className: "row" }, ...cells, ...(arms.length ? [bars] : []));
  row.setAttribute("role", "row");
  for (const node of row.children) node.setAttribute("role", "gridcell");
  $("rows").append(row);
  return { row, cells, bars, position: -1, version: -1 };
}

// One canvas per row: an element per bar would dominate filtering time.
function drawBars(canvas, item) {
  const width = arms.length * ARM * devicePixelRatio;
  if (canvas.width !== width) Object.assign(canvas, { width, height: ROW * devicePixelRatio }); // zoomed
  const pen = canvas.getContext("2d");
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, arms.length * ARM, ROW);
  const box = (colour, left, top, width, height) => { pen.fillStyle = colour; pen.fillRect(left, top, width, height); };
  let numRight = 0, numKnown = 0;
  arms.forEach((arm, place) => {
    const left = place * ARM, width = ARM - 7, height = ROW - 8;
    if (isFirst(place)) box(colours.muted, left, 0, 1, ROW);
    if (arm.right[item] === NO_SHARE) {
      pen.strokeStyle = colours.line;
      pen.setLineDash([3, 2]);
      pen.strokeRect(left + 4.5, 4.5, width - 1, height - 1);
      return;
    }
    numKnown++;
    numRight += isRight(arm, item);
    box(colours.empty, left + 4, 4, width, height);
    const filled = (arm.right[item] / STEPS) * height;
    box(colours.right, left + 4, 4 + height - filled, width, filled);
    if (!isSplit(arm, item)) return;
    for (const [colour, radius] of [[colours.paper, 3.5], [colours.dot, 2.5]]) {
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(left + ARM - 6.5, 7.5, radius, 0, 7);
      pen.fill();
    }
  });
  canvas.setAttribute("aria-label", `${numRight} of ${plural(numKnown, "arm")} right`);
}

function fill(entry, position) {
  const item = shown[position];
  const isChosen = task.ids[item] === view.item;
  entry.row.classList.toggle("chosen", isChosen);
  entry.row.setAttribute("aria-selected", isChosen);
  if (entry.position === position && entry.version === version) return;
  Object.assign(entry, { position, version });
  entry.row.hidden = false;
  entry.row.style.top = `${position * ROW}px`;
  entry.row.setAttribute("aria-rowindex", position + 2);
  entry.row.id = `row-${position}`;
  table.forEach((column, place) => { entry.cells[place].textContent = column.of(item); });
  if (arms.length) drawBars(entry.bars, item);
}

// Read before anything is drawn: after a change, the browser must lay the page out to answer.
let sight = { width: 0, height: 0, top: 0 };
const look = () => {
  const list = $("list");
  sight = { width: list.clientWidth, height: list.clientHeight, top: list.scrollTop };
};

function drawRows() {
  const above = Math.max(0, Math.floor(sight.top / ROW) - SPARE_ROWS);
  const count = Math.ceil(sight.height / ROW) + 2 * SPARE_ROWS;
  while (pool.length < count) pool.push(newRow());
  const last = Math.min(shown.length, above + count);
  const used = new Set();
  for (let position = above; position < last; position++) {
    const entry = pool[position % pool.length];
    used.add(entry);
    fill(entry, position);
  }
  for (const entry of pool) if (!used.has(entry)) { entry.row.hidden = true; entry.position = -1; }
}

function describe(arm, item) {
  if (arm.right[item] === NO_SHARE) return `${arm.name}: not scored on this item`;
  const sure = arm.confidence[item] === NO_SHARE ? "" : `, confidence ${(arm.confidence[item] / STEPS).toFixed(2)}`;
  const split = isSplit(arm, item) ? "; seeds predict different choices" : "";
  return `${arm.name}: ${rightText(arm, item)} right, ${answerText(arm, item)}${sure}${split}`;
}
function rightText(arm, item) {
  const number = (arm.right[item] / STEPS) * arm.seeds;
  return Math.abs(number - Math.round(number)) < 0.02 ? `${Math.round(number)} of ${arm.seeds}` : `${percent(arm.right[item] / STEPS)} %`;
}
function answerText(arm, item) {
  if (arm.predicted[item] >= NO_CHOICE) return "no choice named";
  return task.sizes[item] > 1 ? `predicts ${letter(arm.predicted[item])}` : "the right answer";
}

const scrolled = () => { look(); drawRows(); };

// Draws the list for the present width.
function layout() { look(); arrange(); }

function arrange() {
  const before = $("list").style.getPropertyValue("--columns");
  version++;
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries(["right", "empty", "dot", "paper", "line", "muted"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
  drawHead();
  const isSame = before === $("list").style.getPropertyValue("--columns") && kinds === (kinds = arms.map((arm) => arm.name).join("\n"));
  if (!isSame) pool.splice(0).forEach((entry) => entry.row.remove());
  drawRows();
}
let kinds = "", colours = {};

// ---- One item ----

function drawDetail() {
  const item = task.place.get(view.item);
  const isToggled = $("detail").hidden !== (item === undefined);
  $("detail").hidden = item === undefined;
  if (isToggled) layout();
  if (item === undefined) return;
  const button = (text, title, action) => make("button", { type: "button", textContent: text, title, onclick: action });
  const bar = make("div", { className: "bar" }, make("h2", { textContent: task.ids[item] }), make("span", {},
    button("\u2191", "previous item (k)", () => step(-1)), button("\u2193", "next item (j)", () => step(1)),
    button("\u2715", "close (Esc)", close)));
  const parts = [bar];
  if (task.questions) parts.push(make("p", { className: "question", textContent: task.questions[item] }));
  parts.push(choiceList(item), facts(item), matrix(item));
  $("detail").replaceChildren(...parts);
  $("detail").scrollTop = 0;
}

function choiceList(item) {
  const seen = arms.filter((arm) => arm.predicted[item] !== NO_ANSWER);
  const list = make("ul", { className: "choices" });
  for (let choice = 0; choice < task.sizes[item]; choice++) {
    const number = seen.filter((arm) => arm.predicted[item] === choice).length;
    const isGold = choice === task.gold[item];
    const count = make("small", { textContent: `${isGold ? "\u2713 gold, " : ""}${number} of ${plural(seen.length, "arm")}` });
    const text = task.choices ? task.choices[item][choice] : "";
    const node = make("li", { className: isGold ? "gold" : "" }, make("span", { textContent: letter(choice) }), make("span", { textContent: text }), count);
    node.style.setProperty("--share", `${(100 * number) / Math.max(1, seen.length)}%`);
    list.append(node);
  }
  return list;
}

function facts(item) {
  const node = make("p", { className: "facts" });
  const add = (name, value) => {
    if (value === null || value === undefined || value === "") return;
    if (node.childNodes.length) node.append(" \u00b7 ");
    node.append(`${name} `, make("b", { textContent: value }));
  };
  for (const [measure, levels] of Object.entries(task.levels)) add(`level by ${measure}`, levels[item].join(", "));
  for (const [measure, values] of Object.entries(task.measures)) add(measure, values[item] === null ? null : +values[item].toPrecision(4));
  add("topic", task.topics[item]);
  add("group", task.groups[item]);
  return node;
}

// Conditions as rows, models and methods as columns; zero-shot is repeated for each method.
function matrix(item) {
  const keys = [], names = [], cells = new Map();
  const enter = (list, name) => { if (!list.includes(name)) list.push(name); };
  const trained = task.arms.filter((arm) => !arm.isFloor);
  for (const arm of trained.length ? trained : task.arms) {
    const key = JSON.stringify([arm.model, arm.isFloor ? "" : arm.method]);
    enter(keys, key);
    if (arm.floor) { enter(names, arm.floor.source); cells.set(`${key} ${arm.floor.source}`, arm.floor); }
    enter(names, arm.source);
    cells.set(`${key} ${arm.source}`, arm);
  }
  const head = make("tr", {}, make("th", { textContent: "labels" }));
  for (const key of keys) head.append(make("th", { textContent: JSON.parse(key).filter(Boolean).join(" "), scope: "col" }));
  const body = make("tbody");
  for (const name of names) {
    const row = make("tr", {}, make("th", { textContent: name, scope: "row" }));
    for (const key of keys) row.append(matrixCell(cells.get(`${key} ${name}`), item));
    body.append(row);
  }
  const caption = make("caption", { textContent: "seeds right, predicted choice, mean confidence" });
  return make("div", { className: "matrix" }, make("h3", { textContent: "Arms" }), make("table", {}, caption, make("thead", {}, head), body));
}

function matrixCell(arm, item) {
  if (!arm || arm.right[item] === NO_SHARE) return make("td", { className: "none", textContent: "-" });
  const share = arm.right[item] / STEPS;
  const node = make("td", { title: describe(arm, item), className: arms.includes(arm) ? "" : "off" });
  node.style.setProperty("--share", `${100 * share}%`);
  const choice = arm.predicted[item] >= NO_CHOICE ? "?" : task.sizes[item] > 1 ? letter(arm.predicted[item]) : "";
  const sure = arm.confidence[item] === NO_SHARE ? "" : (arm.confidence[item] / STEPS).toFixed(2).replace(/^0/, "");
  node.append(`${rightText(arm, item).replace(" of ", "/")} ${choice} `, make("em", { textContent: sure }), isSplit(arm, item) ? " \u25cf" : "");
  return node;
}

// ---- Controls ----

function options(select, entries, all) {
  const list = all ? [["", all], ...entries] : entries;
  select.replaceChildren(...list.map(([value, text]) => make("option", { value, textContent: text })));
}
const distinct = (values) => [...new Set(values)].map((value) => [value, value]);

function drawControls() {
  options($("task"), [...tasks.keys()].map((name) => [name, name]));
  $("task").parentNode.hidden = tasks.size < 2;
  const axes = Object.keys(task.levels);
  const levels = axes.flatMap((measure) => distinct(task.levels[measure].flat()).map(([name]) => {
    const values = task.measures[measure].filter((value, i) => task.levels[measure][i].includes(name));
    return { name, measure, low: values.reduce((a, b) => Math.min(a, b), Infinity) };
  })).sort((a, b) => axes.indexOf(a.measure) - axes.indexOf(b.measure) || a.low - b.low);
  options($("level"), levels.map(({ name, measure }) => [JSON.stringify([measure, name]), axes.length > 1 ? `${name} (${measure})` : name]), "all levels");
  options($("topic"), distinct(task.topics.filter(Boolean)).sort(), "all topics");
  $("topic").parentNode.hidden = $("topic").options.length < 3;
  options($("model"), distinct(task.arms.map((arm) => arm.model)), "all models");
  const trained = task.arms.filter((arm) => !arm.isFloor);
  options($("method"), distinct(trained.map((arm) => arm.method)), "all methods");
  options($("condition"), distinct(task.arms.map((arm) => arm.condition)), "all conditions");
  options($("measure"), Object.keys(task.measures).map((name) => [name, name]));
}

function drawHistogram() {
  const values = task.measures[view.measure] || [];
  const known = values.filter((value) => value !== null);
  const low = known.reduce((a, b) => Math.min(a, b), Infinity), high = known.reduce((a, b) => Math.max(a, b), -Infinity);
  const kinds = new Set(known), count = Math.min(BINS, kinds.size);
  if (!count) { $("histogram").replaceChildren(); return; }
  const bin = (value) => Math.min(count - 1, Math.floor(((value - low) / (high - low || 1)) * count));
  const totals = Array.from({ length: count }, () => ({ all: 0, shown: 0, low: Infinity, high: -Infinity }));
  for (const value of known) {
    const entry = totals[bin(value)];
    entry.all++; entry.low = Math.min(entry.low, value); entry.high = Math.max(entry.high, value);
  }
  for (const item of shown) if (values[item] !== null) totals[bin(values[item])].shown++;
  const most = Math.max(...totals.map((entry) => entry.all));
  $("histogram").replaceChildren(...totals.map((entry) => {
    const bars = [entry.all, entry.shown].map((number) => {
      const node = make("i");
      node.style.height = `${(100 * number) / most}%`;
      return node;
    });
    const range = entry.low === entry.high ? `${entry.low}` : `${entry.low} to ${entry.high}`;
    const button = make("button", { type: "button", tabIndex: -1, title: `${view.measure} ${range}: ${entry.shown} of ${plural(entry.all, "item")}` }, ...bars);
    button.onclick = () => {
      const isSame = view.min === `${entry.low}` && view.max === `${entry.high}`;
      change(entry.all ? { min: isSame ? "" : `${entry.low}`, max: isSame ? "" : `${entry.high}` } : {});
    };
    return button;
  }));
}

function showControls() {
  for (const name of ["task", "level", "topic", "model", "method", "condition", "measure"]) $(name).value = view[name];
  for (const name of ["q", "min", "max"]) if ($(name).value !== view[name]) $(name).value = view[name];
  options($("show"), Object.entries(PATTERNS).map(([key, pattern]) => [key, pattern.label()]), "all items");
  $("show").value = view.show;
}

// ---- State: the address holds all of it ----

function defaults(name) {
  const chosen = tasks.get(name) || tasks.values().next().value;
  const blank = Object.fromEntries(FIELDS.map((field) => [field, ""]));
  return { ...blank, task: chosen.name, measure: Object.keys(chosen.measures)[0] || "" };
}

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const start = defaults(given.get("task"));
  for (const field of FIELDS) if (field !== "task" && given.has(field)) start[field] = given.get(field);
  const known = tasks.get(start.task);
  if (!(start.measure in known.measures)) start.measure = defaults(start.task).measure;
  for (const bound of ["min", "max"]) if (Number.isNaN(+start[bound])) start[bound] = "";
  return start;
}

function write() {
  const usual = defaults(view.task);
  const kept = FIELDS.filter((field) => view[field] !== usual[field] || (field === "task" && tasks.size > 1));
  const text = new URLSearchParams(kept.map((field) => [field, view[field]])).toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function draw() {
  look();
  if (task !== tasks.get(view.task)) {
    task = tasks.get(view.task);
    drawControls();
  }
  showControls();
  for (const name of ["level", "topic", "model", "method", "condition"]) if ($(name).value !== view[name]) $(name).value = view[name] = "";
  chooseArms();
  shown = ordered(matches());
  $("rows").style.height = `${shown.length * ROW}px`;
  $("list").setAttribute("aria-rowcount", shown.length + 1);
  $("none").hidden = shown.length > 0;
  drawHistogram();
  drawDetail();
  arrange();
  const more = hidden ? `; ${plural(hidden, "arm")} more: choose a model or a condition` : "";
  $("count").textContent = `${whole.format(shown.length)} of ${plural(task.size, "item")}, ${plural(arms.length, "arm")}${more}`;
  document.body.dataset.version = version;
}

function change(values) {
  const isTask = "task" in values && values.task !== view.task;
  view = isTask ? defaults(values.task) : { ...view, ...values };
  write();
  $("list").scrollTop = 0;
  draw();
}

function open(position) {
  if (!shown.length) return;
  const kept = Math.max(0, Math.min(shown.length - 1, position));
  view.item = task.ids[shown[kept]];
  write();
  reveal(kept);
  scrolled();
  drawDetail();
  $("list").setAttribute("aria-activedescendant", `row-${kept}`);
}
function reveal(position) {
  const list = $("list"), top = position * ROW, room = list.clientHeight - $("head").offsetHeight - ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top > list.scrollTop + room) list.scrollTop = top - room;
}
const current = () => shown.indexOf(task.place.get(view.item));
const step = (by) => open(current() < 0 ? (by > 0 ? 0 : shown.length - 1) : current() + by);
function close() {
  view.item = "";
  write();
  drawRows();
  drawDetail();
  $("list").focus();
}

function copy(text, button) {
  const area = make("textarea", { value: text });
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  const label = button.textContent;
  button.textContent = isCopied ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = label; }, 1200);
}

const page = () => Math.max(1, Math.floor(($("list").clientHeight - $("head").offsetHeight) / ROW) - 1);
const toggleKeys = () => {
  $("keys").hidden = !$("keys").hidden;
  $("keys-button").setAttribute("aria-expanded", !$("keys").hidden);
};
const reset = () => change({ ...defaults(view.task), task: view.task, item: view.item });
const KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  g: () => open(0), Home: () => open(0), G: () => open(shown.length - 1), End: () => open(shown.length - 1),
  PageDown: () => step(page()), PageUp: () => step(-page()), Enter: () => step(current() < 0 ? 1 : 0),
  Escape: close, "/": () => $("q").focus(), "?": toggleKeys, x: reset,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (isField && event.key === "Escape") { event.target.blur(); $("list").focus(); return; }
  if (isField && event.target.id === "q" && event.key === "Enter") { open(0); $("list").focus(); event.preventDefault(); return; }
  if (isField || (event.target.tagName === "BUTTON" && event.key === "Enter")) return;
  const action = KEYS[event.key];
  if (action) { event.preventDefault(); action(); }
});
for (const name of ["task", "show", "level", "topic", "model", "method", "condition"]) {
  $(name).addEventListener("change", (event) => change({ [name]: event.target.value }));
}
$("measure").addEventListener("change", (event) => change({ measure: event.target.value, min: "", max: "" }));
for (const name of ["q", "min", "max"]) $(name).addEventListener("input", (event) => change({ [name]: event.target.value }));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("head").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const key = button.dataset.sort;
  const isNumber = key.startsWith("arm ") || ["right", "confidence", "split"].includes(key);
  const steps = isNumber ? [`-${key}`, key, ""] : [key, `-${key}`, ""];
  change({ sort: steps[(steps.indexOf(view.sort) + 1) % 3] });
  [...$("head").querySelectorAll("button")].find((other) => other.dataset.sort === key).focus();
});
$("rows").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row) open(+row.getAttribute("aria-rowindex") - 2);
});
$("rows").addEventListener("mousemove", (event) => {
  const cell = event.target.closest(".row > *");
  if (!cell) return;
  const item = shown[+cell.parentNode.getAttribute("aria-rowindex") - 2];
  const arm = cell.tagName === "CANVAS" ? arms[Math.floor(event.offsetX / ARM)] : undefined;
  cell.title = arm ? describe(arm, item) : cell.textContent;
});
$("list").addEventListener("scroll", () => requestAnimationFrame(scrolled), { passive: true });
addEventListener("resize", () => requestAnimationFrame(layout));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layout);
addEventListener("hashchange", () => { view = read(); draw(); if (current() >= 0) reveal(current()); });
$("reset").onclick = reset;
$("copy-ids").onclick = (event) => copy(shown.map((item) => task.ids[item]).join("\n"), event.target);
$("copy-link").onclick = (event) => copy(location.href, event.target);
$("keys-button").onclick = toggleKeys;
$("filters-button").onclick = () => {
  const isOpen = $("filters").classList.toggle("open");
  $("filters-button").setAttribute("aria-expanded", isOpen);
  layout();
};

view = read();
draw();
if (current() >= 0) { reveal(current()); scrolled(); }
