// The keypoint editor. `element`, `props`, `trigger` and `watch` are Gradio's; see app/web/editor.py.
const DRAG = 14; // px on the screen within which a point is taken
let labels = null; // what is edited: individuals[n][k] = [x, y, confidence] or null
let picture = null;
let image = null;
let who = 0;
let chosen = 0;
let view = { scale: 1, x: 0, y: 0 };
let past = [];
let future = [];
let dim = false;
let pointers = new Map();
let drag = null;
let ui = null;

function find() {
  ui = {
    canvas: element.querySelector("canvas"),
    names: element.querySelector(".names"),
    who: element.querySelector('[data-role="who"]'),
    status: element.querySelector(".status"),
  };
}

function say(text) {
  ui.status.textContent = text;
}

function load(value) {
  picture = value;
  labels = value ? JSON.parse(JSON.stringify(value.individuals)) : null;
  past = [];
  future = [];
  who = 0;
  chosen = 0;
  image = null;
  // On a phone the picture's shape is the canvas's.
  ui.canvas.style.setProperty("--shape", value ? `${value.size[0]} / ${value.size[1]}` : "1");
  if (!value) {
    say("no picture yet");
    list();
    paint();
    return;
  }
  const arrived = new Image();
  arrived.onload = () => {
    image = arrived;
    fit();
    say(value.file);
  };
  arrived.src = value.image;
  list();
}

function list() {
  ui.names.replaceChildren();
  ui.who.replaceChildren();
  if (!labels) return;
  labels.forEach((_, n) => {
    const option = document.createElement("option");
    option.value = n;
    option.textContent = String(n + 1);
    ui.who.append(option);
  });
  ui.who.value = who;
  picture.names.forEach((name, k) => {
    const row = document.createElement("li");
    const button = document.createElement("button");
    const dot = document.createElement("span");
    const point = labels[who][k];
    dot.className = "dot";
    dot.style.background = picture.colours[k];
    button.type = "button";
    button.dataset.k = k;
    button.className = point ? "" : "absent";
    button.setAttribute("aria-current", k === chosen ? "true" : "false");
    button.append(dot, point ? `${name} ${point[2].toFixed(2)}` : `${name} (missing: click to set)`);
    row.append(button);
    ui.names.append(row);
  });
}

function resize() {
  const box = ui.canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  const w = Math.max(1, Math.round(box.width * ratio));
  const h = Math.max(1, Math.round(box.height * ratio));
  if (ui.canvas.width !== w || ui.canvas.height !== h) {
    ui.canvas.width = w;
    ui.canvas.height = h;
  }
  return ratio;
}

function fit() {
  const box = ui.canvas.getBoundingClientRect();
  const [w, h] = picture.size;
  view.scale = Math.min(box.width / w, box.height / h);
  view.x = (box.width - w * view.scale) / 2;
  view.y = (box.height - h * view.scale) / 2;
  paint();
}

// Pixel centres are at whole numbers: the picture's left edge is at -0.5.
const onScreen = ([x, y]) => [view.x + (x + 0.5) * view.scale, view.y + (y + 0.5) * view.scale];
const inPicture = ([x, y]) => [(x - view.x) / view.scale - 0.5, (y - view.y) / view.scale - 0.5];

function clamp([x, y]) {
  const [w, h] = picture.size;
  return [Math.min(Math.max(x, 0), w - 1), Math.min(Math.max(y, 0), h - 1)];
}

function paint() {
  const ratio = resize();
  const g = ui.canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, ui.canvas.width, ui.canvas.height);
  if (!image || !labels) return;
  const [w, h] = picture.size;
  g.imageSmoothingEnabled = view.scale < 3;
  g.drawImage(image, view.x, view.y, w * view.scale, h * view.scale);
  if (dim) shade(g);
  labels.forEach((points, n) => draw(g, points, n === who));
}

