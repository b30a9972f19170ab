// Every class of error that the SDK has, and what it does about it.
import { connect } from "node:net";
import { test } from "node:test";
import assert from "node:assert/strict";

import { TriggerClient } from "@trigger.dev/sdk";
import { environment, everywhere, nodes, rejects } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

const hasError = (text) => {
  const body = JSON.parse(text);
  assert.equal(typeof body.error, "string");
  assert.ok(!JSON.stringify(body).match(/127\.0\.0\.1|localhost|postgres:|redis:|tr_(dev|prod)_/), text);
  return body;
};

test("what a request may do wrong", async (t) => {
  const env = await environment();
  const path = "/api/v1/tasks/t/trigger";
  const post = (body, headers) => ({ method: "POST", body, headers });
  const cases = [
    // [status, path, request]
    [400, path, post("")],
    [400, path, post("null")], [400, path, post("0")], [400, path, post("false")], [400, path, post('""')], [400, path, post("[]")],
    [400, path, post("{")], [400, path, post('{"a":1}}')], [400, path, post('{"payload":{"a":1')],
    [400, path, post({ options: { tags: [1, null] } })],
    [400, path, post({ options: { tags: { a: 1 } } })],
    [400, path, post({ options: { idempotencyKey: 5 } })],
    [400, path, post({ options: { idempotencyKey: null } })],
    [400, path, post({ options: { machine: "x" } })],
    [400, path, post({ options: { machine: 4 } })],
    [400, path, post({ options: { delay: "never" } })],
    [400, path, post({ options: { delay: 5 } })],
    [400, path, post({ options: { ttl: "-5m" } })],
    [400, path, post({ options: { ttl: -1 } })],
    [400, path, post({ options: { ttl: 0.5 } })],
    [400, path, post({ options: { idempotencyKey: "k", idempotencyKeyTTL: "1x" } })],
    [400, path, post({ options: { test: "yes" } })],
    [400, path, post({ options: { maxAttempts: "3" } })],
    [400, path, post({ options: { priority: "high" } })],
    [400, path, post({ options: { queue: "name" } })],
    [400, path, post({ options: { concurrency: ["a", "b", "c"] } })],
    [400, path, post({ options: { payloadSize: -1 } })],
    [400, path, post({ options: [] })],
    [400, path, post({ payload: "x\u0000", options: { payloadType: 7 } })],
    [422, path, post({ options: { tags: Array.from({ length: 11 }, (_, i) => `t${i}`) } })],
    [422, path, post({ options: { debounce: { key: "k", delay: "soon" } } })],
    [422, path, post({ options: { debounce: { key: "k", delay: "2026-01-01" } } })],
    [413, path, post(JSON.stringify({ payload: "x".repeat(3_145_729) }))],
    [413, path, post({ options: { metadata: { x: "m".repeat(262_144) } } })],
    [404, "/api/v1/tasks/t", { method: "GET" }],
    [404, "/api/v9/anything", post({})],
    [405, path, { method: "GET" }],
    [405, "/api/v1/runs", { method: "DELETE" }],
    [404, "/api/v3/runs/run_nothing", {}],
    [404, "/api/v1/idempotencyKeys/none/reset", post({ taskIdentifier: "t" })],
    [400, "/api/v1/idempotencyKeys/none/reset", post({})],
    [400, "/api/v1/runs?page%5Bsize%5D=1000", {}],
    [404, "/api/v1/tasks/a/b/trigger", post({})],
  ];
  for (const [status, where, request] of cases) {
    const res = await env.fetch(where, request);
    const text = await res.text();
    assert.equal(res.status, status, `${where} ${String(request.body && JSON.stringify(request.body)).slice(0, 200)}: ${text}`);
    hasError(text);
    assert.notEqual(res.headers.get("x-should-retry"), "true");
  }
  assert.deepEqual((await env.client.runs.list()).data, [], "nothing of it made a run");
});

test("what is unusual but right", async () => {
  const env = await environment({ force: "pass" });
  for (const body of [
    {}, { payload: null }, { options: {} }, { payload: { a: 1 }, extra: true, options: { unknown: 1 } },
    { options: { externalDeploymentId: null } }, { options: { tags: "one" } }, { options: { tags: [] } },
    { options: { ttl: 0 } }, { options: { delay: "1w" } }, { options: { delay: "2026-01-01" } }, { options: { delay: new Date().toISOString() } },
    { options: { concurrencyKey: 42 } }, { options: { priority: -1.5 } }, { options: { maxDuration: 0.1 } },
    { options: { queue: { name: "a b!c/ü" } } }, { context: { any: [1] } }, { options: { idempotencyKeyTTL: "2h30m" } },
    { options: { debounce: { key: "k", delay: "5s" } } },
  ]) {
    const { id } = await env.trigger("t", body);
    await env.retrieve(id);
  }
});

