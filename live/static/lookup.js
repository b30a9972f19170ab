// Look up a run or a key, and show what the node can explain of it. The address keeps
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
  const token = form.elements.token.value;
  let shown;
  try {
    const answer = await fetch(path, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      signal: AbortSignal.timeout(15_000),
    });
    const body = await answer.json();
    $("token-field").hidden = $("token-field").hidden && answer.status !== 401;
    shown = answer.ok ? explained(body) : [problem(body)];
  } catch {
    shown = [el("p", { class: "problem" }, "The node did not answer.")];
  }
  if (mine === asked) $("explained").replaceChildren(...shown);
}

function problem(body) {
  return el("p", { class: "problem" }, body.detail || body.error || body.title || "The node can not say.");
}

// explained shows an answer whole: its sentence first, then all that it says, whatever
// that is. Names are shown as words: "acceptedAt" is "accepted at".
function explained(body) {
  const { summary, ...rest } = body;
  return [...(summary ? [el("p", { class: "story" }, summary)] : []), facts(rest)];
}

function facts(object) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of Object.entries(object)) {
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) continue;
    list.append(el("dt", {}, words(name)), el("dd", {}, said(value)));
  }
  return list;
}

function said(value) {
  if (Array.isArray(value)) {
    if (value.every((v) => typeof v !== "object")) return value.join(", ");
    return el("ol", { class: "steps" }, ...value.map((v) => el("li", {}, said(v))));
  }
  if (typeof value === "object") return facts(value);
  return value === true ? "yes" : value === false ? "no" : String(value);
}

function words(name) {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();
}
