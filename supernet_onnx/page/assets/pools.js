// The pools: a profile of what they cost along the network, and a line for each with its branches behind it.

let dearest = 1; // of all branches, by the metric that is shown

function showPools() {
  const list = get("pool-list");
  list.append(make("div", { class: "headings", "aria-hidden": "true" },
    ...["", "pool", "selected branch", "weights", ""].map((text) => make("span", {}, text))));
  list.lastChild.lastChild.className = "metric-name";
  const trunk = make("span", { class: "number" });
  list.append(make("div", { class: "trunk" }, make("span"), make("span", {}, "trunk"),
    make("span", { class: "fine" }, "in every selection"), make("span"), trunk));
  data.pools.forEach((_, pool) => list.append(poolEntry(pool)));
  watch(() => {
    dearest = Math.max(...data.pools.map((_, pool) => Math.max(...amountsOf(pool)))) || 1;
    trunk.textContent = compact(metric().trunk, metric().unit);
    trunk.title = exact(metric().trunk);
    entries().forEach(fillEntry);
  });
  addChart(get("pools-chart"), profileFigure, { clicked: ({ x }) => openPool(nearestPool(x)), follows: true });
  get("find").addEventListener("input", find);
  const unfold = get("unfold");
  const toggle = (open) => {
    entries().forEach((entry) => { entry.open = open; });
    unfold.setAttribute("aria-pressed", String(open));
    unfold.textContent = open ? "Hide all branches" : "Show all branches";
  };
  unfold.addEventListener("click", () => toggle(unfold.getAttribute("aria-pressed") !== "true"));
  if (data.pools.length <= 6) toggle(true);
}

// The pool whose place on an axis is nearest.
const nearestPool = (place) => Math.min(Math.max(Math.round(place), 0), data.pools.length - 1);

const entries = () => [...document.querySelectorAll(".pool")];

function poolEntry(pool) {
  const entry = make("details", { class: "pool", "data-pool": pool }, make("summary"));
  entry.addEventListener("toggle", () => fillEntry(entry));
  return entry;
}

function fillEntry(entry) {
  const pool = Number(entry.dataset.pool);
  entry.classList.toggle("unreached", !isReached(pool));
  entry.firstChild.replaceChildren(...summaryOf(pool));
  while (entry.children.length > 1) entry.lastChild.remove();
  if (entry.open) entry.append(branchesOf(pool)); // hundreds of hidden tables would only take time
}

function summaryOf(pool) {
  const { name, branches } = data.pools[pool];
  const taken = view().choices[pool];
  const amount = isReached(pool) ? amountsOf(pool)[taken] : 0;
  const track = make("span", { class: "track", "aria-hidden": "true" }, make("i"));
  track.firstChild.style.width = `${(100 * Math.max(amount, 0)) / dearest}%`;
  return [
    make("span", { class: "name" }, name),
    make("span", { class: "name taken" }, isReached(pool) ? branches[taken].name : "not reached"),
    stripOf(branches, taken),
    make("span", { class: "amount", title: titled(metric()) }, track,
      make("span", { class: "figure", title: exact(amount) }, isReached(pool) ? compact(amount, metric().unit) : "–")),
  ];
}

// The weights as parts of a strip, the selected branch's in colour.
function stripOf(branches, taken) {
  const parts = branches.map(({ name, weight }, index) => {
    const part = make("i", { class: index === taken ? "taken" : null, title: `${name}: ${exact(weight)}` });
    part.style.flexGrow = String(weight);
    return part;
  });
  if (branches[0].weight === null) return make("span", { class: "fine" }, "weights are computed");
  const words = branches.map(({ name, weight }) => `${name} ${exact(weight)}`).join(", ");
  return make("span", { class: "strip", role: "img", "aria-label": `weights: ${words}` }, ...parts);
}

