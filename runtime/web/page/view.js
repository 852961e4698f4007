// The page: one WebSocket brings state, events and pictures. A picture is asked for when the last one is on the screen, and
// none while the page is hidden. Every text is set as text, never as HTML: labels are other people's.
import { addRow, setHistory } from "./charts.js";

const find = (id) => document.getElementById(id);
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
const PATHS = { EE: "EE exit", SAC: "SAC" };
const MOST_EVENTS = 50;
const cards = new Map(); // by camera
let socket, bins = [], isMoving = false, live = null, failures = 0;

// Connection

function connect() {
  socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { failures = 0; find("events").querySelector("ol").replaceChildren(); };
  socket.onmessage = ({ data }) => (typeof data === "string" ? takeText(JSON.parse(data)) : takePicture(data));
  socket.onclose = () => {
    report("not connected", false);
    for (const card of cards.values()) card.isAsked = false;
    setTimeout(connect, Math.min(500 * 2 ** failures++, 10000));
  };
}

function takeText(message) {
  if (message.kind === "history") setHistory(message.columns);
  else if (message.kind === "event") addEvent(message.event);
  else showState(message);
}

function report(text, isWell) {
  find("connection").textContent = text;
  find("connection").className = `badge ${isWell ? "well" : "bad"}`;
}

// Cameras

function cardOf(camera) {
  if (!cards.has(camera)) {
    const article = find("camera").content.cloneNode(true).firstElementChild;
    const part = (name) => article.querySelector(`.${name}`);
    cards.set(camera, { article, part, canvas: article.querySelector("canvas"), isAsked: false });
    find("cameras").append(article);
    document.body.className = cards.size === 1 ? "one" : "";
  }
  return cards.get(camera);
}

function ask(camera) {
  const card = cardOf(camera);
  if (document.hidden || card.isAsked || socket.readyState !== WebSocket.OPEN) return;
  card.isAsked = true;
  socket.send(JSON.stringify({ next: camera }));
}

async function takePicture(data) {
  const view = new DataView(data);
  const camera = view.getUint32(0), length = view.getUint32(4);
  const card = cardOf(camera);
  try {
    const image = await createImageBitmap(new Blob([new Uint8Array(data, 8 + length)], { type: "image/jpeg" }));
    if (card.canvas.width !== image.width || card.canvas.height !== image.height) {
      card.canvas.width = image.width;
      card.canvas.height = image.height;
    }
    card.canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
    showAnswer(card, JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length))));
  } finally {
    card.isAsked = false;
    requestAnimationFrame(() => ask(camera));
  }
}

function showAnswer(card, answer) {
  card.part("label").textContent = answer.label;
  card.part("probability").textContent = percent(answer.probability);
  card.part("stage").textContent = answer.degraded ? "EE, no time for SAC" : PATHS[answer.stage];
  card.part("stage").className = `stage ${answer.degraded ? "SAC" : answer.stage}`;
  card.part("confidence").textContent = `EE's confidence ${answer.confidence.toFixed(3)}`;
  const sac = answer.sac_ms == null ? "" : `, SAC ${ms(answer.sac_ms)}`;
  card.part("times").textContent = `EE ${ms(answer.ee_ms)}${sac}, age ${ms(answer.age_ms)}`;
  card.canvas.setAttribute("aria-label", `${answer.label}, ${percent(answer.probability)}, ${answer.stage}`);
}

function showCamera(state) {
  const card = cardOf(state.camera);
  card.part("name").textContent = state.name;
  card.part("rate").textContent = state.frames
    ? `${state.frames.toLocaleString("en")} frames, ${percent(state.exits / state.frames)} exits` : "no frame yet";
  const silent = state.last == null ? "waits for a frame" : `no frame for ${state.silent_s.toFixed(0)} s`;
  card.part("wait").textContent = state.is_stalled || state.last == null ? silent : "";
  ask(state.camera);
}

// Numbers

function showNumbers(state, row) {
  const shown = [
    [state.frames ? percent(state.exits / state.frames, 1) : "–", "exit rate"],
    [row?.fps?.toFixed(1) ?? "–", "frames per second"],
    [row?.age_ms == null ? "–" : ms(row.age_ms), "age at the answer"],
    [state.frames.toLocaleString("en"), "frames"],
    [state.dropped.toLocaleString("en"), "dropped"],
  ];
  const zones = Object.entries(state.temperatures_c).sort(([, one], [, other]) => other - one);
  if (zones.length) shown.push([`${zones[0][1].toFixed(0)} °C`, zones[0][0]]);
  if (row?.power_w != null) shown.push([`${row.power_w.toFixed(1)} W`, "power"]);
  find("numbers").replaceChildren(...shown.map(([value, name]) => {
    const box = document.createElement("div"), number = document.createElement("b"), text = document.createElement("span");
    number.textContent = value;
    text.textContent = name;
    box.append(number, text);
    return box;
  }));
}

function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].map(([size, unit], place, all) =>
    [Math.floor((place ? seconds % all[place - 1][0] : seconds) / size), unit]);
  return parts.filter(([count]) => count).slice(0, 2).map((part) => part.join(" ")).join(" ") || "0 s";
}

