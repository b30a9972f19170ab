// Triggers: options, payloads, names.
import { test } from "node:test";
import assert from "node:assert/strict";

import { auth, tasks } from "@trigger.dev/sdk";
import { environment, everywhere, rejects } from "../lib/nodes.mjs";

/** claims are what a token says, unverified. */
const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));

everywhere("a trigger and its handle", async (t, env) => {
  const before = Date.now() - 2000;
  const handle = await env.client.tasks.trigger("send-email", { to: "a@b.c" });
  assert.match(handle.id, /^run_[0-9a-z]+$/);
  assert.equal(handle.isCached, false);
  const c = claims(handle.publicAccessToken);
  assert.equal(c.sub, env.id);
  assert.equal(c.pub, true);
  assert.ok(c.scopes.includes(`read:runs:${handle.id}`));

  const run = await env.client.runs.retrieve(handle.id);
  assert.equal(run.id, handle.id);
  assert.equal(run.taskIdentifier, "send-email");
  assert.deepEqual(run.payload, { to: "a@b.c" });
  assert.equal(run.status, "QUEUED");
  assert.deepEqual(
    [run.isQueued, run.isExecuting, run.isWaiting, run.isCompleted, run.isSuccess, run.isFailed, run.isCancelled, run.isTest],
    [true, false, false, false, false, false, false, false]);
  assert.deepEqual(run.tags, []);
  assert.equal(run.attemptCount, 0);
  assert.deepEqual(run.attempts ?? [], []);
  assert.equal(run.depth, 0);
  assert.equal(run.triggerFunction, "trigger");
  assert.deepEqual(run.relatedRuns.children ?? [], []);
  for (const absent of ["startedAt", "finishedAt", "delayedUntil", "expiredAt", "output", "error", "idempotencyKey", "batchId", "ttl"]) {
    assert.equal(run[absent], undefined, absent);
  }
  assert.ok(run.createdAt instanceof Date && run.createdAt.getTime() >= before && run.createdAt.getTime() <= Date.now() + 2000);
});

everywhere("every option", async (t, env) => {
  const handle = await env.client.tasks.trigger("send-email", { to: "a@b.c" }, {
    idempotencyKey: "order-42", idempotencyKeyTTL: "1h", delay: "10m", ttl: "2h", tags: ["user:1", "org:2"],
    queue: "emails", concurrencyKey: "user-1", maxAttempts: 3, maxDuration: 60, machine: "small-2x",
    metadata: { plan: "pro", nested: { deep: [1, 2, { three: 3 }] } }, priority: 10, region: "us-east-1",
    version: "20240101.1",
  });
  const run = await env.client.runs.retrieve(handle.id);
  assert.equal(run.status, "DELAYED");
  assert.equal(run.isQueued, true);
  assert.equal(run.idempotencyKey, "order-42");
  assert.equal(run.ttl, "2h");
  assert.deepEqual(run.tags, ["org:2", "user:1"]);
  assert.deepEqual(run.metadata, { plan: "pro", nested: { deep: [1, 2, { three: 3 }] } });
  assert.equal(run.region, "us-east-1");
  assert.ok(Math.abs(run.delayedUntil.getTime() - run.createdAt.getTime() - 600_000) < 2000, `${run.delayedUntil}`);
  const [listed] = (await env.client.runs.list({ queue: { name: "emails", type: "custom" }, machine: "small-2x" })).data;
  assert.equal(listed.id, handle.id);
  assert.equal(listed.env.id, env.id);
});

everywhere("a date as delay, a number as ttl, a string as tags", async (t, env) => {
  const at = new Date(Date.now() + 3_600_000);
  const handle = await env.client.tasks.trigger("t", 1, { delay: at, ttl: 3600, tags: "solo" });
  const run = await env.client.runs.retrieve(handle.id);
  assert.equal(run.delayedUntil.getTime(), at.getTime());
  assert.deepEqual(run.tags, ["solo"]);
  assert.match(run.ttl, /^(1h|3600s|60m)$/);
  const past = await env.client.tasks.trigger("t", 1, { delay: new Date(Date.now() - 60_000) });
  assert.equal((await env.client.runs.retrieve(past.id)).status, "QUEUED");
});

const payloads = {
  "an object": [{ a: 1, b: [true, null, "x"] }, { a: 1, b: [true, null, "x"] }],
  "a text": ["just text", "just text"],
  "an empty text": ["", undefined, "either"],
  "a text that looks like JSON": ['{"a":1}', '{"a":1}'],
  "nothing": [undefined, undefined],
  "null": [null, null],
  "a number": [42.5, 42.5],
  "zero": [0, 0],
  "false": [false, false],
  "an empty list": [[], []],
  "an empty object": [{}, {}],
  "empty ones within": [{ a: [], b: {}, c: [[], {}] }, { a: [], b: {}, c: [[], {}] }],
  "a date": [{ at: new Date("2026-01-02T03:04:05.678Z") }, { at: "2026-01-02T03:04:05.678Z" }],
  "a bigint": [{ n: 12345678901234567890n }, { n: "12345678901234567890" }],
  "a set": [{ s: new Set([1, 2]) }, { s: [1, 2] }],
  "a map": [{ m: new Map([["k", "v"]]) }, { m: [["k", "v"]] }],
  "undefined within": [{ a: undefined, b: 1 }, { a: null, b: 1 }],
  "unicode": [{ text: "żółć 日本語 🙂👩‍👩‍👧 \u202e \u2028", "ключ": 1 }, { text: "żółć 日本語 🙂👩‍👩‍👧 \u202e \u2028", "ключ": 1 }],
  "control characters": [{ text: "\u0000\u0001\t\r\n\\\"\u007f" }, { text: "\u0000\u0001\t\r\n\\\"\u007f" }],
  "text with control characters": ["a\tb\nc\\\"\u0001", "a\tb\nc\\\"\u0001"],
  "large integers as JSON has them": [{ n: 9007199254740991, m: -1e21, f: 1e-7 }, { n: 9007199254740991, m: -1e21, f: 1e-7 }],
};

