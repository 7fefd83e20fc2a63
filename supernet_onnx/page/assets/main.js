// Fills the page with text and tables, and then draws the charts.

const SECTIONS = { front: "Front", selection: "Selection", pools: "Pools", operators: "Operators", latency: "Latency", training: "Training", words: "Words" };
const HINTS = [
  ["front", "a front to pick from: supernet-onnx pareto writes one, --front shows it"],
  ["latency", "measured latency: supernet-onnx profile writes a table, --cost-table shows it"],
  ["history", "the search: supernet_onnx.train.TrainingLog writes a log, --log shows it"],
];

function showFacts() {
  document.title = `${data.file}, supernet-onnx`;
  get("file").textContent = data.file;
  get("version").textContent = data.version;
  const branches = data.pools.reduce((sum, pool) => sum + pool.branches.length, 0);
  const facts = [
    [exact(data.pools.length), data.pools.length === 1 ? "pool" : "pools"],
    [exact(branches), "branches"],
    [data.selections, "selections"],
    [exact(data.nodes), "nodes"],
  ].map(([value, name]) => make("li", {}, make("b", {}, value), ` ${name}`));
  get("facts").append(...facts, make("li", {}, data.format ? `mark format ${data.format}` : "mark format not stated"));
  const unknown = [...new Set(data.metrics.flatMap((own) => own.unknown))];
  if (unknown.length) {
    get("pools-title").after(make("p", { class: "note" }, `Not counted, for no metric knows them: ${unknown.join(", ")}`));
  }
  const missing = HINTS.filter(([part]) => !data[part]).map(([, hint]) => hint);
  get("missing").textContent = missing.length ? `Not in this report: ${missing.join("; ")}.` : "";
}

function showSections() {
  for (const [id, title] of Object.entries(SECTIONS)) {
    if (!get(id).hidden) get("sections").append(make("li", {}, make("a", { href: `#${id}` }, title)));
  }
}

async function main() {
  const unpacking = unpackPlotly();
  showFacts();
  showSelection();
  showFront();
  showPools();
  showOperators();
  showLatency();
  showTraining();
  showSections();
  watch(() => {
    for (const element of document.querySelectorAll(".metric-name")) element.textContent = titled(metric());
  });
  await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); }); // the text is to be seen first
  performance.mark("text");
  const plotly = await unpacking;
  if (plotly) {
    runScript(plotly);
    drawInTime();
    watchers.push(redrawFollowing);
  } else {
    for (const element of charts.keys()) {
      element.append(make("p", { class: "too-old" }, "This browser is too old to draw the charts; the tables have all numbers."));
    }
  }
  performance.mark("ready");
  document.documentElement.dataset.ready = "yes";
}

main();