function branchesOf(pool) {
  const { calls, when, branches } = data.pools[pool];
  const scored = branches.some(({ score }) => score !== null);
  const heads = ["weight", ...(scored ? ["score"] : []), ...data.metrics.map(({ name }) => name)];
  const head = make("tr", {}, make("td"), make("th", { scope: "col" }, "branch"),
    ...heads.map((text) => make("th", { class: "number", scope: "col" }, text)),
    make("th", { class: "number roomy", scope: "col", title: "nodes that only selections with this branch need" }, "own nodes"));
  const notes = [
    ...(when ? [`reached with ${when}`] : []),
    ...(calls > 1 ? [`used ${calls} times, with one selection`] : []),
  ];
  return make("div", { class: "branches" },
    ...notes.map((note) => make("p", { class: "fine" }, note)),
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...branches.map((_, index) => branchRow(pool, index, scored)))));
}

function branchRow(pool, index, scored) {
  const { name, weight, score, nodes } = data.pools[pool].branches[index];
  const isTaken = index === view().choices[pool];
  const isBase = index === data.views[0].choices[pool];
  const mark = isTaken ? "●" : isBase ? "○" : "";
  const meaning = isTaken ? "selected" : isBase ? data.views[0].title : "";
  const number = (value, text) => make("td", { class: "number", title: exact(value) }, text);
  return make("tr", { class: isTaken ? "picked" : null },
    make("td", { class: isTaken ? "mark" : "mark base", title: meaning }, mark,
      make("span", { class: "unseen" }, meaning)),
    make("th", { scope: "row", class: "name" }, name),
    number(weight, weight === null ? "–" : weight.toFixed(3)),
    scored ? number(score, score === null ? "–" : compact(score)) : null,
    ...data.metrics.map(({ unit }, own) => {
      const amount = amountsOf(pool, own)[index];
      return number(amount, compact(amount, unit));
    }),
    make("td", { class: "number roomy" }, exact(nodes)));
}

function openPool(pool) {
  const entry = entries()[pool];
  entry.open = true;
  fillEntry(entry); // its own event would come after the scrolling
  entry.scrollIntoView({ block: "center" });
  entry.firstChild.focus({ preventScroll: true });
}

function find() {
  const wanted = get("find").value.toLowerCase();
  let found = 0;
  entries().forEach((entry, pool) => {
    const { name, branches } = data.pools[pool];
    entry.hidden = ![name, ...branches.map((branch) => branch.name)].some((text) => text.toLowerCase().includes(wanted));
    found += !entry.hidden;
  });
  get("none-found").hidden = found > 0;
}

function profileFigure() {
  const pools = data.pools.map((_, pool) => pool);
  const taken = pools.map((pool) => (isReached(pool) ? amountsOf(pool)[view().choices[pool]] : 0));
  const others = pools.flatMap((pool) => amountsOf(pool)
    .map((amount, index) => ({ pool, amount, index }))
    .filter(({ index }) => index !== view().choices[pool] || !isReached(pool)));
  const told = (pool, index, amount) => {
    const { name, branches } = data.pools[pool];
    return `<b>${plain(name)}</b><br>${plain(branches[index].name)}: ${plain(compact(amount, metric().unit))}`;
  };
  const width = get("pools-chart").clientWidth - 60;
  const step = Math.ceil((pools.length * 20) / width);
  const named = pools.filter((pool) => pool % step === 0);
  return {
    label: `${metric().name} of each pool: the selected branch as a bar, the others as ticks. The list below has all numbers.`,
    traces: [
      {
        type: "bar", x: pools, y: taken, width: pools.map(() => 0.62),
        marker: { color: colour("accent") },
        text: pools.map((pool) => told(pool, view().choices[pool], taken[pool])),
        textposition: "none", hovertemplate: "%{text}<extra></extra>",
      },
      {
        mode: "markers", x: others.map(({ pool }) => pool), y: others.map(({ amount }) => amount),
        marker: { symbol: "line-ew-open", size: Math.max(5, Math.min(48, (0.45 * width) / pools.length)), color: colour("ink"), line: { width: 1.5 } },
        text: others.map(({ pool, index, amount }) => told(pool, index, amount)),
        cliponaxis: false, hovertemplate: "%{text}<extra></extra>",
      },
    ],
    layout: {
      xaxis: axis("", {
        tickvals: named, ticktext: named.map((pool) => plain(shortened(data.pools[pool].name, 18))),
        range: [-0.6, pools.length - 0.4], showgrid: false, tickangle: pools.length > 8 ? -50 : 0,
      }),
      yaxis: axis(titled(metric()), { rangemode: "tozero" }),
    },
  };
}
