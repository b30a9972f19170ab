// The live page: asks its node once a second what is new, and shows it. It asks nobody
// else, stops while nobody looks, and puts what it is told into the page as text only.

import { Chart } from "./chart.js";
import { bytes, clock, count, el, span } from "./format.js";
import { lookUp, openFromAddress } from "./lookup.js";
import { actButton, change, offer, openForm } from "./operate.js";

const $ = (id) => document.getElementById(id);
const kept = 300;
const patience = 5000; // ms for one answer

const page = { samples: [], events: [], node: "", sample: 0, event: 0, paused: false, timer: 0, heard: 0, odd: false };

const charts = {
  outcomes: new Chart($("chart-outcomes"), {
    about: "Triggers a second, by outcome",
    series: [
      { key: "passed", label: "passed", look: "passed", kind: "stack" },
      { key: "mollified", label: "mollified", look: "mollified", kind: "stack" },
      { key: "shared", label: "shared a run", look: "shared", kind: "stack" },
      { key: "refused", label: "refused", look: "refused", kind: "stack" },
    ],
  }),
  refused: new Chart($("chart-refused"), {
    about: "Refused triggers a second, by reason",
    series: [
      { key: "overQuota", label: "over its share of the buffer", look: "quota", kind: "stack" },
      { key: "bufferFull", label: "the buffer is full", look: "full", kind: "stack" },
      { key: "overloaded", label: "too much waits here", look: "overloaded", kind: "stack" },
      { key: "unavailable", label: "stores or owner did not answer", look: "refused", kind: "stack" },
      { key: "otherwise", label: "another reason", look: "shared", kind: "stack" },
    ],
  }),
  buffer: new Chart($("chart-buffer"), {
    about: "Runs in the buffer, and the age of the oldest",
    series: [
      { key: "entries", label: "runs", look: "entries", kind: "area" },
      { key: "oldestMs", label: "oldest", look: "oldest", kind: "line", format: span },
    ],
    right: span,
    leastRight: 1000,
  }),
  drain: new Chart($("chart-drain"), {
    about: "Runs drained a second, and the latency of Postgres",
    series: [
      { key: "drained", label: "drained a second", look: "drained", kind: "area" },
      { key: "latencyMs", label: "latency", look: "latency", kind: "line", format: span },
    ],
    right: span,
    leastRight: 10,
    mark: { kind: "mark", label: "", look: "watermark", of: (s) => s.postgres.watermarkMs, say: (ms) => `the gate trips over ${span(ms)}` },
  }),
};

