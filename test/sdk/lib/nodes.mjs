// The nodes that run.mjs started, and environments on them.
import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import assert from "node:assert/strict";

import { TriggerClient } from "@trigger.dev/sdk";

if (!process.env.SDK_TEST_NODES) throw new Error("run this with `make test-sdk`");
export const nodes = JSON.parse(process.env.SDK_TEST_NODES);

const run = promisify(execFile);

/** Environment is an environment of its own on some nodes, and the ways to reach it. */
export class Environment {
  constructor(where, id, key) {
    Object.assign(this, { where, id, key, url: where[0].url, admin: where[0].admin });
    this.config = { baseURL: this.url, accessToken: key };
    this.client = new TriggerClient(this.config);
  }

  /** fetch sends a request without the SDK, with this environment's key. */
  fetch(path, { method = "GET", headers = {}, body, ...rest } = {}) {
    if (body !== undefined && typeof body !== "string") body = JSON.stringify(body);
    return fetch(this.url + path, {
      method, body, ...rest,
      headers: { authorization: `Bearer ${this.key}`, "content-type": "application/json", ...headers },
    });
  }

  /** json sends as fetch does, and takes nothing but the wanted status. */
  async json(path, init = {}, status = 200) {
    const res = await this.fetch(path, init);
    const text = await res.text();
    assert.equal(res.status, status, text);
    return JSON.parse(text);
  }

  trigger(task, body = {}, headers = {}) {
    return this.json(`/api/v1/tasks/${encodeURIComponent(task)}/trigger`, { method: "POST", body, headers });
  }

  retrieve(id) {
    return this.json(`/api/v3/runs/${id}`);
  }

  /** force has every node of the environment pass or mollify its triggers. */
  async force(force) {
    for (const node of this.where) {
      const res = await fetch(`${node.admin}/admin/v1/environments/${this.id}/gate`, {
        method: "POST", body: JSON.stringify({ force }),
        headers: { authorization: `Bearer ${node.adminToken}`, "content-type": "application/json" },
      });
      assert.equal(res.status, 200, await res.text());
    }
  }

  /** additionalKey makes one by the node's command. */
  async additionalKey(name) {
    const { stdout } = await run(nodes.binary, ["env", "add-key", "-json", "-data", this.where[0].data, "-name", name, this.id]);
    return JSON.parse(stdout).key;
  }

  /** finish reports what a worker would: of a run that is in Postgres. */
  async finish(id, report) {
    const res = await fetch(`${this.admin}/admin/v1/environments/${this.id}/runs/${id}/finish`, {
      method: "POST", body: JSON.stringify(report), headers: { "content-type": "application/json" },
    });
    const text = await res.text();
    assert.equal(res.status, 200, text);
    return JSON.parse(text);
  }
}

/**
 * environment makes one. force: "pass" or "mollify"; on: "flow" or "still".
 */
export async function environment({ type = "prod", force, on = "flow", organisation = `sdk-${randomUUID()}` } = {}) {
  const where = nodes[on];
  const { stdout } = await run(nodes.binary, [
    "env", "add", "-json", "-data", where[0].data, "-organisation", organisation, "-name", type, "-type", type,
  ]);
  const { id, key } = JSON.parse(stdout);
  const env = new Environment(where, id, key);
  env.organisation = organisation;
  if (force) await env.force(force);
  return env;
}

/**
 * everywhere runs a test once with runs that pass through to Postgres, and once
 * with runs that are mollified and stay in the buffer. The test gets an environment
 * of its own, which has `state`: where its runs rest. The options are node:test's.
 */
export function everywhere(name, options, body) {
  if (typeof options === "function") [options, body] = [{}, options];
  for (const [words, state, how] of [
    ["passed through", "materialised", { force: "pass", on: "flow" }],
    ["mollified", "buffered", { force: "mollify", on: "still" }],
  ]) {
    test(`${name}, ${words}`, options, async (t) => {
      const env = await environment(how);
      env.state = state;
      const probe = await env.trigger("where", {});
      assert.equal(probe.state, state);
      env.probe = probe.id;
      await body(t, env);
    });
  }
}

/**
 * mortal starts one more node on the stores of the flow, which the test may kill:
 * {url, kill}. It ends with the test at the latest.
 */
export async function mortal(t) {
  const [first] = nodes.flow;
  const data = await mkdtemp(join(tmpdir(), "mollifier-sdk-mortal-"));
  const node = spawn(nodes.binary, ["-data", data, "-listen", "127.0.0.1:0", "-secret-key-file", join(first.data, "secret.key")], {
    env: { ...process.env, MOLLIFIER_REDIS: first.redis, MOLLIFIER_POSTGRES: first.postgres }, stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = once(node, "exit");
  const kill = async () => {
    node.kill("SIGKILL");
    await ended;
  };
  t.after(async () => {
    await kill();
    await rm(data, { recursive: true, force: true });
  });
  await new Promise((ready, failed) => {
    let out = "";
    node.stdout.on("data", (text) => (out += text).includes("mollifier is ready at") && ready());
    node.on("exit", (code) => failed(new Error(`a node ended with ${code} before it was ready`)));
  });
  return { url: JSON.parse(await readFile(join(data, "stack.json"), "utf8")).http, kill };
}

/** served says why a test is skipped while no node answers this path; else it is false. */
export async function served(path, method = "POST") {
  const env = await environment();
  const res = await env.fetch(path, { method, body: method === "POST" ? "{}" : undefined });
  const body = await res.text();
  return body.includes("no-such-path") ? `${path} is not served yet` : false;
}

/** rejects expects a call to fail with an error of the API; it returns the error. */
export async function rejects(call, status, name) {
  let error;
  await assert.rejects(call, (e) => ((error = e), true));
  assert.equal(error.status, status, `${error}`);
  if (name) assert.equal(error.constructor.name, name);
  return error;
}

/** until asks again until there is an answer that is not undefined. */
export async function until(what, ask, patience = 20_000) {
  for (const end = Date.now() + patience; ; ) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > end) throw new Error(`this did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
