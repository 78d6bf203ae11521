// What scripts add: tables that sort, figures under the mouse, rows and curves that are live. Without them all is still there.
(() => {
  "use strict";

  // A cell as what it is sorted by: a time, a quantity, how much is done, a number with what is said of it, or its text.
  const key = (cell) => {
    const time = cell.querySelector("time");
    if (time) return Date.parse(time.dateTime);
    const measured = cell.querySelector("data, progress");
    if (measured) return Number(measured.value);
    const text = cell.textContent.trim().replace(/,(?=\d{3})/g, "");
    const number = /^[▼▲\s]*(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.-])/i.exec(text);
    return number ? Number(number[1]) : text.toLowerCase();
  };

  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b
      : typeof a === "number" ? -1 : typeof b === "number" ? 1 : a < b ? -1 : a > b ? 1 : 0;

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
    rows.sort((a, b) => (direction === "descending" ? -1 : 1) * compare(a[0], b[0]));
    body.append(...rows.map((pair) => pair[1]));
    for (const [place, head] of [...table.tHead.rows[0].cells].entries()) {
      if (place === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    }
  };

  // Where a table's order is kept over reloads and refreshes: by page, and by the table's caption or place.
  const place = (table) => {
    const all = [...document.querySelectorAll("table.sortable")];
    const columns = [...table.tHead.rows[0].cells].map((head) => head.textContent).join("|");
    return `sort ${location.pathname} ${columns} ${table.closest("[id]")?.id} ${table.closest("#rows") ? "" : all.indexOf(table)}`;
  };
  const kept = {
    get: (name) => { try { return sessionStorage.getItem(name); } catch { return null; } },
    set: (name, value) => { try { sessionStorage.setItem(name, value); } catch { /* kept for this page alone */ } },
  };

  const sortable = (table) => {
    if (table.dataset.sorts || !table.tHead || !table.tBodies[0] || table.tBodies[0].rows.length < 2) return;
    table.dataset.sorts = "yes";
    const name = place(table);
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      if (!head.textContent.trim() || head.querySelector("a")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const direction = head.getAttribute("aria-sort") === first ? other : first;
        sort(table, column, direction);
        kept.set(name, JSON.stringify([column, direction]));
      });
    }
    const last = JSON.parse(kept.get(name) || "null");
    if (last && last[0] < table.tHead.rows[0].cells.length) sort(table, last[0], last[1]);
  };

  // Wide parts scroll sideways, by the keyboard, too.
  const scrolls = (part) => {
    if (part.scrollWidth > part.clientWidth && !part.hasAttribute("tabindex")) {
      part.tabIndex = 0;
      part.setAttribute("role", "region");
      part.setAttribute("aria-label", "table, scrolls sideways");
    }
  };

  const short = (value) => (value === null ? "" : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(0) : String(+value.toPrecision(4)));
  const wider = (_, low, high) => {
    if (low === null) return [0, 1];
    const margin = high > low ? 0.04 * (high - low) : 0.05 * (Math.abs(high) || 1);
    return [low - margin, high + margin];
  };

  const drawn = new Map();
  const draw = (figure) => {
    const source = figure.querySelector(".data");
    const target = figure.querySelector(".drawing");
    if (!source || !target || !window.uPlot || drawn.has(figure)) return;
    const data = JSON.parse(source.textContent);
    const width = Math.max(260, Math.min(620, target.clientWidth));
    if (!data.x.length || !data.lines.some((line) => line.y.some((value) => value !== null))) return;
    const series = [{ label: data.labels[0] }];
    const columns = [data.x];
    const bands = [];
    for (const line of data.lines) {
      const points = data.kind === "points";
      columns.push(line.y);
      series.push({
        label: line.name, stroke: line.colour, width: 2, dash: line.dash, spanGaps: true,
        points: { show: points || data.x.length <= 60, size: points ? 8 : 5, fill: line.colour },
        ...(points ? { paths: () => null } : {}),
      });
    }
    for (const line of data.lines) {
      if (!line.low.length) continue;
      for (const end of ["high", "low"]) {
        columns.push(line[end]);
        series.push({ label: `${line.name}, ${end}`, stroke: "transparent", width: 0, points: { show: false }, spanGaps: true });
      }
      bands.push({ series: [columns.length - 2, columns.length - 1], fill: `${line.colour}26` });
    }
    const ink = getComputedStyle(document.body).color;
    const axis = { stroke: ink, grid: { stroke: `color-mix(in srgb, ${ink} 15%, transparent)`, width: 1 }, font: "12px system-ui, sans-serif" };
    const chart = new window.uPlot({
      width, height: 280, series, bands,
      scales: {
        x: { time: false, ...(data.log[0] ? { distr: 3 } : { range: wider }) },
        y: data.log[1] ? { distr: 3 } : { range: wider },
      },
      axes: [{
        ...axis, label: data.labels[0], values: (_, at) => at.map(short),
        ...(data.whole && !data.log[0] ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000] } : {}),
      }, { ...axis, label: data.labels[1], size: 64, values: (_, at) => at.map(short) }],
      // Values of the legend are those under the mouse; without one it has none.
      hooks: { setCursor: [(plot) => plot.root.classList.toggle("idle", plot.cursor.idx == null)] },
      legend: {
        live: data.kind !== "points",
        markers: { fill: (_, index) => data.lines[index - 1]?.colour ?? "transparent", stroke: () => "transparent" },
      },
    }, columns, (plot, start) => {
      plot.root.classList.add("idle");
      target.replaceChildren(plot.root);
      start();
    });
    // Ends of bands need no line in the legend.
    for (const [index, row] of [...chart.root.querySelectorAll(".u-legend .u-series")].entries()) {
      if (index > data.lines.length) row.classList.add("unseen");
    }
    target.setAttribute("aria-hidden", "true");
    drawn.set(figure, chart);
  };

  addEventListener("resize", () => {
    for (const [figure, chart] of drawn) {
      const target = figure.querySelector(".drawing");
      if (figure.isConnected) chart.setSize({ width: Math.max(260, Math.min(620, target.clientWidth)), height: 280 });
      else drawn.delete(figure);
    }
  });

  const enhance = (root) => {
    root.querySelectorAll("table.sortable").forEach(sortable);
    root.querySelectorAll(".scroll, pre").forEach(scrolls);
    root.querySelectorAll("figure.chart").forEach(draw);
  };

  // What a visitor has opened, scrolled to or stands on within a part of the page stays when the part is renewed.
  const standing = new WeakMap();
  const STANDS = { open: "details", scrolled: ".scroll, pre", focused: "th button, summary" };
  const remember = (part) => {
    const all = (what) => [...part.querySelectorAll(STANDS[what])];
    standing.set(part, {
      open: all("open").map((one) => one.open),
      scrolled: all("scrolled").map((one) => [one.scrollLeft, one.scrollTop]),
      focused: all("focused").indexOf(document.activeElement),
    });
  };
  const restore = (part) => {
    const was = standing.get(part);
    if (!was) return;
    part.querySelectorAll(STANDS.open).forEach((one, place) => { if (was.open[place]) one.open = true; });
    part.querySelectorAll(STANDS.scrolled).forEach((one, place) => {
      if (was.scrolled[place]) [one.scrollLeft, one.scrollTop] = was.scrolled[place];
    });
    if (was.focused >= 0) part.querySelectorAll(STANDS.focused)[was.focused]?.focus({ preventScroll: true });
  };

  const away = (said) => {
    const line = document.getElementById("away");
    if (line && line.textContent !== said) line.textContent = said;
  };
  const LOST = "The server does not answer now; this page goes on by itself when it does.";

  // A job's events. The browser connects again by itself, with the number of the last event it has had. A page that is
  // not seen follows nothing: browsers have six connections for a host, which six hidden pages would keep.
  let source = null;
  const follow = (job) => {
    if (source || document.hidden) return;
    source = new EventSource(job.dataset.events);
    const said = (name, tell) => source.addEventListener(name, (event) => {
      away("");
      if (event.lastEventId) job.dataset.events = job.dataset.events.replace(/\?.*$/, `?after=${event.lastEventId}`);
      tell(JSON.parse(event.data));
    });
    said("progress", (now) => {
      const done = document.getElementById("done");
      const stage = document.getElementById("stage");
      if (done) done.value = now.fraction;
      if (stage) stage.textContent = now.stage;
    });
    said("state", (now) => { document.getElementById("state").textContent = now.state; });
    said("metrics", () => { window.htmx?.trigger("#curve", "metrics"); });
    said("ended", () => { rest(); setTimeout(() => location.reload(), 300); });
    source.addEventListener("away", () => { away(LOST); });
    source.addEventListener("error", () => {
      if (source?.readyState === EventSource.CLOSED) { rest(); setTimeout(() => follow(job), 2000); }
      setTimeout(() => { if (!resting && source?.readyState !== EventSource.OPEN) away(LOST); }, 3000);
    });
    resting = false;
  };
  let resting = true;
  const rest = () => { source?.close(); source = null; };
  const live = (job) => {
    follow(job);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { resting = true; rest(); } else follow(job);
    });
    addEventListener("pagehide", () => { resting = true; rest(); });
    addEventListener("pageshow", () => follow(job));
  };

  addEventListener("DOMContentLoaded", () => {
    enhance(document);
    const job = document.querySelector("[data-events]");
    if (job) live(job);
    document.body.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
    document.body.addEventListener("htmx:beforeSwap", (event) => remember(event.detail.target));
    document.body.addEventListener("htmx:afterSwap", (event) => { enhance(event.target); restore(event.target); });
    document.body.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) away(""); });
    for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
      document.body.addEventListener(name, (event) => {
        if (event.detail.xhr?.status === 401) location.reload();
        else away(LOST);
      });
    }
  });
  // A report needs no events of its own; its scripts stand at the end of the page.
  if (document.readyState !== "loading") enhance(document);
})();
