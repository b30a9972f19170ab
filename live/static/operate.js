// Change the gate and the drain, as the commands do: the same requests with the same
// token. It is asked for once, and is nowhere but in this module's memory, so it is gone
// with the page. Nothing is sent before it was confirmed.

import { el } from "./format.js";

const $ = (id) => document.getElementById(id);
const form = $("change");
const dialog = $("confirm");
const patience = 15_000; // ms for one change

let token = "";
let asked = null; // what the dialog is about

const environmentPath = (environment) => `/admin/v1/environments/${encodeURIComponent(environment)}`;
const drainPath = (environment, what) => `${environment ? environmentPath(environment) : "/admin/v1"}/drain/${what}`;
const whose = (environment) => environment || "all environments";
const until = (span) => (span ? `for ${span}` : "until it is cleared");

// Each act says what it asks, what follows, what it sends, and what is said when it is done.
const acts = {
  mollify: {
    gate: true,
    ask: (e) => `Mollify every trigger of ${e}, whatever its rate?`,
    more: (f) => `On all nodes, ${until(f.for)}. Its triggers are answered from the buffer; those that bypass the gate still pass.`,
    send: (e, f) => ["POST", `${environmentPath(e)}/gate`, { force: "mollify", ...limits(f) }],
    done: (e) => `${e} is mollified.`,
  },
  pass: {
    gate: true,
    ask: (e) => `Let every trigger of ${e} pass, whatever its rate?`,
    more: (f) => `On all nodes, ${until(f.for)}. A storm of it reaches Postgres as it comes, also while Postgres is in trouble.`,
    send: (e, f) => ["POST", `${environmentPath(e)}/gate`, { force: "pass", ...limits(f) }],
    done: (e) => `${e} passes.`,
  },
  limits: {
    gate: true,
    wants: (f) => (f.threshold || f.window || f.hold ? "" : "Give a threshold, a window or a hold."),
    ask: (e, f) => `Change ${e}: ${["threshold", "window", "hold"].filter((name) => f[name]).map((name) => `${name} ${f[name]}`).join(", ")}?`,
    more: (f) => `On all nodes, ${until(f.for)}. What is left empty is as configured; an override that it has is replaced.`,
    send: (e, f) => ["POST", `${environmentPath(e)}/gate`, limits(f)],
    done: (e) => `${e} has other limits.`,
  },
  clear: {
    gate: true,
    ask: (e) => `Remove the gate's override of ${e}?`,
    more: () => "On all nodes, its rate decides again, by the configured limits.",
    send: (e) => ["DELETE", `${environmentPath(e)}/gate`],
    done: (e) => `${e} is as configured.`,
  },
  pause: {
    ask: (e) => `Keep the runs of ${whose(e)} in the buffer?`,
    more: (f) => `No node drains them, ${f.for ? `for ${f.for}` : "until the drain is resumed"}. Triggers are taken as before, so the buffer fills.`,
    send: (e, f) => ["POST", drainPath(e, "pause"), f.for ? { for: f.for } : undefined],
    done: (e) => `The drain of ${whose(e)} is paused.`,
  },
  resume: {
    ask: (e) => `Drain ${whose(e)} again?`,
    more: () => "All nodes go on with what waits.",
    send: (e) => ["POST", drainPath(e, "resume")],
    done: (e) => `The drain of ${whose(e)} goes on.`,
  },
};

function limits(f) {
  const body = {};
  if (f.threshold) body.threshold = Number(f.threshold);
  for (const name of ["window", "hold", "for"]) if (f[name]) body[name] = f[name];
  return body;
}

// change opens the dialog for an act on an environment; "" is all of them.
export function change(name, environment, fields = {}) {
  const act = acts[name];
  const wrong = act.gate && !environment ? "Give an environment." : act.wants?.(fields);
  if (wrong) {
    say(wrong, true);
    form.elements[act.gate && !environment ? "environment" : "threshold"].focus();
    return;
  }
  asked = { act, environment, fields };
  $("confirm-text").textContent = act.ask(environment, fields);
  $("confirm-more").textContent = act.more(fields);
  problem("");
  wantToken();
  dialog.showModal();
  (token ? $("confirm-yes") : $("token")).focus();
}

// offer fills the form for an environment, to be changed there.
export function offer(environment, threshold) {
  const f = form.elements;
  f.environment.value = environment;
  f.threshold.value = threshold ?? "";
  f.threshold.focus();
  f.threshold.select();
  $("h-change").scrollIntoView({ block: "nearest" });
}

export function openForm() {
  form.elements.environment.focus();
}

function fields() {
  return Object.fromEntries(["for", "reason", "threshold", "window", "hold"].map((name) => [name, form.elements[name].value.trim()]));
}

function say(text, wrong = false) {
  $("change-said").className = wrong ? "problem" : "done";
  $("change-said").textContent = text;
}

function problem(text) {
  $("confirm-problem").textContent = text;
}

function wantToken() {
  $("token-field").hidden = token !== "";
  $("forget").hidden = token === "";
}

async function confirmed() {
  const { act, environment, fields: f } = asked;
  const given = token || $("token").value.trim();
  if (!given) {
    problem("Give a token of this node's -admin-tokens.");
    $("token").focus();
    return;
  }
  const [method, path, body] = act.send(environment, f);
  const query = f.reason ? `?${new URLSearchParams({ reason: f.reason })}` : "";
  const yes = $("confirm-yes");
  yes.disabled = true;
  problem("");
  try {
    const answer = await fetch(path + query, {
      method,
      headers: { Authorization: `Bearer ${given}`, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    });
    const told = await answer.json();
    if (answer.ok) {
      token = given;
      $("token").value = "";
      wantToken();
      dialog.close();
      say(`${act.done(environment)} It is version ${told.version} of the overrides.`);
      return;
    }
    if (answer.status === 401) forget();
    problem(told.detail || told.error || `The node answered ${answer.status}.`);
  } catch {
    problem("The node did not answer, so the change may have been made: see the overrides in force.");
  } finally {
    yes.disabled = false;
    if (dialog.open) (token ? yes : $("token")).focus();
  }
}

function forget() {
  token = "";
  $("token").value = "";
  wantToken();
}

for (const button of form.querySelectorAll("button[data-act]")) {
  button.addEventListener("click", () => change(button.dataset.act, form.elements.environment.value.trim(), fields()));
}
form.addEventListener("submit", (event) => event.preventDefault());
$("forget").addEventListener("click", () => {
  forget();
  say("The token is forgotten.");
});
$("confirm-form").addEventListener("submit", (event) => {
  event.preventDefault();
  confirmed();
});
$("confirm-no").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  $("token").value = "";
});

// actButton is a button in a table that begins an act.
export function actButton(text, label, begin) {
  const button = el("button", { type: "button", class: "act", "aria-label": label }, text);
  button.addEventListener("click", begin);
  return button;
}
