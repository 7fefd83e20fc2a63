// The selection that is shown: what it costs, and the command that makes it.

function showSelection() {
  const select = get("view");
  data.views.forEach(({ title }, index) => select.append(make("option", { value: index }, title)));
  get("view-label").hidden = data.views.length < 2;
  select.addEventListener("change", () => pick({ view: Number(select.value) }));
  const metrics = get("metric");
  data.metrics.forEach(({ name }, index) => metrics.append(make("option", { value: index }, name)));
  metrics.addEventListener("change", () => pick({ metric: Number(metrics.value) }));
  watch(() => {
    select.value = state.view;
    metrics.value = state.metric;
    get("selection-name").textContent = view().title;
    get("totals").replaceChildren(...totals());
    get("command").textContent = command();
    const words = differences(state.view);
    const pools = words.length === 1 ? "1 pool" : `${words.length} pools`;
    get("differs").textContent = words.length
      ? `Differs from ${data.views[0].title} in ${pools}: ${first(words, 8).join(", ")}.` : "";
  });
  offerCopy(get("copy-command"), command);
  offerCopy(get("copy-json"), () => {
    const taken = data.pools.map(({ key, branches }, pool) => [key, branches[view().choices[pool]].key]);
    return `${JSON.stringify(Object.fromEntries(taken), null, 2)}\n`;
  });
}

function command() {
  const options = data.pools.map(({ branches }, pool) => branches[view().choices[pool]].option);
  return [data.command, ...options].join(" \\\n    ");
}

// What the selection costs, metric by metric, then what only the front knows of it.
function totals() {
  const rows = data.metrics.map(({ name, unit, minimum, maximum }, index) =>
    total(name, unit, view().totals[index], data.views[0].totals[index], [minimum, maximum]));
  for (const [index, { name, unit }] of (data.front?.axes ?? []).entries()) {
    if (state.view === 0 || data.metrics.some((own) => own.name === name)) continue;
    const all = data.front.values.map((values) => values[index]);
    rows.push(total(name, unit, onAxis(state.view, index), null, [Math.min(...all), Math.max(...all)], " on the front"));
  }
  return rows;
}

function total(name, unit, value, base, [least, most], where = "") {
  const place = (number) => (most > least ? (100 * (number - least)) / (most - least) : 50);
  const digits = digitsFor([least, most]);
  const range = make("div", { class: "range", "aria-hidden": "true" });
  if (base !== null && base !== value) range.append(make("i", { class: "base", title: data.views[0].title }));
  range.append(make("i"));
  if (range.children.length > 1) range.firstChild.style.left = `${place(base)}%`;
  range.lastChild.style.left = `${place(value)}%`;
  const more = change(value, base);
  return make("div", { class: "total" },
    make("div", { class: "label" },
      make("span", {}, make("b", {}, name), make("span", { class: "unit" }, unit)),
      more ? make("span", { class: "change" }, `${more} against ${data.views[0].title} `, make("i")) : null),
    make("div", { class: "value" }, exact(value)),
    range,
    make("div", { class: "ends" },
      make("span", { title: exact(least) }, `least${where} ${compact(least, unit, digits)}`),
      make("span", { title: exact(most) }, `most${where} ${compact(most, unit, digits)}`)));
}

// Lets a button copy a text, and say so.
function offerCopy(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const done = await copy(text());
    button.textContent = done ? "Copied" : "Not allowed: select and copy";
    get("status").textContent = button.textContent;
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // a browser that gives pages from a disk no clipboard
    const area = make("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
