// Predicted against measured latency of whole subnets.

function showLatency() {
  if (!data.latency) return;
  get("latency").hidden = false;
  const { errors, measured_on: where, unit } = data.latency;
  const facts = errors
    ? [
      ["subnets not fitted", exact(errors.subnets)],
      ["mean error", percent(errors.mean)],
      ["largest error", percent(errors.largest)],
      ["within 10 %", percent(errors.near, 0)],
      ["Spearman's rank correlation", errors.spearman === null ? "–" : errors.spearman.toFixed(3)],
    ]
    : [["subnets not fitted", "none, so nothing proves the predictions"]];
  fillList(get("latency-errors"), facts);
  fillList(get("latency-where"), where);
  addChart(get("latency-chart"), () => latencyFigure(unit));
  get("latency-table").append(latencyTable(unit));
}

function fillList(list, facts) {
  for (const [name, value] of facts) list.append(make("dt", {}, name), make("dd", {}, value));
}

function latencyFigure(unit) {
  const { measured, predicted, fitted } = data.latency;
  const places = measured.map((_, index) => index);
  const most = 1.06 * Math.max(...measured, ...predicted);
  const told = (index) => `<b>${fitted[index] ? "fitted" : "not fitted"}</b><br>measured ${exact(measured[index])} ${plain(unit)}`
    + `<br>predicted ${exact(predicted[index])} ${plain(unit)}<br>${change(predicted[index], measured[index]) || "exact"}`;
  const dots = (indices, marker) => ({
    x: indices.map((index) => measured[index]), y: indices.map((index) => predicted[index]),
    text: indices.map(told), mode: "markers", marker, cliponaxis: false, hovertemplate: "%{text}<extra></extra>",
  });
  const line = (slope, options) => ({ x: [0, most], y: [0, slope * most], mode: "lines", hoverinfo: "skip", ...options });
  const zoom = { fixedrange: !isPrecise, rangemode: "tozero" };
  return {
    label: `Predicted against measured latency of ${measured.length} subnets; the table below has all numbers.`,
    traces: [
      line(0.9, { line: { width: 0, color: colour("mute") } }),
      line(1.1, { line: { width: 0, color: colour("mute") }, fill: "tonexty", fillcolor: colour("wash") }),
      line(1, { line: { width: 1.5, color: colour("mute") } }),
      dots(places.filter((index) => fitted[index]), { symbol: "circle-open", size: 8, color: colour("bar"), line: { width: 1.5 } }),
      dots(places.filter((index) => !fitted[index]), { symbol: "circle", size: 9, color: colour("accent"), line: { width: 1, color: colour("paper") } }),
    ],
    layout: {
      dragmode: isPrecise ? "zoom" : false,
      xaxis: axis(`measured [${unit}]`, { ...zoom, range: [0, most] }),
      yaxis: axis(`predicted [${unit}]`, { ...zoom, range: [0, most] }),
    },
  };
}

function latencyTable(unit) {
  const { measured, predicted, fitted } = data.latency;
  const heads = [`measured [${unit}]`, `predicted [${unit}]`, "error"];
  const rows = measured.map((value, index) => make("tr", {},
    make("td", {}, fitted[index] ? "fitted" : "not fitted"),
    ...[exact(value), exact(predicted[index]), change(predicted[index], value) || "0 %"].map((text) => make("td", { class: "number" }, text))));
  return make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "subnet"),
      ...heads.map((text) => make("th", { scope: "col", class: "number" }, text)))),
    make("tbody", {}, ...rows));
}
