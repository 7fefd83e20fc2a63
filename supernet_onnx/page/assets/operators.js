// What each operator costs in the selection that is shown.

function showOperators() {
  addChart(get("operators-chart"), operatorsFigure, { follows: true });
  watch(() => {
    get("operators-table").replaceChildren(operatorsTable());
    const isKnown = operatorCosts().some(({ amount }) => amount > 0);
    get("operators-chart").hidden = !isKnown;
    get("operators-none").hidden = isKnown;
    const cause = view().totals[state.metric] > 0 ? "is known by branch, not by operator" : "is 0 in this selection";
    get("operators-none").textContent = `${metric().name} ${cause}.`;
  });
}

function operatorCosts() {
  return view().operators
    .map(([operator, nodes, amounts]) => ({ name: data.operators[operator], nodes, amounts, amount: amounts[state.metric] }))
    .sort((a, b) => b.amount - a.amount);
}

function operatorsFigure() {
  const costly = operatorCosts().filter(({ amount }) => amount > 0);
  const sum = view().totals[state.metric];
  const places = costly.map((_, index) => index);
  return {
    label: `${metric().name} of each operator; the table below has all numbers.`,
    height: 84 + 32 * Math.max(costly.length, 1),
    traces: [{
      type: "bar", orientation: "h", y: places, x: costly.map(({ amount }) => amount),
      width: places.map(() => 0.62), marker: { color: colour("accent") },
      text: costly.map(({ amount }) => plain(`${compact(amount, metric().unit)} · ${percent(amount / sum)}`)),
      textposition: "outside", textfont: { color: colour("ink") }, cliponaxis: false,
      hovertext: costly.map(({ name, nodes, amount }) => `<b>${plain(name)}</b><br>${nodes} nodes, ${exact(amount)}`),
      hovertemplate: "%{hovertext}<extra></extra>",
    }],
    layout: {
      xaxis: axis(titled(metric()), {
        range: [0, 1.32 * Math.max(...costly.map(({ amount }) => amount), 1e-9)],
      }),
      yaxis: axis("", {
        tickvals: places, ticktext: costly.map(({ name }) => `${plain(shortened(name))}  `), range: [costly.length - 0.5, -0.5], showgrid: false,
      }),
    },
  };
}

function operatorsTable() {
  const heads = ["nodes", ...data.metrics.map(titled)];
  const rows = operatorCosts().map(({ name, nodes, amounts }) => make("tr", {},
    make("th", { scope: "row", class: "name" }, name),
    ...[nodes, ...amounts].map((value) => make("td", { class: "number" }, exact(value)))));
  return make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "operator"),
      ...heads.map((text) => make("th", { scope: "col", class: "number" }, text)))),
    make("tbody", {}, ...rows));
}
