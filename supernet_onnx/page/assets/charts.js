// Charts by plotly.js, drawn when they come near the window, and again when something is picked or colours change.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const LIGHT = ["#0072b2", "#c2500a", "#00835f", "#b0508a", "#80660a", "#3a8fc4", "#585e67", "#7b3fa0"];
const DARK = ["#5fb0ea", "#ff9a5c", "#3fcfa0", "#eba3cb", "#e3c452", "#9ad5f7", "#a6acb5", "#c09aec"];
const DASHES = ["solid", "dot", "dash", "dashdot"];
const charts = new Map(); // element to what draws it, and whether it is drawn
const darkness = matchMedia("(prefers-color-scheme: dark)");
const isPrecise = matchMedia("(pointer: fine)").matches;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const hueOf = (index) => (darkness.matches ? DARK : LIGHT)[index % LIGHT.length];
const dashOf = (index) => DASHES[Math.floor(index / LIGHT.length) % DASHES.length];

// Unpacks plotly.js, which the page carries compressed, off the main thread; null where the browser cannot.
async function unpackPlotly() {
  if (!("DecompressionStream" in window)) return null;
  const packed = atob(get("plotly").textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i += 1) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// Runs a script whose hash the page's policy names.
function runScript(text) {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
}

function axis(title, options = {}) {
  return {
    title: { text: plain(title), standoff: 12, font: { size: 12.5 } },
    gridcolor: colour("line"),
    zeroline: false,
    ticks: "",
    linecolor: colour("rule"),
    tickfont: { size: 12 },
    automargin: true,
    exponentformat: "SI",
    fixedrange: true,
    ...options,
  };
}

function layout(options) {
  return {
    margin: { l: 8, r: 12, t: 10, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, size: 13, color: colour("soft") },
    hoverlabel: {
      bgcolor: colour("panel"), bordercolor: colour("rule"), align: "left", namelength: -1,
      font: { family: FONT, size: 13, color: colour("ink") },
    },
    dragmode: false,
    showlegend: false,
    hovermode: "closest",
    ...options,
  };
}

// Registers a chart. figure() returns {traces, layout, label}; clicked(place) is called for a click into it, and one
// that follows what is picked is drawn again whenever that changes.
function addChart(element, figure, { clicked = null, follows = false } = {}) {
  charts.set(element, { figure, follows, drawn: false });
  if (clicked) listen(element, clicked);
}

// Tells of clicks where they are, in the units of the axes, and how many pixels something is away from there.
// plotly.js tells of what it last hovered over, and under a finger that is what was touched before.
function listen(element, clicked) {
  element.addEventListener("pointerdown", (start) => {
    addEventListener("pointerup", (event) => { // anywhere: plotly.js lays a cover over the page meanwhile
      const { clientX, clientY, pointerId } = event;
      if (pointerId !== start.pointerId) return; // the finger that came down became a scroll
      if (Math.hypot(clientX - start.clientX, clientY - start.clientY) > 6) return; // a drag
      const { xaxis, yaxis } = element._fullLayout;
      const { left, top } = element.getBoundingClientRect();
      const [x, y] = [clientX - left - xaxis._offset, clientY - top - yaxis._offset];
      if (x < -8 || y < -8 || x > xaxis._length + 8 || y > yaxis._length + 8) return;
      const away = (otherX, otherY) => Math.hypot(xaxis.d2p(otherX) - x, yaxis.d2p(otherY) - y);
      clicked({ x: xaxis.p2d(x), y: yaxis.p2d(y), away });
    }, { once: true, capture: true });
  }, true);
}

function draw(element) {
  const chart = charts.get(element);
  if (element.hidden) return;
  const figure = chart.figure();
  element.setAttribute("aria-label", figure.label);
  if (figure.height) element.style.height = `${figure.height}px`;
  const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };
  window.Plotly.react(element, figure.traces, layout(figure.layout), config);
  chart.drawn = true;
}

function redraw() {
  for (const [element, { drawn }] of charts) if (drawn) draw(element);
}

function redrawFollowing() {
  for (const [element, { drawn, follows }] of charts) if (drawn && follows) draw(element);
}

const isNear = (element) => {
  const { top, bottom, width } = element.getBoundingClientRect();
  return width > 0 && bottom > -200 && top < innerHeight + 200;
};

// Draws what is near the window, and leaves the rest to the moment when it comes near.
function drawInTime() {
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !charts.get(target).drawn) draw(target);
      if (isIntersecting) observer.unobserve(target);
    }
  }, { rootMargin: "400px" });
  for (const element of charts.keys()) {
    if (isNear(element)) draw(element);
    else observer.observe(element);
  }
  darkness.addEventListener("change", redraw);
  addEventListener("beforeprint", () => [...charts.keys()].forEach(draw));
}