async function poll() {
  clearTimeout(page.timer);
  if (page.paused || document.hidden) return;
  try {
    const answer = await fetch(`/admin/v1/live?samples=${page.sample}&events=${page.event}`, { signal: AbortSignal.timeout(patience) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    take(await answer.json());
    link("live", "live");
  } catch {
    lost();
  }
  page.timer = setTimeout(poll, 1000);
}

function link(state, text) {
  const at = $("link");
  at.dataset.link = state;
  if (at.textContent !== text) at.textContent = text;
}

function lost() {
  link("lost", page.heard ? `no answer since ${clock(page.heard)}` : "no answer");
  headline("trouble", "This node does not answer.", page.heard ? "What stands below is what it said last." : "");
}

// take adds what is new; a node that has started again counts anew.
function take(view) {
  if (view.node.id !== page.node) {
    page.node = view.node.id;
    page.samples = [];
    page.events = [];
  }
  page.samples = page.samples.concat(view.samples).slice(-kept);
  page.events = page.events.concat(view.events).slice(-kept);
  page.sample = view.sample;
  page.event = view.event;
  page.heard = Date.now();
  show(view);
}

function text(id, value) {
  const e = $(id);
  if (e.textContent !== value) e.textContent = value;
}

function headline(level, sentence, more) {
  $("headline").dataset.level = level;
  text("headline-text", sentence); // said aloud, so only when it changes
  text("headline-more", more);
  document.title = level === "calm" ? "Mollifier" : `${level === "storm" ? "storm" : "trouble"} · Mollifier`;
}

function show(view) {
  const { state, now } = view;
  const newest = page.samples.at(-1);
  text("node", view.node.name);
  text("version", `${view.node.version} · up ${span(now - view.node.began)}`);

  const parts = [];
  if (newest) {
    parts.push(`${count(newest.triggers)} triggers a second`);
    if (newest.mollified) parts.push(`${count(newest.mollified)} of them into the buffer`);
  }
  const waits = state.buffer.entries ? ` ${count(state.buffer.entries)} runs wait, the oldest for ${span(state.buffer.oldestMs)}.` : "";
  headline(state.headline.level, state.headline.text, (parts.length ? `${parts.join(", ")}.` : "") + waits);

  tiles(view, newest);
  for (const chart of Object.values(charts)) chart.update(page.samples, now, state);
  $("refusals").hidden = !page.samples.some((s) => s.refused > 0);
  environments(state);
  organisations(state);
  overrides(state);
  nodes(view);
  events();
  decisions(state);
}

function figure(id, value, unit, note) {
  const e = $(`t-${id}`);
  e.replaceChildren(value, ...(unit ? [el("small", {}, unit)] : []));
  text(`t-${id}-note`, note);
}

function tiles({ state }, s) {
  const { buffer, drain, postgres, counts } = state;
  if (s) figure("triggers", count(s.triggers), "", s.refused ? `${count(s.refused)} more refused` : s.mollified ? `${count(s.mollified)} mollified` : "all admitted");
  const unknown = buffer.ageMs < 0;
  figure("entries", unknown ? "?" : count(buffer.entries), "runs", unknown ? "this node does not look" : buffer.entries ? `oldest ${span(buffer.oldestMs)}` : "empty");
  if (s) figure("drained", count(s.drained), "", !drain.drains ? "this node does not drain" : drain.paused ? "paused: Postgres" : drain.rate ? `of late ${count(drain.rate)}` : "nothing to drain");
  const [ms, unit] = span(postgres.latencyMs).split(" ");
  if (!postgres.available) figure("latency", "–", "", "does not answer");
  else if (!postgres.calls) figure("latency", "–", "", "nothing was written of late");
  else figure("latency", ms, unit, `slowest ${span(postgres.slowestMs)}${postgres.failed ? `, ${count(postgres.failed)} failed` : ""}`);
  const minute = page.samples.slice(-60);
  const sum = (...keys) => minute.reduce((n, m) => n + keys.reduce((k, key) => k + m[key], 0), 0);
  const writes = sum("passed", "mollified");
  figure("shared", writes ? count(Math.max(1, sum("triggers") / writes)) : "–", "", sum("triggers") ? `${count((1000 * sum("calls")) / sum("triggers"))} calls for 1,000` : "in the last minute");
  figure("waiting", count(counts.waiting), "", counts.refused ? `${count(counts.refused)} refused since the start` : "none refused");
}

// fill makes a table's rows what they are to be, and says if there are none. A row that
// is there already keeps the cell with its button, so that the button keeps the focus and
// a click that has begun.
function fill(id, rows) {
  const body = $(id).tBodies[0];
  const there = new Map([...body.rows].filter((r) => r.dataset.key).map((r) => [r.dataset.key, r]));
  rows = rows.map((next) => {
    const known = there.get(next.dataset.key);
    if (!known) return next;
    [...next.cells].forEach((c, i) => c.classList.contains("acts") || known.cells[i].replaceWith(c));
    return known;
  });
  for (const old of [...body.rows]) if (!rows.includes(old)) old.remove();
  rows.forEach((r, i) => body.rows[i] === r || body.insertBefore(r, body.rows[i] ?? null));
  $(id).hidden = rows.length === 0;
  const empty = $(`${id}-empty`);
  if (empty) empty.hidden = rows.length > 0;
}

const row = (cells, attributes) => el("tr", attributes, ...cells);
const cell = (...children) => el("td", {}, ...children);
const acts = (...buttons) => el("td", { class: "acts" }, ...buttons);
const number = (value, look = "") => el("td", { class: `n ${look}` }, value);
const who = (name, id) => el("td", { class: "who" }, name || id, ...(name ? [el("small", {}, id)] : []));

function environments(state) {
  fill("environments", state.environments.map((e) => {
    const most = Math.max(e.holdMs, 1000);
    const hold = el("meter", { min: 0, max: most, value: e.holdMs, "aria-hidden": "true" });
    const note = { pass: "forced to pass", shadow: "shadow only" }[e.outcome];
    const name = who(e.name, e.id);
    if (note) name.append(el("small", {}, note));
    return row([
      name,
      number(`${count(e.count)} in ${span(e.windowMs)}`, e.count > e.threshold ? "over" : ""),
      number(count(e.threshold)),
      cell(el("span", { class: "bar" }, hold, span(e.holdMs))),
      number(span(e.forMs)),
      acts(actButton("Change", `Change ${e.name || e.id}`, () => offer(e.name || e.id, e.threshold))),
    ], { "data-key": e.id });
  }));
  if (state.trips > state.environments.length) {
    $("environments").tBodies[0].append(row([cell(`and ${count(state.trips - state.environments.length)} more`), cell(), cell(), cell(), cell(), cell()]));
  }
  const known = $("known-environments");
  for (const e of state.environments) {
    const value = e.name || e.id;
    if (![...known.options].some((o) => o.value === value)) known.append(el("option", { value }));
  }
}

function overrides(state) {
  fill("overrides", state.overrides.map((o) => row([
    o.environment ? who(o.name, o.environment) : cell("all environments"), cell(o.what),
    number(o.ends ? clock(o.ends) : "cleared"), cell(o.by), el("td", { class: "who" }, o.reason ?? ""),
    acts(ending(o)),
  ], { "data-key": `${o.kind} ${o.environment ?? ""}` })));
  if (state.overridden > state.overrides.length) {
    $("overrides").tBodies[0].append(row([cell(`and ${count(state.overridden - state.overrides.length)} more`), cell(), cell(), cell(), cell(), cell()]));
  }
  $("overridden").hidden = state.overridden === 0;
}

// ending is the button that ends an override.
function ending(o) {
  const of = o.name || o.environment || "";
  const about = of || "all environments";
  return o.kind === "drain"
    ? actButton("Resume", `Resume the drain of ${about}`, () => change("resume", of))
    : actButton("Clear", `Clear the gate's override of ${about}`, () => change("clear", of));
}

function organisations({ buffer }) {
  fill("organisations", buffer.organisations.map((o) => row([
    who(o.name, o.id), number(count(o.entries)), number(bytes(o.bytes)),
    number(span(o.oldestMs), o.oldestMs > 300_000 ? "bad" : ""),
  ])));
  const empty = $("organisations-empty");
  if (buffer.ageMs < 0) empty.textContent = "This node has not looked into the buffer: it does not drain, or has just begun.";
  else empty.textContent = "The buffer is empty.";
  if (buffer.more) $("organisations").tBodies[0].append(row([cell(`and ${count(buffer.more)} more`), cell(), cell(), cell()]));
}

function nodes({ nodes: all, board }) {
  fill("nodes", all.map((n) => {
    const name = el("td", { class: "who" }, el("span", { class: "dot", "data-level": n.level || "calm" }, n.name), el("small", {}, n.self ? `${n.version} · this node` : n.version));
    const down = [["Redis", n.redis], ["Postgres", n.postgres]].filter(([, answers]) => !answers).map(([store]) => store);
    return row([
      name, number(count(n.triggers)), number(count(n.mollified)), number(count(n.refused)),
      number(n.drains ? count(n.drained) : "does not"), number(span(n.latencyMs)),
      el("td", { class: down.length ? "bad" : "" }, down.length ? `no answer: ${down.join(", ")}` : "both answer"),
      number(span(n.upSeconds * 1000)), number(n.self ? "now" : `${span(n.ageMs)} ago`, n.ageMs > 5000 ? "bad" : ""),
    ], n.ageMs > 5000 ? { class: "silent" } : {});
  }));
  let whose = "the deployment, each by its own word";
  if (!board.known) whose = "this node only: Redis has not told the others yet";
  else if (board.silentMs > 5000) whose = `Redis has not told the others for ${span(board.silentMs)}`;
  text("nodes-whose", whose);
}

let eventsShown = -1;

function events() {
  const key = `${page.node} ${page.event} ${page.odd}`;
  if (key === eventsShown) return;
  eventsShown = key;
  const shown = page.odd ? page.events.filter((e) => e.what) : page.events;
  $("events-empty").textContent = page.odd ? "No alias and no failure of late." : "Nothing yet.";
  $("events").replaceChildren(...shown.slice(-100).reverse().map((e) => {
    const said = el("span", { class: "dot", "data-level": e.level }, e.text);
    for (const id of [e.run, e.canonical]) if (id) said.append(" ", runLink(id));
    return el("li", {}, el("time", { datetime: new Date(e.at).toISOString() }, clock(e.at)), said);
  }));
  $("events").hidden = shown.length === 0;
  $("events-empty").hidden = shown.length > 0;
}

// runLink leads to the explanation of a run, here or in another tab.
function runLink(id) {
  const link = el("a", { class: "run", href: `#${new URLSearchParams({ run: id })}`, title: "explain" }, id);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    lookUp({ run: id });
  });
  return link;
}

