// Look up a run or a key, and show why it is what it is. The address keeps
// what was asked, so that it can be sent to somebody else.

import { el } from "./format.js";

const $ = (id) => document.getElementById(id);
const form = $("look");

function by(kind) {
  form.elements.by.value = kind;
  for (const field of form.querySelectorAll(".of-run")) field.hidden = kind !== "run";
  for (const field of form.querySelectorAll(".of-key")) field.hidden = kind !== "key";
}

form.addEventListener("change", (event) => {
  if (event.target.name === "by") by(event.target.value);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const f = form.elements;
  if (f.by.value === "run") lookUp({ run: f.run.value.trim() });
  else lookUp({ environment: f.environment.value.trim(), task: f.task.value.trim(), key: f.key.value });
});

// lookUp asks by way of the address, so that a second look at the same is one as well.
export function lookUp(question) {
  const hash = `#${new URLSearchParams(question)}`;
  if (location.hash === hash) ask(question);
  else location.hash = hash;
  $("h-look").scrollIntoView({ block: "nearest" });
}

export function openFromAddress() {
  const question = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (question.run === undefined && question.key === undefined) return;
  by(question.run === undefined ? "key" : "run");
  for (const name of ["run", "environment", "task", "key"]) {
    if (question[name] !== undefined) form.elements[name].value = question[name];
  }
  ask(question);
}

let asked = 0;

async function ask(question) {
  const mine = ++asked;
  const path = question.run === undefined
    ? `/admin/v1/explain?${new URLSearchParams({ environment: question.environment ?? "", task: question.task ?? "", key: question.key })}`
    : `/admin/v1/explain/${encodeURIComponent(question.run)}`;
  let shown;
  try {
    const answer = await fetch(path, { signal: AbortSignal.timeout(15_000) });
    const body = await answer.json();
    shown = answer.ok ? explained(body) : [problem(body)];
  } catch {
    shown = [el("p", { class: "problem" }, "The node did not answer.")];
  }
  if (mine === asked) $("explained").replaceChildren(...shown);
}

function problem(body) {
  return el("p", { class: "problem" }, body.detail || body.error || "The node can not say.");
}

// explained shows an explanation: its sentence, then what happened in the order of time,
// then what the stores have, then what nobody knows any more.
function explained({ summary, node, run, key, states, decisions, trips, unknown }) {
  const steps = [
    ...(states ?? []).map((s) => ({ at: s.at, kind: "state", text: s.text ? `${s.state}: ${s.text}` : s.state })),
    ...(decisions ?? []).map((d) => ({ at: d.at, kind: "decision", text: d.text, until: d.last })),
    ...(trips ?? []).map((t) => ({ at: t.began, kind: "trip", text: `${t.all ? "all environments were" : "the environment was"} mollified: ${t.text}`, until: t.ended })),
  ];
  const when = (step) => (step.at ? Date.parse(step.at) : Infinity);
  steps.sort((x, y) => when(x) - when(y));
  const shown = [el("p", { class: "story" }, summary ?? "")];
  if (steps.length) shown.push(el("ol", { class: "timeline" }, ...steps.map(stepped)));
  const known = el("div", { class: "known" });
  if (run) known.append(el("section", {}, el("h3", {}, "The run"), facts(run)));
  if (key) known.append(el("section", {}, el("h3", {}, "Its key"), facts(key)));
  if (known.children.length) shown.push(known);
  if (unknown?.length) shown.push(el("ul", { class: "unknown" }, ...unknown.map((text) => el("li", {}, text))));
  if (node) shown.push(el("p", { class: "whose" }, `From the memory of ${node}, and from the stores.`));
  return shown;
}

function stepped({ at, kind, text, until }) {
  const time = at ? el("time", { datetime: at, title: at }, moment(at)) : el("span", {}, "");
  const last = until ? ` (until ${moment(until)})` : "";
  return el("li", { "data-kind": kind }, time, el("span", {}, text + last));
}

// moment is a time of today to the millisecond, of another day with its date.
function moment(iso) {
  const date = new Date(iso);
  const time = `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString("en-CA")} ${time}`;
}

function facts(object) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of Object.entries(object)) {
    if (value === null || value === "") continue;
    list.append(el("dt", {}, words(name)), el("dd", {}, said(value)));
  }
  return list;
}

function said(value) {
  return value === true ? "yes" : value === false ? "no" : String(value);
}

function words(name) {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();
}