function showState(state) {
  document.title = `sacvit ${state.about.host}`;
  find("host").textContent = state.about.host;
  const { host, ...about } = state.about;
  find("about").textContent = `${Object.values(about).join(", ")}, up ${duration(state.uptime_s)}`;
  const stalled = state.cameras.filter((one) => one.is_stalled).length;
  report(stalled ? (state.cameras.length === 1 ? "no frames" : `${stalled} of ${state.cameras.length} cameras give no frames`) : "live", !stalled);
  state.cameras.forEach(showCamera);
  showNumbers(state, state.row);
  showThreshold(state.threshold);
  bins = state.confidences;
  showBins();
  if (state.row) addRow(state.row);
}

// Threshold

function showThreshold(found) {
  live = found;
  if (!isMoving && document.activeElement !== find("number")) move(found.threshold);
  find("save").hidden = !found.can_be_saved;
  const marks = new Map(); // names of one place share a mark
  for (const { name, threshold } of found.marks) marks.set(threshold, [...(marks.get(threshold) ?? []), name]);
  const key = JSON.stringify([...marks]);
  if (find("marks").dataset.key !== key) {
    find("marks").dataset.key = key;
    find("marks").replaceChildren(...[...marks].map(([threshold, names]) => {
      const mark = document.createElement("button");
      mark.type = "button";
      mark.textContent = names.join(", ");
      mark.title = `threshold ${threshold}`;
      mark.style.left = `${100 * threshold}%`;
      mark.className = threshold < 0.15 ? "left" : threshold > 0.85 ? "right" : "";
      mark.onclick = () => { isMoving = true; move(threshold); };
      return mark;
    }));
    spread();
  }
  showButtons();
}

// Marks that stand close to each other get a line each.
function spread() {
  const ends = [];
  for (const mark of find("marks").children) {
    const { left, right } = mark.getBoundingClientRect();
    let line = ends.findIndex((end) => left > end + 4);
    if (line < 0) line = ends.length;
    ends[line] = right;
    mark.style.top = `${17 * line}px`;
  }
  find("marks").style.height = `${9 + 17 * Math.max(1, ends.length)}px`;
  find("marks").parentElement.style.paddingBottom = find("marks").style.height;
}

function move(value) {
  find("eta").value = value;
  find("number").value = value;
  showBins();
  showButtons();
}

function showButtons() {
  const wanted = Number(find("number").value);
  const isSet = live !== null && Math.abs(wanted - live.threshold) < 1e-9;
  find("apply").disabled = live === null || isSet || !find("number").checkValidity();
  find("save").disabled = live === null || !isSet || live.marks.some((mark) => mark.name === "stored" && mark.threshold === live.threshold);
}

function showBins() {
  const total = bins.reduce((sum, count) => sum + count, 0), most = Math.max(1, ...bins), eta = Number(find("number").value);
  let exits = 0;
  find("bins").replaceChildren(...bins.map((count, place) => {
    const bar = document.createElement("i");
    const share = Math.min(1, Math.max(0, place + 1 - eta * bins.length)); // of the bin, above the threshold
    exits += count * share;
    bar.style.height = `${100 * Math.sqrt(count / most)}%`; // a few unsure frames beside a thousand sure ones can be seen
    bar.className = share >= 0.5 ? "exits" : "";
    return bar;
  }));
  find("expected").textContent = total
    ? `Of the last ${total.toLocaleString("en")} frames about ${percent(exits / total)} have a confidence of at least ${eta.toFixed(3)}. The bars show how many have which, on a square-root scale.`
    : "";
}

async function send(body) {
  const outcome = find("outcome");
  try {
    const answer = await fetch("/api/threshold", { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    isMoving = false;
    outcome.className = answer.ok ? "" : "bad";
    outcome.textContent = answer.ok ? (body.save ? "Stored in the bundle: the next run takes it too." : "Set for this run; not stored.") : found.error;
    if (answer.ok) showThreshold(found);
  } catch {
    outcome.className = "bad";
    outcome.textContent = "sacvit-run does not answer.";
  }
}

find("eta").oninput = () => { isMoving = true; move(Number(find("eta").value)); };
find("number").oninput = () => { isMoving = true; find("eta").value = find("number").value; showBins(); showButtons(); };
find("set").onsubmit = (submitted) => { submitted.preventDefault(); send({ threshold: Number(find("number").value) }); };
find("save").onclick = () => send({ threshold: Number(find("number").value), save: true });

// Events

function addEvent(event) {
  find("events").hidden = false;
  const list = find("events").querySelector("ol"), item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = event.time;
  time.textContent = new Date(event.time).toLocaleTimeString("en-GB");
  const what = document.createElement("b"), where = document.createElement("span");
  what.textContent = event.event;
  where.textContent = [event.camera == null ? null : `camera ${event.camera}`, event.label, event.probability == null ? null : percent(event.probability), event.detail]
    .filter(Boolean).join(", ");
  item.append(time, what, where);
  list.prepend(item);
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) for (const camera of cards.keys()) ask(camera); });
addEventListener("resize", spread);
connect();