test("credentials", async () => {
  const env = await environment();
  const { id } = await env.client.tasks.trigger("t", 1);
  const ask = async (headers, path = `/api/v3/runs/${id}`) => {
    const res = await fetch(env.url + path, { headers });
    return { status: res.status, type: res.headers.get("content-type"), ...hasError(await res.text()) };
  };
  assert.equal((await ask({})).status, 401);
  assert.equal((await ask({ authorization: "Bearer " })).error, "Invalid or Missing API key");
  assert.equal((await ask({ authorization: "Bearer tr_prod_wrong" })).error, "Invalid API key");
  assert.equal((await ask({ authorization: "Basic abc" })).status, 401);
  assert.equal((await ask({ authorization: "Bearer a.b.c" })).error, "Public Access Token is invalid");
  assert.equal((await ask({}, "/api/none")).status, 401, "before the path is judged");
  for (const accessToken of ["tr_prod_wrong", "x", "tr_dev_sk_ABCDEFGHIJKLMNOPQRSTUVWX"]) {
    const client = new TriggerClient({ baseURL: env.url, accessToken });
    await rejects(() => client.tasks.trigger("t", 1), 401, "AuthenticationError");
    await rejects(() => client.runs.retrieve(id), 401, "AuthenticationError");
    await rejects(() => client.runs.list(), 401, "AuthenticationError");
  }
});

test("an error reaches the SDK's user with its text, and is sent once", async (t) => {
  const env = await environment();
  const p = await proxy(t, env.url);
  const client = new TriggerClient({ baseURL: p.url, accessToken: env.key });
  for (const [call, status, name, text] of [
    [() => client.tasks.trigger("t", 1, { machine: "huge" }), 400, "BadRequestError", /machine/],
    [() => client.runs.retrieve("run_nothing"), 404, "NotFoundError", /not found/i],
    [() => client.tasks.trigger("t", 1, { tags: Array(11).fill(0).map(String).map((x, i) => x + i) }), 422, "UnprocessableEntityError", /tags/],
    [() => client.tasks.trigger("t", 1, { metadata: { x: "m".repeat(300_000) } }), 413, undefined, /metadata/],
    [() => client.runs.list({ limit: 1000 }), 400, "BadRequestError", /Query Error/],
  ]) {
    const before = p.seen.length;
    const error = await rejects(call, status, name);
    assert.match(error.message, text);
    assert.equal(error.name, "TriggerApiError");
    assert.equal(p.seen.length, before + 1, "not tried again");
  }
});

test("a body that is too large is heard out, so that the answer arrives", async () => {
  const env = await environment();
  const big = "x".repeat(4_000_000);
  for (let i = 0; i < 3; i++) {
    await env.json("/api/v1/tasks/t/trigger", { method: "POST", body: { payload: big } }, 413);
  }
});

test("a body without a length is refused", async () => {
  const env = await environment();
  const body = new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("{}")); c.close(); } });
  const res = await fetch(`${env.url}/api/v1/tasks/t/trigger`, {
    method: "POST", body, duplex: "half", headers: { authorization: `Bearer ${env.key}`, "content-type": "application/json" },
  });
  assert.equal(res.status, 413);
  hasError(await res.text());
});

test("what is no HTTP ends the connection and nothing else", async () => {
  const [{ url }] = nodes.flow;
  const { hostname, port } = new URL(url);
  for (const text of ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "POST /api/v1/tasks/t/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", `GET /${"a".repeat(40_000)} HTTP/1.1\r\nHost: x\r\n\r\n`]) {
    const answer = await new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname, () => socket.write(text));
      let got = "";
      socket.on("data", (part) => { got += part; if (got.includes("\r\n\r\n")) socket.end(); });
      socket.on("close", () => resolve(got));
      socket.on("error", (e) => (e.code === "ECONNRESET" ? resolve(got) : reject(e)));
    });
    assert.match(answer, /^HTTP\/1\.1 4\d\d /);
  }
});

everywhere("429 and 503 are tried again, by the header that the SDK reads", async (t, env) => {
  for (const answer of [
    { status: 429, headers: { "x-ratelimit-reset": String(Date.now() + 100), "retry-after": "3600" }, body: '{"error":"later"}' },
    { status: 503, headers: { "retry-after": "1" }, body: '{"error":"later"}' },
  ]) {
    const p = await proxy(t, env.url, ({ count }) => (count === 0 ? { answer } : undefined));
    const client = new TriggerClient({ baseURL: p.url, accessToken: env.key });
    const { id } = await client.tasks.trigger("t", 1);
    assert.equal(p.seen.length, 2);
    const [first, second] = p.seen.map((e) => e.headers["x-trigger-request-idempotency-key"]);
    assert.equal(first, second);
    assert.equal((await env.client.runs.retrieve(id)).status, "QUEUED");
  }
});
