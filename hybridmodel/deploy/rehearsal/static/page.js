// Shows what the events say, as text only, and sends what the buttons mean.
"use strict";

const KEY = "session";
const KEPT = 180; // As many samples as the rehearsal keeps.
const SIGNS = { running: "●", slow: "◐", hung: "‖", dead: "✕", starting: "○" };
const MEANINGS = {
  401: "no valid key", 404: "no such deployment", 408: "too late", 413: "too large",
  424: "the model's error", 429: "too many", 503: "no room",
};
const SVG = "http://www.w3.org/2000/svg";
const AGAIN = "`hybridmodel rehearse page DIR` prints a link to this page";

const find = id => document.getElementById(id);
const cards = new Map();
let samples = [];
let seen = null;

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function pairs(list, facts) {
  // Keeps the elements, so that what is selected stays so.
  while (list.children.length < facts.length) {
    const pair = document.createElement("div");
    pair.append(element("dt"), element("dd"));
    list.append(pair);
  }
  facts.forEach(([name, value], at) => {
    const [term, described] = list.children[at].children;
    write(term, name);
    write(described, value);
  });
}

function many(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds === 0) return "0 s";
  if (seconds >= 10) return `${many(seconds)} s`;
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  const value = seconds * 1000;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
}

function clock(seconds) {
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60];
  return parts.map(part => String(Math.floor(part)).padStart(2, "0")).join(":");
}

function codes(counted) {
  const said = Object.entries(counted).map(([code, count]) => {
    const meaning = code in MEANINGS ? ` (${MEANINGS[code]})` : "";
    return `${many(count)} × ${code}${meaning}`;
  });
  return said.join(", ") || "none yet";
}

// What is known.

function show(state) {
  const before = seen;
  seen = state.snapshot;
  document.title = `Rehearsal of ${seen.endpoint}`;
  write(find("endpoint"), seen.endpoint);
  write(find("about"), `${seen.uri} · ${seen.auth_mode} · ${seen.server}`);
  pairs(find("figures"), [
    ["requests a second", many(seen.requests_per_s)],
    ["in flight", many(sum(seen.deployments, "in_flight"))],
    ["answers", many(Object.values(seen.codes).reduce((all, one) => all + one, 0))],
    ["open connections", many(seen.connections)],
    ["delayed by bandwidth", duration(seen.delayed_s)],
    ["running for", clock(seen.elapsed_s)],
  ]);
  for (const one of seen.deployments) {
    if (!cards.has(one.name)) cards.set(one.name, card(one.name));
    fill(cards.get(one.name), one);
    const old = before && before.deployments.find(other => other.name === one.name);
    if (old && old.condition !== one.condition) announce(`${one.name}: ${one.condition}`);
  }
  write(find("codes"), `Answers of the endpoint: ${codes(seen.codes)}`);
  const off = seen.off.map(name => `${name} is switched off`);
  const notes = [...seen.notes, ...off];
  find("unlike").hidden = !notes.length;
  list(find("notes"), notes);
  find("main").hidden = false;
}

function sum(rows, name) {
  return rows.reduce((all, row) => all + row[name], 0);
}

function list(node, texts) {
  if ([...node.children].map(item => item.textContent).join("\n") === texts.join("\n")) return;
  node.replaceChildren(...texts.map(text => element("li", text)));
}

function announce(text) {
  const log = find("changes");
  log.append(element("span", `${text}. `));
  while (log.children.length > 10) log.firstChild.remove();
}

// Cards.

function card(name) {
  const made = find("card").content.firstElementChild.cloneNode(true);
  write(made.querySelector(".name"), name);
  made.setAttribute("aria-label", `Deployment ${name}`);
  made.querySelector(".buttons").setAttribute("aria-label", `Disturb ${name}`);
  for (const button of made.querySelectorAll("button")) {
    write(button.querySelector(".unseen"), ` ${name}`);
    button.addEventListener("click", () => press(made, name, button));
  }
  made.querySelector("input").setAttribute("aria-label", `Seconds by which ${name} is slow`);
  find("cards").append(made);
  return made;
}