everywhere("payloads come back", async (t, env) => {
  const made = await Promise.all(Object.entries(payloads).map(async ([name, [sent, wanted, either]]) => {
    const handle = await env.client.tasks.trigger("payloads", sent);
    return { name, sent, wanted, either, run: await env.client.runs.retrieve(handle.id) };
  }));
  for (const { name, sent, wanted, either, run } of made) {
    if (either && run.payload === sent) continue; // the empty text may be itself or nothing
    assert.deepEqual(run.payload, wanted, name);
  }
});

everywhere("a deep payload and a wide one", async (t, env) => {
  let deep = { end: true };
  for (let i = 0; i < 900; i++) deep = i % 2 ? [deep] : { d: deep };
  const wide = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`k${i}`, i]));
  for (const payload of [deep, wide]) {
    const handle = await env.client.tasks.trigger("deep", payload);
    assert.deepEqual((await env.client.runs.retrieve(handle.id)).payload, payload);
  }
});

const names = ["/", 
  "folder/my task", "ünïcödé-任务", "emoji-🙂", "a:b:c", "with%2Fescape", "dots.and-dashes_", "q?x=1&y=2#frag", "a+b", "'quote\"", "~tilde", "x".repeat(128),
];

everywhere("task names of every kind", async (t, env) => {
  await Promise.all(names.map(async (name) => {
    const handle = await env.client.tasks.trigger(name, { name }, { idempotencyKey: "k" });
    const run = await env.client.runs.retrieve(handle.id);
    assert.equal(run.taskIdentifier, name);
    const again = await env.client.tasks.trigger(name, { name }, { idempotencyKey: "k" });
    assert.deepEqual([again.id, again.isCached], [handle.id, true]);
  }));
  for (const name of names.filter((n) => !n.includes(","))) {
    const { data } = await env.client.runs.list({ taskIdentifier: name });
    assert.deepEqual(data.map((r) => r.taskIdentifier), [name]);
  }
});

everywhere("values at their limits", async (t, env) => {
  const ten = Array.from({ length: 10 }, (_, i) => `tag-${i}`.padEnd(128, "ü"));
  const { id } = await env.client.tasks.trigger("limits", 1, { tags: ten, priority: -3.5, metadata: { big: "m".repeat(200_000) } });
  const run = await env.client.runs.retrieve(id);
  assert.deepEqual(run.tags, [...ten].sort());
  assert.equal(run.metadata.big.length, 200_000);

  const few = await env.client.tasks.trigger("limits", 1, { tags: ["", "  ", "a"] });
  assert.deepEqual((await env.client.runs.retrieve(few.id)).tags, ["a"]);

  await rejects(() => env.client.tasks.trigger("limits", 1, { tags: Array.from({ length: 11 }, (_, i) => `t${i}`) }), 422, "UnprocessableEntityError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { tags: Array.from({ length: 100 }, (_, i) => `t${i}`) }), 422, "UnprocessableEntityError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { tags: ["x".repeat(129)] }), 400, "BadRequestError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { metadata: { big: "m".repeat(262_145) } }), 413);
  await rejects(() => env.client.tasks.trigger("limits", 1, { machine: "huge-9x" }), 400, "BadRequestError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { delay: "soon" }), 400, "BadRequestError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { ttl: -1 }), 400, "BadRequestError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { ttl: 1.5 }), 400, "BadRequestError");
  await rejects(() => env.client.tasks.trigger("limits", 1, { idempotencyKey: "k", idempotencyKeyTTL: "a while" }), 400, "BadRequestError");
  const { data } = await env.client.runs.list({ taskIdentifier: "limits" });
  assert.equal(data.length, 2, "what was refused made no run");
});

everywhere("tags are a set", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { tags: ["a", "b", "a"] });
  assert.deepEqual((await env.client.runs.retrieve(id)).tags, ["a", "b"]);
});

test("a dev environment gives its runs ten minutes, unless they say otherwise", async () => {
  const env = await environment({ type: "dev" });
  const [plain, own, none] = await Promise.all([
    env.client.tasks.trigger("t", 1), env.client.tasks.trigger("t", 1, { ttl: "1h" }), env.client.tasks.trigger("t", 1, { ttl: 0 }),
  ]);
  assert.equal((await env.client.runs.retrieve(plain.id)).ttl, "10m");
  assert.equal((await env.client.runs.retrieve(own.id)).ttl, "1h");
  assert.equal((await env.client.runs.retrieve(none.id)).ttl, undefined);
});

test("a preview environment needs its branch", async () => {
  const env = await environment({ type: "preview" });
  await rejects(() => env.client.tasks.trigger("t", 1), 401, "AuthenticationError");
  const handle = await auth.withAuth({ ...env.config, previewBranch: "feature/x" }, () => tasks.trigger("t", 1));
  const run = await auth.withAuth({ ...env.config, previewBranch: "feature/x" }, () => env.fetch(`/api/v3/runs/${handle.id}`, { headers: { "x-trigger-branch": "feature/x" } }));
  assert.equal(run.status, 200);
});
