"use strict";
// Draws the charts of a comparison from the JSON beside it. Texts become text nodes, never markup.
const SVG = "http://www.w3.org/2000/svg";
const SLOTS = 8; // curves with a colour of their own
const FAR = 50; // the largest loss over the smallest, from which on its axis is logarithmic
const WIDE = 5; // intervals over scores, up to which the axis of a chart holds them all
const FEW = 12; // points, up to which each is marked
const tip = document.getElementById("tip");

function node(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made[key] = value;
  made.append(...inside);
  return made;
}

function shape(parent, name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const finite = value => typeof value === "number" && Number.isFinite(value);
const short = (text, length) => text.length > length ? text.slice(0, length - 1) + "…" : text;

function written(value) {
  if (!finite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

// An axis from low to high: at(value) is its place from 0 to 1; ticks are round values.
function axis(low, high, log) {
  if (log) {
    const from = Math.log(low), span = Math.log(high) - from || 1;
    return { at: value => value > 0 ? (Math.log(value) - from) / span : NaN, ticks: logTicks(low, high), log };
  }
  const span = high - low || 1;
  return { at: value => (value - low) / span, ticks: ticks(low, high), log };
}

function ticks(low, high, wanted = 5) {
  const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(factor => factor * power >= rough * .999) * power;
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9 && found.length < 20; n++) found.push(n * step);
  return found;
}

function logTicks(low, high) {
  const found = [], first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const each = last - first <= 2 ? [1, 2, 5] : [1], stride = Math.ceil((last - first) / 6) || 1;
  for (let power = first; power <= last; power += stride)
    for (const factor of each) {
      const value = factor * 10 ** power;
      if (value >= low * .999 && value <= high * 1.001) found.push(value);
    }
  return found.length > 1 ? found : ticks(low, high);
}

// The smallest and the largest of finite values; null where there is none. (Math.min(...values) fails for very many.)
function extent(values, positive = false) {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (finite(value) && !(positive && value <= 0)) { low = Math.min(low, value); high = Math.max(high, value); }
  return low > high ? null : [low, high];
}

// The extent with some room on either side.
function range(values, log) {
  const found = extent(values, log);
  if (!found) return null;
  const [low, high] = found;
  if (log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** .04, high * (high / low) ** .04];
  const room = (high - low || Math.abs(high) || 1) * .05;
  return [low - room, high + room];
}

// A frame with axes; x(value) and y(value) are pixels, and what is drawn in `area` is cut off at its edges.
function frame(holder, width, height, title, across, up, acrossName) {
  holder.replaceChildren();
  const left = 58, right = 14, top = 26, bottom = 38, w = Math.max(width - left - right, 40), h = height - top - bottom;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  holder.append(svg);
  shape(svg, "text", { x: left, y: 14, class: "title" }, short(title, Math.floor(w / 7)));
  const x = value => left + across.at(value) * w, y = value => top + (1 - up.at(value)) * h;
  for (const value of up.ticks) {
    shape(svg, "line", { class: "grid", x1: left, x2: left + w, y1: y(value), y2: y(value) });
    shape(svg, "text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, written(value));
  }
  const every = Math.max(1, Math.ceil(across.ticks.length * 58 / w));
  across.ticks.forEach((value, number) => {
    if (number % every === 0) shape(svg, "text", { x: x(value), y: top + h + 17, "text-anchor": "middle" }, written(value));
  });
  shape(svg, "line", { class: "axis", x1: left, x2: left + w, y1: top + h, y2: top + h });
  shape(svg, "text", { x: left + w, y: height - 4, "text-anchor": "end" }, acrossName);
  const area = shape(svg, "svg", { x: left, y: top, width: w, height: h, viewBox: `${left} ${top} ${w} ${h}` });
  return { svg, area, x, y, left, top, w, h };
}

function line(xs, ys, x, y) {
  let path = "", on = false;
  for (let n = 0; n < xs.length; n++) {
    const up = finite(ys[n]) ? y(ys[n]) : NaN;
    if (!Number.isFinite(up)) { on = false; continue; }
    path += `${on ? "L" : "M"}${x(xs[n]).toFixed(1)} ${up.toFixed(1)}`;
    on = true;
  }
  return path;
}

function band(xs, low, high, x, y, floor) {
  let path = "";
  for (let from = 0; from < xs.length; from++) {
    if (!finite(low[from]) || !finite(high[from])) continue;
    let to = from;
    while (to + 1 < xs.length && finite(low[to + 1]) && finite(high[to + 1])) to++;
    const point = (n, value) => { const up = y(value); return `${x(xs[n]).toFixed(1)} ${(Number.isFinite(up) ? up : floor).toFixed(1)}`; };
    const there = [], back = [];
    for (let n = from; n <= to; n++) { there.push(point(n, high[n])); back.unshift(point(n, low[n])); }
    path += `M${there.join("L")}L${back.join("L")}Z`;
    from = to;
  }
  return path;
}

const colour = (made, slot) => { made.style.setProperty("--colour", slot === undefined ? "var(--faint)" : `var(--c${slot})`); return made; };

function showTip(event, title, rows) {
  tip.replaceChildren(node("b", {}, title), ...rows.map(([slot, text]) => {
    const row = node("div");
    if (slot !== null) row.append(colour(node("i"), slot));
    row.append(text);
    return row;
  }));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(4, event.clientY + 16 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 16)}px`;
}
const hideTip = () => { tip.hidden = true; };

// One part of the page: the groups that can be compared.
function part(section, data) {
  const shown = new Map(); // number of a group -> slot of its colour
  const view = { metrics: data.metrics.slice(0, 2).map(metric => metric.name), at: "step", log: "auto", seeds: false };
  const kept = new Map(); // number of an axis of the parallel coordinates -> [low, high] of its places
  const boxes = new Map([...section.querySelectorAll("input[data-group]")].map(box => [Number(box.dataset.group), box]));
  const find = name => section.querySelector(`[data-chart=${name}]`);

  function pick(group, on) {
    if (on && !shown.has(group)) {
      if (shown.size === SLOTS) pick(shown.keys().next().value, false);
      const taken = new Set(shown.values());
      shown.set(group, [...Array(SLOTS).keys()].find(slot => !taken.has(slot)));
    } else if (!on) shown.delete(group);
    const box = boxes.get(group);
    if (box) { box.checked = on; colour(box, shown.get(group)); }
  }

  function curveChart(holder, metric, split) {
    const groups = data.groups.map((_, number) => number).filter(number => split.curves[number]);
    const coloured = groups.filter(number => shown.has(number));
    const place = (number, step) => view.at === "epoch" && data.groups[number].epoch ? step / data.groups[number].epoch : step;
    const xs = number => data.steps[split.curves[number].x].map(step => place(number, step));
    const scope = coloured.length ? coloured : groups;
    const values = scope.flatMap(number => split.curves[number].y.flat());
    const [low, high] = extent(values) ?? [0, 0];
    const log = view.log === "log" ? high > 0 : view.log === "auto" && low > 0 && high > FAR * low;
    const up = range(values, log);
    if (!up) { holder.replaceChildren(node("p", { className: "note" }, `${metric.name}, ${split.name}: no finite number`)); return; }
    const [first, last] = extent(scope.flatMap(xs));
    const across = axis(Math.min(0, first), last || 1, false);
    const f = frame(holder, holder.clientWidth || 480, 260, `${metric.name}, ${split.name}`, across, axis(up[0], up[1], log), view.at);
    for (const number of groups.filter(number => !shown.has(number))) {
      const curve = split.curves[number];
      shape(f.area, "path", { class: "other", d: line(xs(number), curve.m || curve.y[0], f.x, f.y) });
    }
    for (const number of [...shown.keys()].reverse().filter(number => split.curves[number])) {
      const curve = split.curves[number], own = xs(number), layer = colour(shape(f.area, "g"), shown.get(number));
      if (curve.m) shape(layer, "path", { class: "band", d: band(own, curve.l, curve.h, f.x, f.y, f.top + f.h) });
      if (curve.m && view.seeds) for (const ys of curve.y) shape(layer, "path", { class: "seed", d: line(own, ys, f.x, f.y) });
      const middle = curve.m || curve.y[0];
      shape(layer, "path", { class: "curve", d: line(own, middle, f.x, f.y), "data-group": number });
      if (own.length <= FEW) middle.forEach((value, n) => {
        if (finite(value) && Number.isFinite(f.y(value))) shape(layer, "circle", { class: "dot", cx: f.x(own[n]), cy: f.y(value), r: 3.5 });
      });
    }
    const rule = shape(f.svg, "line", { class: "axis", y1: f.top, y2: f.top + f.h, visibility: "hidden" });
    const cover = shape(f.svg, "rect", { x: f.left, y: f.top, width: f.w, height: f.h, fill: "transparent" });
    cover.addEventListener("pointermove", event => {
      const box = f.svg.getBoundingClientRect(), px = (event.clientX - box.left) * (holder.clientWidth || 480) / box.width;
      const rows = []; let nearest = null;
      for (const number of coloured) {
        const own = xs(number);
        let best = 0;
        own.forEach((value, n) => { if (Math.abs(f.x(value) - px) < Math.abs(f.x(own[best]) - px)) best = n; });
        if (nearest === null || Math.abs(f.x(own[best]) - px) < Math.abs(f.x(nearest) - px)) nearest = own[best];
        const curve = split.curves[number], value = (curve.m || curve.y[0])[best];
        const interval = curve.m ? ` [${written(curve.l[best])}, ${written(curve.h[best])}]` : "";
        rows.push([value, [shown.get(number), `${short(data.groups[number].name, 40)}: ${written(value)}${interval}`]]);
      }
      if (nearest === null) return;
      for (const end of ["x1", "x2"]) rule.setAttribute(end, f.x(nearest));
      rule.setAttribute("visibility", "visible");
      rows.sort((a, b) => (b[0] ?? -Infinity) - (a[0] ?? -Infinity));
      showTip(event, `${view.at} ${written(nearest)}`, rows.map(row => row[1]));
    });
    cover.addEventListener("pointerleave", () => { rule.setAttribute("visibility", "hidden"); hideTip(); });
  }

  function curves() {
    const holder = find("curves");
    if (!holder) return;
    const wanted = view.metrics.map(name => data.metrics.find(metric => metric.name === name));
    const legend = [...shown].map(([number, slot]) => node("span", {}, colour(node("i"), slot), short(data.groups[number].name, 60)));
    section.querySelector(".legend").replaceChildren(...(data.groups.length > 1 ? legend : []));
    holder.replaceChildren(...wanted.map(metric =>
      node("div", { className: "charts" }, ...metric.splits.map(() => node("div", { className: "chart" })))));
    wanted.forEach((metric, row) => metric.splits.forEach((split, column) => curveChart(holder.children[row].children[column], metric, split)));
  }

  function controls() {
    const holder = section.querySelector("[data-controls=curves]");
    if (!holder) return;
    const choose = (label, options, value, set) => {
      const list = node("select", {}, ...options.map(option => node("option", { value: option, selected: option === value }, option)));
      list.addEventListener("change", () => { set(list.value); curves(); });
      holder.append(node("label", {}, label, list));
    };
    const names = data.metrics.map(metric => metric.name);
    view.metrics.forEach((name, row) => choose(row ? "and" : "curves of", names, name, value => { view.metrics[row] = value; }));
    if (data.groups.some(group => group.epoch)) choose("over", ["step", "epoch"], view.at, value => { view.at = value; });
    choose("scale", ["auto", "linear", "log"], view.log, value => { view.log = value; });
    if (data.metrics.some(metric => metric.splits.some(split => split.curves.some(curve => curve && curve.m)))) {
      const box = node("input", { type: "checkbox" });
      box.addEventListener("change", () => { view.seeds = box.checked; curves(); });
      holder.append(node("label", {}, box, "each seed"));
    }
  }

  const scores = data.score.at.map(score => score ? score[0] : null);
  const tone = value => {
    const [low, high] = extent(scores);
    const share = high > low ? (value - low) / (high - low) : 1;
    return `color-mix(in oklab, var(--high) ${Math.round(100 * (data.score.sign < 0 ? 1 - share : share))}%, var(--low))`;
  };

  function coordinates() {
    const holder = find("coordinates");
    if (!holder) return;
    const axes = [...data.axes, { name: data.score.name, at: scores, ticks: null, log: false }].map(one => {
      if (one.ticks) return { ...one, place: value => one.ticks.length > 1 ? .04 + .92 * value / (one.ticks.length - 1) : .5 };
      const span = range(one.at, one.log) || [0, 1], made = axis(span[0], span[1], one.log);
      const distinct = [...new Set(one.at.filter(finite))];
      return { ...one, place: made.at, marks: distinct.length <= 6 ? distinct : made.ticks };
    });
    const width = Math.max(holder.parentNode.clientWidth - 4, axes.length * 118), height = 340, top = 50, h = height - top - 18;
    holder.replaceChildren();
    holder.style.width = `${width}px`;
    const svg = shape(holder, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "parallel coordinates" });
    const x = number => 60 + number * (width - 120) / (axes.length - 1), y = place => top + (1 - place) * h;
    const inside = group => [...kept].every(([number, [low, high]]) => {
      const place = axes[number].at[group] === null ? NaN : axes[number].place(axes[number].at[group]);
      return place >= low && place <= high;
    });
    const order = data.groups.map((_, group) => group).filter(group => finite(scores[group]));
    order.sort((a, b) => data.score.sign * (scores[a] - scores[b]));
    for (const group of order) {
      const path = axes.map((one, number) => one.at[group] === null ? null : [x(number), y(one.place(one.at[group]))]);
      let text = "", on = false;
      for (const point of path) { if (point) text += `${on ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`; on = Boolean(point); }
      const made = shape(svg, "path", { class: inside(group) ? "path" : "path off", d: text, "data-group": group });
      made.style.stroke = tone(scores[group]);
      made.addEventListener("pointermove", event => showTip(event, data.groups[group].name, axes.map(one =>
        [null, `${one.name}: ${one.ticks ? one.ticks[one.at[group]] : written(one.at[group])}`])));
      made.addEventListener("pointerleave", hideTip);
    }
    axes.forEach((one, number) => {
      const across = x(number);
      const title = shape(svg, "text", { x: across, y: number % 2 ? 34 : 14, "text-anchor": "middle", class: "title" }, short(one.name.replace(/^.*\.(?=.)/, ""), 24));
      shape(title, "title", {}, one.name);
      shape(svg, "line", { class: "axis", x1: across, x2: across, y1: top, y2: top + h });
      const marks = one.ticks ? one.ticks.map((text, place) => [place, text]) : one.marks.map(value => [value, written(value)]);
      const stride = Math.ceil(marks.length / 16);
      marks.forEach(([value, text], n) => {
        const last = number === axes.length - 1;
        if (n % stride === 0) shape(svg, "text", { x: across + (last ? -7 : 7), y: y(one.place(value)) + 4, "text-anchor": last ? "end" : "start", class: "halo" }, short(text, 18));
      });
      if (kept.has(number)) {
        const [low, high] = kept.get(number);
        shape(svg, "rect", { class: "brush", x: across - 8, width: 16, y: y(high), height: Math.max(y(low) - y(high), 1) });
      }
      const handle = shape(svg, "rect", { class: "handle", x: across - 12, width: 24, y: top, height: h });
      handle.addEventListener("pointerdown", event => {
        event.preventDefault();
        const box = svg.getBoundingClientRect(), at = e => Math.min(1, Math.max(0, 1 - ((e.clientY - box.top) * height / box.height - top) / h));
        const from = at(event);
        const move = e => { const to = at(e); if (Math.abs(to - from) > .02) { kept.set(number, [Math.min(from, to) - .01, Math.max(from, to) + .01]); coordinates(); } };
        const up = e => {
          removeEventListener("pointermove", move); removeEventListener("pointerup", up);
          if (Math.abs(at(e) - from) <= .02) { kept.delete(number); coordinates(); }
        };
        addEventListener("pointermove", move); addEventListener("pointerup", up);
      });
    });
  }

  function cost() {
    const holder = find("cost");
    if (!holder) return;
    const points = data.groups.map((_, group) => group).filter(group => finite(scores[group]) && data.seconds[group] > 0);
    if (points.length < 2) return;
    const seconds = points.map(group => data.seconds[group]), log = extent(seconds)[1] > 10 * extent(seconds)[0];
    const across = range(seconds, log), near = range(points.map(group => scores[group]), false);
    const far = range(points.flatMap(group => data.score.at[group]), false), up = far[1] - far[0] <= WIDE * (near[1] - near[0]) ? far : near;
    const width = Math.min(holder.clientWidth || 640, 760);
    holder.style.maxWidth = "760px";
    const f = frame(holder, width, 280, `${data.score.name} and time`, axis(across[0], across[1], log), axis(up[0], up[1], false), "seconds of a run");
    for (const group of [...points].sort((a, b) => shown.has(a) - shown.has(b))) {
      const [value, low, high] = data.score.at[group], layer = colour(shape(f.area, "g"), shown.get(group)), px = f.x(data.seconds[group]);
      if (finite(low) && finite(high)) shape(layer, "line", { class: "bar", x1: px, x2: px, y1: f.y(low), y2: f.y(high) });
      const dot = shape(layer, "circle", { class: "dot", cx: px, cy: f.y(value), r: 5.5, "data-group": group });
      dot.addEventListener("pointermove", event => showTip(event, data.groups[group].name, [
        [null, `${data.score.name}: ${written(value)}${finite(low) ? ` [${written(low)}, ${written(high)}]` : ""}`], [null, `${written(data.seconds[group])} s`]]));
      dot.addEventListener("pointerleave", hideTip);
    }
  }

  const draw = () => { curves(); coordinates(); cost(); };
  for (const [group, box] of boxes) box.addEventListener("change", () => { pick(group, box.checked); draw(); });
  data.groups.forEach((_, group) => pick(group, false));
  data.groups.slice(0, SLOTS).forEach((_, group) => pick(group, true));
  controls();
  return draw;
}

// A click on the head of a column sorts by it: numbers the largest first, at the second click the smallest.
function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = node("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending", rows = [...table.tBodies[0].rows];
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const numbers = rows.every(row => key(row) === "" || Number.isFinite(Number(key(row))));
      rows.sort((a, b) => {
        if (numbers && (key(a) === "") !== (key(b) === "")) return key(a) === "" ? 1 : -1;
        const order = numbers ? Number(key(b)) - Number(key(a)) : key(b).localeCompare(key(a), "en", { numeric: true });
        return down ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

document.documentElement.classList.add("live");
const parts = JSON.parse(document.getElementById("data").textContent);
const draws = parts.map((data, number) => part(document.querySelector(`[data-part="${number}"]`), data));
document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll(".pictures figure").forEach(figure =>
  figure.addEventListener("click", () => figure.classList.toggle("whole")));
const drawAll = () => draws.forEach(draw => draw());
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; requestAnimationFrame(drawAll); } });
drawAll();