function fill(made, one) {
  made.className = `card ${one.condition}`;
  write(made.querySelector(".sign"), SIGNS[one.condition] ?? "?");
  const slow = one.condition === "slow" ? ` by ${duration(one.delay_s)}` : "";
  write(made.querySelector(".word"), one.condition + slow);
  made.querySelector(".part").setAttribute("width", `${one.traffic}%`);
  const later = one.wanted_instances === one.instances
    ? "" : `, ${one.wanted_instances} in ${clock(one.instances_in_s)}`;
  const dropped = one.mirror_dropped ? `, ${many(one.mirror_dropped)} dropped` : "";
  pairs(made.querySelector(".facts"), [
    ["traffic", `${one.traffic} %`],
    ["mirror", `${one.mirror} % (${many(one.mirrored)} requests${dropped})`],
    ["instances", `${one.instances}${later}`],
    ["in flight", `${one.in_flight} of ${one.limit}, ${one.waiting} waiting`],
    ["answers", codes(one.codes)],
    ["of the model", codes(one.model_codes)],
    ["models", one.models.join(", ")],
  ]);
  for (const [row, times] of [["gateway", one.latency], ["model", one.model_latency]]) {
    const cells = made.querySelectorAll(`.${row} td`);
    const values = [times.median_s, times.p99_s, times.max_s];
    values.forEach((value, at) => write(cells[at], duration(value)));
  }
  made.querySelector("[data-action=kill]").disabled = ["dead", "starting"].includes(one.condition);
  made.querySelector("[data-action=revive]").disabled = ["running", "starting"].includes(one.condition);
}

// Charts: as wide as their place, with the same scale for all deployments.

function draw() {
  const every = samples.flatMap(sample => Object.values(sample.deployments));
  const times = every.flatMap(point => [point.median_s, point.p99_s]).filter(time => time > 0);
  const factors = decades(times.length ? times : [0.001, 0.01]);
  const steps = linear(Math.max(1, ...every.map(point => point.answers_per_s)));
  for (const [name, made] of cards) {
    const points = samples.map(sample => sample.deployments[name]);
    const now = points[points.length - 1];
    if (!now) continue;
    chart(made.querySelector(".times"), factors, {
      median: points.map(point => point.median_s),
      p99: points.map(point => point.p99_s),
    }, `Times of ${name}: now median ${duration(now.median_s)}, p99 ${duration(now.p99_s)}`);
    chart(made.querySelector(".rates"), steps, {
      answers: points.map(point => point.answers_per_s),
      errors: unlessNone(points.map(point => point.errors_per_s)),
    }, `Answers of ${name}: now ${many(now.answers_per_s)} a second, ${many(now.errors_per_s)} errors`);
  }
}

// Scales: the lines across, what is written at each, and where between 0 and 1 a value lies.

function decades(times) {
  const low = Math.floor(Math.log10(Math.min(...times)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...times))));
  const powers = Array.from({ length: high - low + 1 }, (_, at) => low + at);
  return {
    ticks: powers.map(power => [10 ** power, power < 0 ? `${+(10 ** (power + 3)).toPrecision(1)} ms` : `${10 ** power} s`]),
    place: value => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low),
  };
}

function linear(most) {
  const unit = 10 ** Math.floor(Math.log10(most));
  const high = unit * [1, 2, 5, 10].find(step => step * unit >= most * 0.999);
  return { ticks: [[0, "0"], [high, many(high)]], place: value => Math.min(1, value / high) };
}

// Leaves gaps where there is nothing at a point and beside it.
function unlessNone(values) {
  return values.map((value, at) => (values[at - 1] || value || values[at + 1] ? value : null));
}