function shade(g) {
  const there = labels[who].filter(Boolean).map(onScreen);
  if (there.length < 2) return;
  const xs = there.map((p) => p[0]);
  const ys = there.map((p) => p[1]);
  const grow = 0.25 * Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  const box = [Math.min(...xs) - grow, Math.min(...ys) - grow, Math.max(...xs) + grow, Math.max(...ys) + grow];
  g.fillStyle = "rgba(0, 0, 0, 0.6)";
  g.beginPath();
  g.rect(0, 0, ui.canvas.width, ui.canvas.height);
  g.rect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  g.fill("evenodd");
}

function draw(g, points, active) {
  g.globalAlpha = active ? 1 : 0.45;
  g.lineWidth = 1.5;
  g.strokeStyle = "#ffffffaa";
  for (const [a, b] of picture.bones) {
    if (!points[a] || !points[b]) continue;
    g.beginPath();
    g.moveTo(...onScreen(points[a]));
    g.lineTo(...onScreen(points[b]));
    g.stroke();
  }
  points.forEach((point, k) => {
    if (!point) return;
    const [x, y] = onScreen(point);
    g.globalAlpha = (active ? 1 : 0.45) * (0.35 + 0.65 * point[2]);
    g.beginPath();
    g.arc(x, y, active && k === chosen ? 7 : 5, 0, 2 * Math.PI);
    g.fillStyle = picture.colours[k];
    g.fill();
    g.lineWidth = active && k === chosen ? 2.5 : 1;
    g.strokeStyle = active && k === chosen ? "#ffffff" : "#000000";
    g.stroke();
  });
  g.globalAlpha = 1;
}

function remember() {
  past.push(JSON.stringify([labels, who, chosen]));
  if (past.length > 200) past.shift();
  future = [];
}

function restore(from, to) {
  if (!from.length) return;
  to.push(JSON.stringify([labels, who, chosen]));
  [labels, who, chosen] = JSON.parse(from.pop());
  changed();
}

function changed() {
  list();
  paint();
  trigger("input", { key: picture.key, individuals: labels });
}

function nearest(at) {
  let best = null;
  labels.forEach((points, n) =>
    points.forEach((point, k) => {
      if (!point) return;
      const [x, y] = onScreen(point);
      const distance = Math.hypot(x - at[0], y - at[1]) - (n === who ? 2 : 0);
      if (distance < DRAG && (!best || distance < best.distance)) best = { n, k, distance };
    })
  );
  return best;
}

function zoom(factor, at) {
  const box = ui.canvas.getBoundingClientRect();
  const [x, y] = at || [box.width / 2, box.height / 2];
  const scale = Math.min(Math.max(view.scale * factor, 0.02), 60);
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  paint();
}

// A click sets the chosen keypoint; the next missing one follows, so that a picture is a row of clicks.
function place(at) {
  remember();
  labels[who][chosen] = [...clamp(inPicture(at)), 1];
  const k = picture.names.length;
  const next = picture.names.map((_, i) => (chosen + 1 + i) % k).find((i) => !labels[who][i]);
  if (next === undefined) say("all keypoints of this animal are set");
  else choose(next);
  changed();
}

// What is on the page now, and of which picture: with a button of the page's, so that no edit is left behind.
function submit() {
  trigger("submit", { pool_name: picture ? picture.pool_name : null, individuals: labels });
}

function choose(k) {
  chosen = (k + picture.names.length) % picture.names.length;
  list();
  paint();
  const row = ui.names.querySelector('[aria-current="true"]');
  if (row) row.scrollIntoView({ block: "nearest" });
  say(`${picture.names[chosen]}${labels[who][chosen] ? "" : ": click on the picture to set it"}`);
}

function remove() {
  if (!labels[who][chosen]) return;
  remember();
  labels[who][chosen] = null;
  changed();
}

function nudge(dx, dy) {
  const point = labels[who][chosen];
  if (!point) return;
  remember();
  labels[who][chosen] = [...clamp([point[0] + dx, point[1] + dy]), 1];
  changed();
}

