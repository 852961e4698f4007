// The charts of the last ten minutes, drawn by uPlot. A chart is a row of CHARTS; a column that never has a value is left out.
const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(0)} %`);
const ms = (value) => (value == null ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} ms`);
const plain = (unit) => (value) => (value == null ? "–" : `${value.toFixed(1)}${unit}`);
const clock = (unix) => new Date(1000 * unix).toLocaleTimeString("en-GB");
const CHARTS = [
  { title: "Exit rate", show: percent, range: [0, 1], lines: [["exit_rate", "exits", 3]] },
  { title: "Milliseconds per frame, median", show: ms, lines: [["exit_ms", "exit path", 3], ["full_ms", "full path", 2]] },
  { title: "Frames per second", show: plain(""), lines: [["fps", "answered", 1], ["dropped", "dropped", 5]] },
  { title: "Age of a frame at its answer", show: ms, lines: [["age_ms", "age", 4]] },
  { title: "Temperature of the hottest zone", show: plain(" °C"), lines: [["hottest_c", "hottest", 2]] },
  { title: "Power", show: plain(" W"), lines: [["power_w", "power", 5]] },
];
const KEPT = 600;
const place = document.getElementById("charts");
const isDark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
let columns = { time: [] };
let drawn = new Map(); // by title

function dataOf(chart) {
  return [columns.time, ...chart.lines.map(([name]) => columns[name] ?? columns.time.map(() => null))];
}

function draw(chart) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = chart.title;
  figure.append(caption);
  place.append(figure);
  const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 }, font: "13px system-ui, sans-serif" };
  const plot = new uPlot({
    width: figure.clientWidth, height: 180,
    padding: [8, 28, 0, 0],
    scales: { y: { range: chart.range ?? ((_, least, most) => [Math.min(0, least ?? 0), 1.08 * (most || 1)]) } },
    axes: [{ ...axis, space: 80, size: 32, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => chart.show(tick).replace(/\.0+(?= |$)/, "")) }],
    series: [{ label: "time", value: (_, value) => (value == null ? "–" : clock(value)) }, ...chart.lines.map(([, label, series]) => ({
      label, stroke: colour(`series-${series}`), width: 1.8, points: { show: false }, value: (_, value) => chart.show(value),
    }))],
  }, dataOf(chart), figure);
  return { figure, plot };
}

function refresh() {
  if (columns.time.length < 2) return;
  for (const chart of CHARTS) {
    const has = chart.lines.some(([name]) => columns[name]?.some((value) => value != null));
    const known = drawn.get(chart.title);
    if (!has) continue;
    if (known) known.plot.setData(dataOf(chart));
    else drawn.set(chart.title, draw(chart));
  }
}

function redraw() {
  for (const { figure, plot } of drawn.values()) { plot.destroy(); figure.remove(); }
  drawn = new Map();
  refresh();
}

export function setHistory(found) {
  columns = { time: [], ...found };
  redraw();
}

export function addRow(row) {
  const length = columns.time.length;
  for (const name of new Set([...Object.keys(columns), ...Object.keys(row)])) {
    columns[name] ??= Array(length).fill(null);
    columns[name].push(row[name] ?? null);
    if (columns[name].length > KEPT) columns[name].shift();
  }
  refresh();
}

new ResizeObserver(() => {
  for (const { figure, plot } of drawn.values()) {
    if (Math.abs(plot.width - figure.clientWidth) > 1) plot.setSize({ width: figure.clientWidth, height: 180 });
  }
}).observe(place);
isDark.addEventListener("change", redraw);