function decisions({ decisions: all, counts }) {
  const sorted = [...all].sort((a, b) => b.count - a.count);
  fill("decisions", sorted.map((d) => row([
    cell(d.outcome), cell(d.reason.replaceAll("_", " "), ...(d.enrolled ? [] : [" (not enrolled)"])), number(count(d.count)),
  ])));
  const facts = {
    triggers: counts.triggers, mollified: counts.mollified, diverted: counts.diverted, materialised: counts.materialised,
    aliases: counts.aliased, "failed in the drain": counts.failed, "leases recovered": counts.reaped, "claims without Redis": counts.failOpen,
  };
  for (const { reason, count: n } of counts.refusals) if (n) facts[`refused: ${reason.replaceAll("_", " ")}`] = n;
  $("counts").replaceChildren(...Object.entries(facts).map(([name, n]) => el("div", {}, el("dt", {}, name), el("dd", {}, count(n)))));
}

// Controls

function pause(on = !page.paused) {
  page.paused = on;
  $("pause").setAttribute("aria-pressed", String(on));
  $("pause").textContent = on ? "Go on" : "Pause";
  if (on) link("paused", "paused");
  else poll();
}

const themes = ["auto", "light", "dark"];

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // it is not remembered
  }
}

function nextTheme() {
  theme(themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % themes.length]);
}

$("pause").addEventListener("click", () => pause());
$("theme").addEventListener("click", nextTheme);
$("odd").addEventListener("click", () => {
  page.odd = !page.odd;
  $("odd").setAttribute("aria-pressed", String(page.odd));
  events();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if ($("confirm").open) return;
  const act = { p: () => pause(), t: nextTheme, o: openForm, "/": () => $("look").querySelector(".field:not([hidden]) input").focus() }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.addEventListener("visibilitychange", () => document.hidden || poll());
window.addEventListener("hashchange", openFromAddress);

try {
  theme(themes.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");
} catch {
  theme("auto");
}
poll();
openFromAddress();