function chart(svg, scale, lines, description) {
  const width = svg.clientWidth, height = svg.clientHeight;
  if (!width) return;
  const left = 58, right = width - 6, top = 8, bottom = height - 20;
  const minutes = samples.length > 60 ? 3 : 1;
  const latest = samples[samples.length - 1].at_s;
  const across = samples.map(sample => right - (right - left) * (latest - sample.at_s) / (60 * minutes));
  const y = value => bottom - (bottom - top) * scale.place(value);
  const marks = [];
  for (const [value, label] of scale.ticks) {
    marks.push(mark("path", { class: "grid", d: `M${left} ${y(value)}H${right}` }));
    marks.push(mark("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, label));
  }
  const since = minutes === 1 ? "1 minute ago" : `${minutes} minutes ago`;
  marks.push(mark("text", { x: left, y: height - 4 }, since));
  marks.push(mark("text", { x: right, y: height - 4, "text-anchor": "end" }, "now"));
  for (const [kind, values] of Object.entries(lines)) {
    const points = values.map((value, at) => [across[at], value === null ? null : y(value)]);
    marks.push(mark("path", { class: kind, d: path(points, left) }));
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", description);
  svg.replaceChildren(...marks);
}

function path(points, left) {
  let line = "", pen = "M";
  for (const [x, y] of points) {
    if (y === null || x < left) {
      pen = "M"; // A gap.
      continue;
    }
    const to = `${x.toFixed(1)} ${y.toFixed(1)}`;
    line += pen === "M" ? `M${to}h0` : `L${to}`;
    pen = "L";
  }
  return line;
}

function mark(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// Asking.

function ask(path, said) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
  if (said === undefined) return fetch(path, { headers });
  return fetch(path, { method: "POST", headers, body: JSON.stringify(said) });
}

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `the rehearsal said ${answer.status}`;
  }
}

function complain(text) {
  find("failure").hidden = !text;
  write(find("failure"), text);
}

async function press(made, name, button) {
  const action = button.dataset.action, said = { deployment: name };
  if (action === "slow") {
    const input = made.querySelector("input");
    if (!input.reportValidity()) return;
    said.delay_s = input.valueAsNumber;
  }
  try {
    const answer = await ask(`/${action}`, said);
    complain(answer.ok ? "" : await reason(answer));
    if (answer.ok) show({ snapshot: await answer.json() });
  } catch {
    complain(`${action} ${name}: the rehearsal does not answer`);
  }
}

function connection(text, kind = "") {
  find("connection").className = `connection ${kind}`;
  write(find("connection"), text);
}

const HEARD = {
  start(said) {
    samples = said.history;
    find("commands").replaceChildren(...said.commands.map(([purpose, command]) => {
      const item = element("li", `${purpose}:`);
      item.append(element("code", command));
      return item;
    }));
    connection("Live", "open");
  },
  state(said) {
    show(said);
    const last = samples[samples.length - 1];
    if (said.sample && (!last || said.sample.at_s > last.at_s)) samples.push(said.sample);
    samples = samples.slice(-KEPT);
    draw();
  },
  end() {
    connection("The rehearsal has ended; this is what was seen last", "lost");
  },
};

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const [, name, data] = part.match(/^event: (.*)\ndata: (.*)$/);
      yield [name, JSON.parse(data)];
    }
  }
}

// Returns how many seconds to wait before the next attempt; null if there is none.
async function listen() {
  const answer = await ask("/events");
  if (answer.status === 401) {
    sessionStorage.removeItem(KEY);
    connection(`This page shows nothing without a link that is good; ${AGAIN}`, "lost");
    return null;
  }
  if (!answer.ok) {
    connection(await reason(answer), "lost");
    return 5;
  }
  for await (const [name, said] of events(answer)) {
    HEARD[name]?.(said);
    if (name === "end") return null;
  }
  connection("The connection is lost; trying again", "lost");
  return 1;
}

async function enter() {
  const link = location.hash.slice(1);
  if (!link) return;
  history.replaceState(null, "", "/");
  const answer = await ask("/session", { link });
  if (answer.ok) sessionStorage.setItem(KEY, (await answer.json()).session);
}

async function follow() {
  let wait = 0;
  while (wait !== null) {
    await new Promise(done => setTimeout(done, 1000 * wait));
    try {
      await enter();
      wait = await listen();
    } catch {
      connection("The rehearsal does not answer; trying again", "lost");
      wait = 2;
    }
  }
}

addEventListener("hashchange", () => location.reload());
addEventListener("resize", draw);
follow();
