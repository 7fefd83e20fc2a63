// The front: a chart and a table of the same points, to pick from by pointer or keyboard.

const REACH = 20; // pixels within which a click means a point
const shown = { x: 0, y: 1 };
const digits = [];

function showFront() {
  if (!data.front) return;
  get("front").hidden = false;
  const { axes, complete, note } = data.front;
  const words = [note, complete ? "no selection beats any of these points" : ""].filter((text) => text);
  get("front-note").textContent = words.map((text) => `${text}.`).join(" ");
  get("axes").hidden = axes.length < 3;
  shown.y = axes.length - 1; // what is traded for all else comes last
  for (const side of ["x", "y"]) {
    const select = get(`axis-${side}`);
    axes.forEach(({ name }, index) => select.append(make("option", { value: index }, name)));
    select.value = shown[side];
    select.addEventListener("change", () => {
      shown[side] = Number(select.value);
      if (charts.get(get("front-chart")).drawn) draw(get("front-chart"));
    });
  }
  get("points").append(pointsHead(axes), make("tbody", {}, ...data.views.map(pointRow)));
  get("points").addEventListener("change", ({ target }) => pick({ view: Number(target.value) }));
  addChart(get("front-chart"), frontFigure, { clicked: pickNearest, follows: true });
  watch(markPoint);
}

// The amount of an axis in a view, with as many digits as tell the points from each other.
function amountOnAxis(index, axis) {
  digits[axis] ??= digitsFor(data.views.map((_, other) => onAxis(other, axis)));
  return compact(onAxis(index, axis), data.front.axes[axis].unit, digits[axis]);
}

const valuesOf = (index) => data.front.axes.map(({ name }, axis) => `${name} ${amountOnAxis(index, axis)}`);

const goalOf = ({ goal }) => (goal === "minimize" ? "less is better" : "more is better");

function pointsHead(axes) {
  const cells = axes.map((axis) => make("th", { class: "number", scope: "col", title: `${titled(axis)}, ${goalOf(axis)}` }, axis.name));
  return make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "point"), ...cells));
}

function pointRow({ title }, index) {
  const radio = make("input", { type: "radio", name: "point", value: index });
  const cells = data.front.axes.map((_, axis) =>
    make("td", { class: "number", title: exact(onAxis(index, axis)) }, amountOnAxis(index, axis)));
  const label = make("label", {}, radio, index > 0 ? String(index) : title);
  radio.setAttribute("aria-label", [title, ...valuesOf(index)].join(", "));
  const row = make("tr", {}, make("td", {}, label), ...cells);
  row.addEventListener("click", ({ target }) => {
    if (target.closest("label")) return; // the browser does that itself
    radio.focus({ preventScroll: true });
    pick({ view: index });
  });
  return row;
}

// Marks the picked point in the table, and brings it into the table's window without moving the page.
function markPoint() {
  const rows = get("points").tBodies[0].rows;
  [...rows].forEach((row, index) => {
    row.classList.toggle("picked", index === state.view);
    row.querySelector("input").checked = index === state.view;
  });
  const frame = get("points").parentElement;
  const row = rows[state.view];
  const above = get("points").tHead.offsetHeight;
  if (row.offsetTop - above < frame.scrollTop) frame.scrollTop = row.offsetTop - above;
  const below = row.offsetTop + row.offsetHeight - frame.clientHeight;
  if (below > frame.scrollTop) frame.scrollTop = below;
}

// The views that have a place in the chart.
const placed = () => data.views.map((_, index) => index)
  .filter((index) => onAxis(index, shown.x) !== null && onAxis(index, shown.y) !== null);

function pickNearest({ away }) {
  const distances = placed().map((index) => [away(onAxis(index, shown.x), onAxis(index, shown.y)), index]);
  const [distance, index] = distances.sort(([a], [b]) => a - b)[0];
  if (distance < REACH) pick({ view: index });
}

function frontFigure() {
  const [x, y] = [data.front.axes[shown.x], data.front.axes[shown.y]];
  const drawn = placed();
  const points = drawn.filter((index) => index > 0);
  const zoom = { fixedrange: !isPrecise };
  return {
    label: `The front: ${points.length} points, ${y.name} against ${x.name}. The table beside it has the same points.`,
    traces: [
      ...stairs(points, x),
      dots(points, { symbol: "circle", size: 9, color: colour("bar"), line: { width: 1, color: colour("paper") } }),
      dots(drawn.filter((index) => index === 0), { symbol: "diamond-open", size: 11, color: colour("soft"), line: { width: 2 } }),
      dots(drawn.filter((index) => index === state.view), { symbol: "circle", size: 15, color: colour("accent"), line: { width: 3, color: colour("paper") } }),
    ],
    layout: {
      dragmode: isPrecise ? "zoom" : false,
      xaxis: axis(`${titled(x)} · ${goalOf(x)}`, zoom),
      yaxis: axis(`${titled(y)} · ${goalOf(y)}`, zoom),
    },
  };
}

// The border of what can be had: between two points, what the cheaper one gives.
function stairs(points, x) {
  if (data.front.axes.length > 2) return [];
  const sorted = [...points].sort((a, b) => onAxis(a, shown.x) - onAxis(b, shown.x));
  return [{
    x: sorted.map((index) => onAxis(index, shown.x)),
    y: sorted.map((index) => onAxis(index, shown.y)),
    mode: "lines", hoverinfo: "skip",
    line: { shape: x.goal === "minimize" ? "hv" : "vh", width: 1.5, color: colour("mute") },
  }];
}

function dots(indices, marker) {
  return {
    x: indices.map((index) => onAxis(index, shown.x)),
    y: indices.map((index) => onAxis(index, shown.y)),
    text: indices.map(hoverOf),
    mode: "markers", marker, cliponaxis: false,
    hovertemplate: "%{text}<extra></extra>",
  };
}

function hoverOf(index) {
  const words = index > 0 ? first(differences(index), 4) : [];
  const lines = [...valuesOf(index), ...words.map((word) => shortened(word, 60))];
  return [`<b>${plain(data.views[index].title)}</b>`, ...lines.map(plain)].join("<br>");
}
