"use strict";
(function () {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const PAGE_ROWS = 25;
  const PRINT_ROWS = 400;
  const SEARCHED_ROWS = 10; // tables with more have a search box
  const LETTER = 6.4; // average width of a letter of an axis label, pixels

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const decoded = (column) => (Array.isArray(column) ? column : column.at.map((i) => column.of[i]));

  const RECIPES = decoded(DATA.recipes);

  // The filters: which values of model, method, task, level and verdict are shown in all sections.
  const filters = {
    names: DATA.filters,
    chosen: DATA.filters.map(() => null), // null: all values
    listeners: [],
    keeps(columns, row) {
      return this.chosen.every((values, i) => {
        const value = columns[i][row];
        return values === null || value === null || values.has(value);
      });
    },
    rows(columns, length) {
      const kept = [];
      for (let row = 0; row < length; row++) if (this.keeps(columns, row)) kept.push(row);
      return kept;
    },
  };
  for (const part of [...Object.values(DATA.tables), ...Object.values(DATA.charts)]) {
    part.values = part.values.map(decoded);
    part.filters = part.filters.map(decoded);
    part.length = part.values.length ? part.values[0].length : 0;
  }

  function makeFilters(place) {
    filters.names.forEach((name, i) => {
      const values = new Set();
      for (const part of [...Object.values(DATA.tables), ...Object.values(DATA.charts)]) {
        for (const value of part.filters[i]) if (value !== null) values.add(value);
      }
      if (values.size < 2) return;
      const label = element("summary", {}, `${name}: all`);
      const boxes = [...values].map((value) => element("input", { type: "checkbox", value, checked: "", onchange: apply }));
      const menu = element("details", { "data-filter": name }, label,
        element("div", { class: "options" },
          element("button", { type: "button", onclick: () => choose(true) }, "all"), " ",
          element("button", { type: "button", onclick: () => choose(false) }, "none"),
          ...boxes.map((box) => element("label", {}, box, box.value))));
      function choose(all) { boxes.forEach((box) => { box.checked = all; }); apply(); }
      function apply() {
        const on = boxes.filter((box) => box.checked).map((box) => box.value);
        const isAll = on.length === boxes.length;
        filters.chosen[i] = isAll ? null : new Set(on);
        label.textContent = isAll ? `${name}: all` : on.length === 1 ? `${name}: ${on[0]}` : `${name}: ${on.length} of ${boxes.length}`;
        menu.classList.toggle("on", !isAll);
        filters.listeners.forEach((listener) => listener());
      }
      place.append(menu);
    });
    if (!place.children.length) return;
    place.append(element("button", { type: "button", onclick: () => {
      place.querySelectorAll(".options button:first-child").forEach((button) => button.click());
    } }, "show all"));
    const close = (event) => place.querySelectorAll("details[open]").forEach((menu) => {
      if (event.key === "Escape" || (event.type === "click" && !menu.contains(event.target))) menu.open = false;
    });
    addEventListener("click", close);
    addEventListener("keydown", close);
  }

  const FORMATS = {
    text: (v) => v,
    percent: (v) => (100 * v).toFixed(1),
    points: (v) => (v > 0 ? "+" : "") + (100 * v).toFixed(1),
    share: (v) => v.toFixed(2),
    signed: (v) => (v > 0 ? "+" : "") + v.toFixed(2).replace(/\.?0+$/, ""),
    p: (v) => (v < 0.001 ? "< 0.001" : v.toFixed(3)),
    number: (v) => String(v),
    seconds: (v) => (v < 120 ? v.toFixed(1) + " s" : v < 7200 ? (v / 60).toFixed(1) + " min" : (v / 3600).toFixed(1) + " h"),
  };
  const show = (kind, value) => (value === null ? "-" : FORMATS[kind](value));

  // A table that is sorted, searched and paged; only the rows of the page are in the document.
  function makeTable(place) {
    const table = DATA.tables[place.dataset.table];
    const verdict = table.columns.findIndex((column) => column.name === "verdict");
    const at = (row, column) => table.values[column][row];
    const state = { order: [], page: 0, sorted: -1, down: false, size: PAGE_ROWS };
    const body = element("tbody");
    const status = element("span", { "aria-live": "polite" });
    const buttons = table.columns.map((column, i) =>
      element("button", { type: "button", title: column.help, onclick: () => sortBy(i) }, column.name));
    const heads = table.columns.map((column, i) =>
      element("th", { scope: "col", class: column.kind === "text" ? null : "n" }, buttons[i]));
    const back = element("button", { type: "button", onclick: () => turn(-1) }, "previous");
    const next = element("button", { type: "button", onclick: () => turn(1) }, "next");
    const search = element("input", { type: "search", oninput: () => choose() });
    let searched = null;

    function choose() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      state.order = filters.rows(table.filters, table.length);
      if (words.length) {
        searched = searched || Array.from({ length: table.length }, (_, row) =>
          table.values.map((values) => values[row]).join(" ").toLowerCase());
        state.order = state.order.filter((row) => words.every((word) => searched[row].includes(word)));
      }
      state.page = 0;
      if (state.sorted >= 0) arrange();
      draw();
    }
    function sortBy(column) {
      state.down = state.sorted === column ? !state.down : false;
      state.sorted = column;
      arrange();
      state.page = 0;
      draw();
    }
    function arrange() {
      const column = state.sorted, sign = state.down ? -1 : 1;
      state.order.sort((a, b) => {
        const x = at(a, column), y = at(b, column);
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
      });
      heads.forEach((head, i) => {
        if (i === column) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
    }
    function turn(step) { state.page += step; draw(); }
    function draw() {
      const pages = Math.max(Math.ceil(state.order.length / state.size), 1);
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const shown = state.order.slice(state.page * state.size, (state.page + 1) * state.size);
      body.replaceChildren(...shown.flatMap(rowOf));
      back.disabled = state.page === 0;
      next.disabled = state.page === pages - 1;
      back.hidden = next.hidden = pages === 1;
      const all = state.order.length === table.length ? "" : ` of ${table.length}`;
      status.textContent = `${state.order.length}${all} rows` + (pages > 1 ? `, page ${state.page + 1} of ${pages}` : "");
    }
    function rowOf(row) {
      const unresolved = verdict >= 0 && !String(at(row, verdict)).startsWith("resolved");
      const cells = table.columns.map((column, c) => {
        const value = at(row, c);
        const name = column.kind !== "text" ? "n" : c === verdict ? "verdict-cell" : String(value).length < 24 ? "short" : "wrap";
        return element("td", { class: name }, show(column.kind, value));
      });
      const sentences = table.sentences.length > 0;
      const line = element("tr", { class: (sentences ? "point" : "") + (unresolved ? " unresolved" : "") }, ...cells);
      if (!sentences) return [line];
      return [line, element("tr", { class: "sentence" }, element("td", { colspan: table.columns.length }, element("div", {}, table.sentences[row])))];
    }
    addEventListener("beforeprint", () => { state.size = PRINT_ROWS; draw(); });
    addEventListener("afterprint", () => { state.size = PAGE_ROWS; draw(); });
    filters.listeners.push(choose);
    place.append(
      element("div", { class: "tools" },
        ...(table.length > SEARCHED_ROWS ? [element("label", {}, "search", search)] : []), back, next, status),
      element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": table.caption },
        element("table", {}, element("caption", {}, table.caption),
          element("thead", {}, element("tr", {}, ...heads)), body)));
    choose();
  }

  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const tip = document.getElementById("tip");

  function showTip(value, x, y) {
    const lines = value.point !== undefined ? [...DATA.hover[value.point], RECIPES[value.point]]
      : Object.entries(value).filter(([, text]) => text !== null && text !== undefined && text !== "" && text !== "null")
        .map(([name, text], i) => (i === 0 ? text : `${name}: ${text}`));
    tip.replaceChildren(...lines.map((line, i) => element(i === 0 ? "b" : "div", {}, String(line))));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(Math.min(x + 14, innerWidth - box.width - 8), 4)}px`;
    tip.style.top = `${y + 14 + box.height > innerHeight ? Math.max(y - box.height - 10, 4) : y + 14}px`;
  }

  function theme(isDark, limit) {
    const ink = isDark ? "#e8e9ec" : "#16181d", line = isDark ? "#3a3e47" : "#d5d8de";
    const text = { labelColor: ink, titleColor: ink, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal" };
    return {
      background: null, font: "system-ui, sans-serif",
      view: { stroke: null },
      axis: { ...text, gridColor: line, domainColor: line, tickColor: line, labelOverlap: true, labelLimit: limit },
      legend: { ...text, symbolStrokeColor: ink },
      header: { labelColor: ink, labelFontWeight: "bold", labelFontSize: 12, labelAnchor: "start", labelLimit: 0, labelExpr: "split(datum.label, ': ')" },
    };
  }

  // Colours on dark paper, and looks of the curves that are shown.
  function adapted(spec, isDark, rows) {
    const shown = (field) => new Set(rows.map((row) => row[field]));
    return JSON.parse(JSON.stringify(spec), (key, value) => {
      if (isDark && key === "range" && Array.isArray(value)) return value.map((colour) => DATA.dark[colour] || colour);
      if (value && value.field && value.scale && Array.isArray(value.scale.domain) && value.type === "nominal") {
        const names = shown(value.field), { domain, range } = value.scale;
        const kept = domain.map((_, i) => i).filter((i) => names.has(domain[i]));
        value.scale = { domain: kept.map((i) => domain[i]), range: kept.map((i) => range[i]) };
      }
      return value;
    });
  }

  // A chart: its rows by filter and page, drawn when it comes into sight.
  function makeChart(figure) {
    const name = figure.dataset.chart, chart = DATA.charts[name];
    const place = figure.querySelector(".plot");
    const paged = chart.columns.indexOf(chart.pageBy);
    const state = { page: 0, view: null, isDrawn: false, mark: -1 };
    const back = element("button", { type: "button", onclick: () => turn(-1) }, "previous");
    const next = element("button", { type: "button", onclick: () => turn(1) }, "next");
    const status = element("span", { "aria-live": "polite" });
    const exports = ["svg", "png"].map((kind) =>
      element("button", { type: "button", "data-export": kind, onclick: () => save(kind) }, kind));
    place.after(element("div", { class: "tools" }, back, next, status, ...exports));

    function rowsOfPage() {
      const kept = filters.rows(chart.filters, chart.length);
      const parts = [...new Set(kept.map((row) => chart.values[paged][row]))];
      const pages = Math.max(Math.ceil(parts.length / chart.pageSize), 1);
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const shown = parts.slice(state.page * chart.pageSize, (state.page + 1) * chart.pageSize);
      const wanted = new Set(shown);
      const rows = kept.filter((row) => wanted.has(chart.values[paged][row]))
        .map((row) => Object.fromEntries(chart.columns.map((column, i) => [column, chart.values[i][row]])));
      back.hidden = next.hidden = status.hidden = pages === 1;
      back.disabled = state.page === 0;
      next.disabled = state.page === pages - 1;
      status.textContent = `${state.page + 1} of ${pages} (${parts.length} ${chart.pageBy}s)`;
      return rows;
    }

    function specOf(rows, isDark) {
      const width = Math.max(place.clientWidth || 1100, 280), limit = width * (width < 520 ? 0.52 : 0.42);
      const panels = [...new Set(rows.map((row) => row.panel))];
      const spec = adapted(chart.spec, isDark, rows);
      const labels = rows.map((row) => row.label || (row.point !== undefined ? row.y : "") || "");
      const longest = Math.max(...labels.map((label) => String(label).length));
      const left = longest ? Math.min(longest * LETTER, limit) + 30 : 52;
      const head = Math.max(...panels.flatMap((panel) => String(panel).split(": ").map((line) => line.length))) * 7;
      const fits = Math.max(Math.floor((width + 24) / (Math.max(chart.width + left, head) + 24)), 1);
      const columns = Math.min(fits, panels.length, 4);
      if (spec.width === undefined) {
        const most = columns === 1 && panels.length === 1 ? 640 : 420;
        spec.width = Math.max(Math.min(Math.floor((width - 24 * (columns - 1)) / columns - left - 12), most), 120);
      }
      const legend = { columns: Math.max(Math.floor(width / (Math.max(...rows.map((row) => String(row.curve || row.state || "").length)) * LETTER + 40)), 1) };
      const base = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", data: { values: rows }, config: { ...theme(isDark, limit) } };
      base.config.legend = { ...base.config.legend, ...legend };
      if (panels.length === 1 && !panels[0]) return { ...base, ...spec };
      return {
        ...base,
        facet: { field: "panel", type: "nominal", title: null, sort: panels },
        columns, spacing: 24, spec,
        resolve: { scale: { y: chart.spec.height.step ? "independent" : "shared", x: chart.width && spec.width.step ? "independent" : "shared" }, axis: { x: "independent", y: "independent" } },
      };
    }

    function compiled(spec) {
      return vega.parse(vegaLite.compile(spec, { logger: vega.logger(vega.Error) }).spec);
    }

    function draw() {
      if (state.view) state.view.finalize();
      state.isDrawn = true;
      state.mark = -1;
      const rows = rowsOfPage();
      if (!rows.length) {
        state.view = null;
        place.replaceChildren(element("p", { class: "empty" }, "Nothing here matches the filters."));
        return;
      }
      place.replaceChildren();
      state.view = new vega.View(compiled(specOf(rows, darkness.matches && !state.isPrinted)), { renderer: "svg", container: place, hover: true });
      state.view.tooltip((_, event, item, value) => {
        if (value === null || value === undefined || value === "") tip.hidden = true;
        else showTip(value, event.clientX, event.clientY);
      });
      state.view.run();
    }
    function turn(step) { state.page += step; draw(); }

    // Exports are for papers: light, with what the filters leave.
    async function save(kind) {
      const view = new vega.View(compiled({ ...specOf(rowsOfPage(), false), background: "#ffffff" }), { renderer: "none" });
      const url = kind === "svg"
        ? URL.createObjectURL(new Blob([await view.toSVG()], { type: "image/svg+xml" }))
        : await view.toImageURL("png", 2);
      element("a", { href: url, download: `${name}.${kind}` }).click();
      view.finalize();
    }

    // Arrow keys read the marks one by one.
    function marks() {
      const found = [];
      (function visit(item, x, y) {
        if (item.items) { for (const child of item.items) visit(child, x + (item.mark && item.x || 0), y + (item.mark && item.y || 0)); }
        else if (item.tooltip) found.push({ item, x, y });
      })(state.view.scenegraph().root, 0, 0);
      return found.filter(({ item }) => ["symbol", "rect"].includes(item.mark.marktype));
    }
    place.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") tip.hidden = true;
      if (!step || !state.view) return;
      event.preventDefault();
      const all = marks();
      if (!all.length) return;
      state.mark = (state.mark + step + all.length) % all.length;
      const { item, x, y } = all[state.mark];
      const box = place.querySelector("svg").getBoundingClientRect(), [left, top] = state.view.origin();
      showTip(item.tooltip, box.left + left + x + (item.bounds.x1 + item.bounds.x2) / 2, box.top + top + y + item.bounds.y2);
    });
    place.addEventListener("blur", () => { tip.hidden = true; });

    filters.listeners.push(() => { state.page = 0; if (state.isDrawn) draw(); });
    darkness.addEventListener("change", () => { if (state.isDrawn) draw(); });
    addEventListener("beforeprint", () => { state.isPrinted = true; draw(); });
    addEventListener("afterprint", () => { state.isPrinted = false; draw(); });
    let width = 0;
    new ResizeObserver(() => {
      if (state.isDrawn && place.clientWidth && Math.abs(place.clientWidth - width) > 20) { width = place.clientWidth; draw(); }
    }).observe(place);
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      width = place.clientWidth;
      draw();
    }, { rootMargin: "300px" }).observe(place);
  }

  makeFilters(document.getElementById("filters"));
  document.querySelectorAll(".table").forEach(makeTable);
  document.querySelectorAll(".chart").forEach(makeChart);
  addEventListener("beforeprint", () => document.querySelectorAll("main details").forEach((part) => { part.open = true; }));
})();
