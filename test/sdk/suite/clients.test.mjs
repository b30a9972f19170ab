// The ways to point the SDK at a node, and clients that are not the newest SDK.
import { Agent, request } from "node:http";
import { test } from "node:test";
import assert from "node:assert/strict";

import { TriggerClient, auth, configure, runs, tasks } from "@trigger.dev/sdk";
import { environment, everywhere } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

test("configure, withAuth and clients do not meet", async () => {
  const [a, b, c] = await Promise.all([environment(), environment(), environment()]);
  configure(a.config);
  const own = await tasks.trigger("t", "a", { idempotencyKey: "k" });
  const [viaB, viaC] = await Promise.all([
    auth.withAuth(b.config, () => tasks.trigger("t", "b", { idempotencyKey: "k" })),
    c.client.tasks.trigger("t", "c", { idempotencyKey: "k" }),
  ]);
  assert.equal(new Set([own.id, viaB.id, viaC.id]).size, 3);
  assert.equal((await runs.retrieve(own.id)).payload, "a");
  assert.equal((await b.client.runs.retrieve(viaB.id)).payload, "b");
  assert.equal((await c.client.runs.retrieve(viaC.id)).payload, "c");
  await assert.rejects(runs.retrieve(viaB.id), { status: 404 });
});

test("base URLs with a trailing slash, and behind a path prefix", async (t) => {
  const env = await environment();
  const slashed = new TriggerClient({ baseURL: `${env.url}/`, accessToken: env.key });
  const { id } = await slashed.tasks.trigger("t", 1);
  assert.equal((await slashed.runs.retrieve(id)).id, id);

  // A proxy that serves the node under /mollifier/, as a gateway would.
  const p = await proxy(t, env.url, (exchange) => {
    assert.ok(exchange.path.startsWith("/mollifier/api/"), exchange.path);
    exchange.path = exchange.path.slice("/mollifier".length);
  });
  const prefixed = new TriggerClient({ baseURL: `${p.url}/mollifier`, accessToken: env.key });
  const other = await prefixed.tasks.trigger("folder/t", 1);
  assert.equal((await prefixed.runs.retrieve(other.id)).taskIdentifier, "folder/t");
});

test("settings from the environment of the process", async () => {
  const env = await environment();
  Object.assign(process.env, { TRIGGER_API_URL: env.url, TRIGGER_SECRET_KEY: env.key, TRIGGER_VERSION: "20260101.7" });
  try {
    const client = new TriggerClient();
    const { id } = await auth.withAuth(env.config, () => tasks.trigger("t", 1));
    const run = await client.runs.retrieve(id);
    assert.equal(run.id, id);
    assert.deepEqual((await client.runs.list({ version: "20260101.7" })).data.map((r) => r.id), [id]);
  } finally {
    for (const name of ["TRIGGER_API_URL", "TRIGGER_SECRET_KEY", "TRIGGER_VERSION"]) delete process.env[name];
  }
});

everywhere("clients without the newest version's headers", async (t, env) => {
  // A client from before the version header: the old words for the statuses.
  const bare = async (path, init = {}) => {
    const res = await fetch(env.url + path, { ...init, headers: { authorization: `Bearer ${env.key}`, ...init.headers } });
    assert.equal(res.status, 200, await res.clone().text());
    return res.json();
  };
  const { id } = await bare("/api/v1/tasks/t/trigger", { method: "POST", body: '{"payload":{"a":1}}', headers: { "content-type": "application/json" } });
  const run = await bare(`/api/v3/runs/${id}`);
  assert.equal(run.id, id);
  assert.deepEqual(run.payload, { a: 1 });
  assert.equal(run.status, "QUEUED");
  const newest = await bare(`/api/v3/runs/${id}`, { headers: { "x-trigger-api-version": "2025-07-16" } });
  assert.equal(newest.status, "QUEUED");
  await bare("/api/v1/runs");
  await bare(`/api/v2/runs/${id}/cancel`, { method: "POST" });
});

everywhere("the standard header for keys", async (t, env) => {
  const first = await env.trigger("t", {}, { "idempotency-key": "header-key", "idempotency-key-ttl": "1h" });
  const again = await env.trigger("t", { options: { idempotencyKey: "body-key" } }, { "idempotency-key": "header-key" });
  assert.deepEqual([again.id, again.isCached], [first.id, true], "the header wins");
  const other = await env.trigger("t", { options: { idempotencyKey: "body-key" } });
  assert.notEqual(other.id, first.id);
});

test("a thousand sockets at once, and kept alive", async () => {
  const env = await environment();
  const agent = new Agent({ keepAlive: true, maxSockets: 1000, maxFreeSockets: 1000 });
  const send = (i) => new Promise((resolve, reject) => {
    const body = JSON.stringify({ payload: i, options: { idempotencyKey: `k${i % 100}` } });
    const req = request(`${env.url}/api/v1/tasks/sockets/trigger`, {
      agent, method: "POST", headers: { authorization: `Bearer ${env.key}`, "content-type": "application/json", "content-length": Buffer.byteLength(body) },
    }, (res) => {
      let text = "";
      res.on("data", (part) => (text += part));
      res.on("end", () => (res.statusCode === 200 ? resolve(JSON.parse(text).id) : reject(new Error(text))));
    });
    req.on("error", reject);
    req.end(body);
  });
  // A machine that is slow to send what it connected for is hung up on, and comes again.
  const again = (i) => send(i).catch(() => send(i));
  try {
    for (let round = 0; round < 2; round++) {
      const ids = await Promise.all(Array.from({ length: 1000 }, (_, i) => again(i)));
      assert.equal(new Set(ids).size, 100);
    }
  } finally {
    agent.destroy();
  }
});

test("traces and additional headers pass", async () => {
  const env = await environment();
  const client = new TriggerClient({ ...env.config, requestOptions: { additionalHeaders: { "x-custom": "ü".normalize("NFD").replace(/[^\x20-\x7e]/g, ""), traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=1" } } });
  const { id } = await client.tasks.trigger("t", 1);
  assert.equal((await client.runs.retrieve(id)).id, id);
});
