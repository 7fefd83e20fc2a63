// The search: what was logged, when each pool decided, and the weights of one pool.

let watched = 0;

function showTraining() {
  if (!data.history) return;
  get("training").hidden = false;
  const { steps, total, series, costs } = data.history;
  const thinned = total > steps.length ? `, of which ${steps.length} are drawn` : "";
  get("training-lead").textContent = `What the search logged, step ${exact(steps[0])} to ${exact(steps.at(-1))}: `
    + `${exact(total)} lines${thinned}.`;
  for (const { name, values } of series) addSeries(name, [["", values]]);
  for (const { name, expected, selected } of costs) {
    addSeries(name, [["expected", expected], ["selected", selected]]);
  }
  const select = get("history-pool");
  data.pools.forEach(({ name }, pool) => select.append(make("option", { value: pool }, name)));
  select.addEventListener("change", () => watchPool(Number(select.value)));
  addChart(get("entropy-chart"), entropyFigure, {
    clicked: ({ y }) => watchPool(nearestPool(data.pools.length - 1 - y)),
  });
  addChart(get("weights-chart"), weightsFigure);
}

function watchPool(pool) {
  watched = pool;
  get("history-pool").value = pool;
  if (charts.get(get("weights-chart")).drawn) draw(get("weights-chart"));
}

const stepAxis = (options = {}) => axis("step", { showgrid: false, ...options });
const legend = () => ({ orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } });

function addSeries(name, lines) {
  const chart = make("div", { class: "chart", role: "img" });
  get("series").append(make("div", {}, make("h3", {}, name), chart));
  addChart(chart, () => ({
    label: `${name} by step`,
    traces: lines.map(([kind, values], index) => ({
      x: data.history.steps, y: values, name: kind, mode: values.length > 1 ? "lines" : "markers",
      line: { width: 1.8, color: index ? colour("bar") : colour("accent"), dash: index ? "dash" : "solid" },
      marker: { color: colour("accent") },
      hovertemplate: `step %{x}<br>${plain(kind)} %{y}<extra></extra>`,
    })),
    layout: {
      showlegend: lines.length > 1, legend: legend(), margin: { l: 8, r: 12, t: lines.length > 1 ? 26 : 8, b: 8 },
      xaxis: stepAxis({ title: { text: "" } }), yaxis: axis("", { nticks: 5 }),
    },
  }));
}

// One row a pool, the first on top, as in the list of pools.
function entropyFigure() {
  const pools = data.pools.map((_, pool) => pool).reverse();
  const { steps, pools: histories } = data.history;
  const size = Math.max(12, Math.min(24, 620 / pools.length));
  const names = pools.map((pool) => plain(shortened(data.pools[pool].name, 22)));
  const skipped = Math.ceil(13 / size);
  const places = pools.map((_, index) => index).filter((index) => (pools.length - 1 - index) % skipped === 0);
  return {
    label: "The entropy of the weights of each pool by step, from 1, all branches alike, to 0, decided.",
    height: 74 + size * pools.length,
    traces: [{
      type: "heatmap", x: steps, y: pools.map((_, index) => index), z: pools.map((pool) => histories[pool].entropy),
      text: pools.map((pool) => steps.map(() => plain(data.pools[pool].name))),
      zmin: 0, zmax: 1, ygap: size > 14 ? 2 : 1, colorscale: [[0, colour("wash")], [1, colour("accent")]],
      colorbar: { thickness: 10, lenmode: "pixels", len: 150, y: 1, yanchor: "top", outlinewidth: 0, tickvals: [0, 0.5, 1], tickfont: { size: 11 } },
      hovertemplate: "<b>%{text}</b><br>step %{x}<br>entropy %{z:.3f}<extra></extra>",
    }],
    layout: {
      xaxis: stepAxis(),
      yaxis: axis("", { tickvals: places, ticktext: places.map((index) => `${names[index]} `), showgrid: false }),
    },
  };
}

function weightsFigure() {
  const { name, branches } = data.pools[watched];
  const { steps, pools } = data.history;
  return {
    label: `The weights of the branches of ${name} by step`,
    traces: branches.map((branch, index) => ({
      x: steps, y: pools[watched].weights[index], name: plain(branch.name), mode: steps.length > 1 ? "lines" : "markers",
      line: { width: 2, color: hueOf(index), dash: dashOf(index) }, marker: { color: hueOf(index) },
      hovertemplate: `<b>${plain(branch.name).replace(/%/g, "%\u200b")}</b><br>step %{x}<br>weight %{y:.3f}<extra></extra>`,
    })),
    layout: {
      showlegend: true, legend: legend(), margin: { l: 8, r: 12, t: 30, b: 8 },
      xaxis: stepAxis(), yaxis: axis("weight", { range: [-0.02, 1.03], tickvals: [0, 0.25, 0.5, 0.75, 1] }),
    },
  };
}
