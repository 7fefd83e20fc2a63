// What the page shows: the data of the file, which selection and which metric are picked, and who wants to know.

const data = JSON.parse(get("data").textContent);
const state = { view: 0, metric: 0 };
const watchers = [];

const view = () => data.views[state.view];
const metric = () => data.metrics[state.metric];
const isReached = (pool) => !view().unreached.includes(pool);

// What each branch of a pool adds, the other pools being as selected.
function amountsOf(pool, index = state.metric) {
  const own = view().amounts.find(([ofMetric, ofPool]) => ofMetric === index && ofPool === pool);
  return own ? own[2] : data.amounts[index][pool];
}

// Calls a function now and whenever something else is picked.
function watch(watcher) {
  watchers.push(watcher);
  watcher();
}

function pick(changes) {
  Object.assign(state, changes);
  for (const watcher of watchers) watcher();
  get("status").textContent = `Shown: ${view().title}, ${metric().name} ${exact(view().totals[state.metric])}`;
}

// The amount of an axis of the front in a view; null where nobody knows it.
function onAxis(index, axis) {
  if (index > 0) return data.front.values[index - 1][axis];
  const same = data.metrics.findIndex(({ name }) => name === data.front.axes[axis].name);
  return same < 0 ? null : data.views[0].totals[same];
}

// Where a view takes other branches than the first one.
function differences(index) {
  const [base, own] = [data.views[0].choices, data.views[index].choices];
  return data.pools.map((_, pool) => pool).filter((pool) => own[pool] !== base[pool])
    .map((pool) => `${data.pools[pool].name} = ${data.pools[pool].branches[own[pool]].name}`);
}

// The first of some texts, and how many more there are.
const first = (texts, most) => (texts.length > most ? [...texts.slice(0, most), `and ${texts.length - most} more`] : texts);
