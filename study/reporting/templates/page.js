"use strict";
(function () {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const PAGE_ROWS = 25;
  const PRINT_ROWS = 400;

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
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

  // A table that is sorted, searched and leafed through; only the rows in sight are in the document.
  function makeTable(place) {
    const table = DATA[place.dataset.table];
    const sentences = place.dataset.sentences ? DATA[place.dataset.sentences] : null;
    const verdict = table.columns.findIndex((column) => column.name === "verdict");
    const searched = table.rows.map((row) => row.join(" ").toLowerCase());
    const state = { order: table.rows.map((_, i) => i), page: 0, sorted: -1, down: false, size: PAGE_ROWS };
    const body = element("tbody");
    const status = element("span", { "aria-live": "polite" });
    const buttons = table.columns.map((column, i) =>
      element("button", { type: "button", title: column.help, onclick: () => sortBy(i) }, column.name));
    const heads = table.columns.map((column, i) =>
      element("th", { scope: "col", class: column.kind === "text" ? null : "n" }, buttons[i]));
    const back = element("button", { type: "button", onclick: () => turn(-1) }, "previous");
    const next = element("button", { type: "button", onclick: () => turn(1) }, "next");
    const search = element("input", { type: "search", oninput: () => filter() });

    function filter() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      state.order = searched.map((_, i) => i).filter((i) => words.every((word) => searched[i].includes(word)));
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
        const x = table.rows[a][column], y = table.rows[b][column];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
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
      status.textContent = `${state.order.length} rows, page ${state.page + 1} of ${pages}`;
    }
    function rowOf(i) {
      const unresolved = verdict >= 0 && table.rows[i][verdict] !== "resolved";
      const cells = table.rows[i].map((value, c) => {
        const kind = table.columns[c].kind;
        const name = kind !== "text" ? "n" : c === verdict ? "verdict-cell" : String(value).length < 20 ? "short" : null;
        return element("td", { class: name }, show(kind, value));
      });
      const row = element("tr", { class: (sentences ? "point" : "") + (unresolved ? " unresolved" : "") }, ...cells);
      if (!sentences) return [row];
      return [row, element("tr", { class: "sentence" }, element("td", { colspan: table.columns.length }, sentences[i]))];
    }
    addEventListener("beforeprint", () => { state.size = PRINT_ROWS; draw(); });
    addEventListener("afterprint", () => { state.size = PAGE_ROWS; draw(); });
    place.append(
      element("div", { class: "tools" }, element("label", {}, "search", search), back, next, status),
      element("div", { class: "scroll" },
        element("table", {}, element("caption", {}, place.dataset.caption),
          element("thead", {}, element("tr", {}, ...heads)), body)));
    draw();
  }

  function select(label, names, chosen) {
    const list = element("select", { onchange: () => chosen(list.selectedIndex) },
      ...names.map((name) => element("option", {}, name)));
    return element("label", {}, label, list);
  }

  // One panel at a time: a click of a select, not thousands of tiles at once.
  function makeSurface() {
    const plot = document.getElementById("surface-plot");
    const controls = document.getElementById("surface-controls");
    function drawPanel(view, number) {
      const figure = view.panels[number].figure;
      for (const trace of figure.data) {
        trace.hovertext = trace.hovertext || trace.customdata.map((row) => DATA.hover[row]);
      }
      Plotly.react(plot, figure.data, figure.layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] });
    }
    function chooseView(view) {
      while (controls.children.length > (DATA.views.length > 1 ? 1 : 0)) controls.lastChild.remove();
      if (view.panels.length > 1) {
        controls.append(select("shown", view.panels.map((panel) => panel.label), (i) => drawPanel(view, i)));
      }
      drawPanel(view, 0);
    }
    if (DATA.views.length > 1) {
      controls.append(select("surface", DATA.views.map((view) => view.title), (i) => chooseView(DATA.views[i])));
    }
    chooseView(DATA.views[0]);
  }

  document.querySelectorAll(".table").forEach(makeTable);
  makeSurface();
})();