const DO = {
  undo: () => restore(past, future),
  redo: () => restore(future, past),
  delete: remove,
  in: () => zoom(1.3),
  out: () => zoom(1 / 1.3),
  fit,
  dim: () => {
    dim = !dim;
    element.querySelector('[data-do="dim"]').setAttribute("aria-pressed", String(dim));
    paint();
  },
  animal: () => {
    remember();
    labels.push(picture.names.map(() => null));
    who = labels.length - 1;
    chosen = 0;
    changed();
  },
};

function where(event) {
  const box = ui.canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function down(event) {
  if (!labels) return;
  ui.canvas.focus({ preventScroll: true });
  ui.canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, where(event));
  if (pointers.size === 2) {
    drag = { kind: "pinch", gap: gap() };
    return;
  }
  const at = where(event);
  const hit = nearest(at);
  if (hit && event.button === 0) {
    who = hit.n;
    ui.who.value = who;
    choose(hit.k);
    drag = { kind: "point", before: JSON.stringify([labels, who, chosen]), moved: false };
  } else {
    drag = { kind: "picture", from: at, moved: false };
  }
}

function gap() {
  const [a, b] = [...pointers.values()];
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

function move(event) {
  if (!drag || !pointers.has(event.pointerId)) return;
  const at = where(event);
  pointers.set(event.pointerId, at);
  if (drag.kind === "pinch" && pointers.size === 2) {
    const now = gap();
    zoom(now / drag.gap);
    drag.gap = now;
  } else if (drag.kind === "point") {
    drag.moved = true;
    labels[who][chosen] = [...clamp(inPicture(at)), 1];
    paint();
  } else if (drag.kind === "picture") {
    const [dx, dy] = [at[0] - drag.from[0], at[1] - drag.from[1]];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    view.x += dx;
    view.y += dy;
    drag.from = at;
    paint();
  }
}

function up(event) {
  const was = drag;
  pointers.delete(event.pointerId);
  if (pointers.size) return;
  drag = null;
  if (!was || !labels) return;
  if (was.kind === "point" && was.moved) {
    past.push(was.before);
    future = [];
    changed();
  } else if (was.kind === "picture" && !was.moved && event.button === 0 && !labels[who][chosen]) {
    place(where(event));
  }
}

function key(event) {
  if (!labels) return;
  const step = event.shiftKey ? 10 : 1;
  const control = event.ctrlKey || event.metaKey;
  const keys = {
    ArrowLeft: () => nudge(-step, 0),
    ArrowRight: () => nudge(step, 0),
    ArrowUp: () => nudge(0, -step),
    ArrowDown: () => nudge(0, step),
    Delete: remove,
    Backspace: remove,
    n: () => choose(chosen + 1),
    p: () => choose(chosen - 1),
    "+": () => zoom(1.3),
    "=": () => zoom(1.3),
    "-": () => zoom(1 / 1.3),
    0: fit,
  };
  if (control && event.key.toLowerCase() === "z") restore(event.shiftKey ? future : past, event.shiftKey ? past : future);
  else if (control && event.key.toLowerCase() === "y") restore(future, past);
  else if (!control && keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
}

function mount() {
  find();
  element.querySelector(".zoo-editor").addEventListener("zoo-submit", submit);
  ui.canvas.addEventListener("pointerdown", down);
  ui.canvas.addEventListener("pointermove", move);
  ui.canvas.addEventListener("pointerup", up);
  ui.canvas.addEventListener("pointercancel", up);
  ui.canvas.addEventListener("keydown", key);
  ui.canvas.addEventListener(
    "wheel",
    (event) => {
      if (!labels) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, where(event));
    },
    { passive: false }
  );
  ui.who.addEventListener("change", () => {
    who = Number(ui.who.value);
    list();
    paint();
  });
  ui.names.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(Number(button.dataset.k));
  });
  element.querySelectorAll("[data-do]").forEach((button) =>
    button.addEventListener("click", () => {
      if (labels) DO[button.dataset.do]();
    })
  );
  new ResizeObserver(() => image && paint()).observe(ui.canvas);
  load(props.value || null);
}

mount();
// A new value renders the template again, so everything in it is new.
watch("value", mount);
