// Runs: read, poll, cancel, reschedule, replay, change, wherever they are.
import { test } from "node:test";
import assert from "node:assert/strict";

import { apiClientManager } from "@trigger.dev/core/v3";
import { auth } from "@trigger.dev/sdk";
import { environment, everywhere, rejects, until } from "../lib/nodes.mjs";

/** low has the SDK's own client for what the SDK offers only within a task. */
const low = (env, call) => auth.withAuth(env.config, () => call(apiClientManager.clientOrThrow()));

everywhere("cancel", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { tags: "keep" });
  assert.deepEqual(await env.client.runs.cancel(id), { id });
  const run = await env.client.runs.retrieve(id);
  assert.equal(run.status, "CANCELED");
  assert.deepEqual(
    [run.isQueued, run.isExecuting, run.isWaiting, run.isCompleted, run.isSuccess, run.isFailed, run.isCancelled],
    [false, false, false, true, false, true, true]);
  assert.ok(run.finishedAt instanceof Date);
  assert.equal(run.error?.message, "Canceled by user");
  assert.deepEqual(await env.client.runs.cancel(id), { id }, "a second cancel changes nothing");
  assert.deepEqual((await env.client.runs.retrieve(id)).finishedAt, run.finishedAt);
  const polled = await env.client.runs.poll(id, { pollIntervalMs: 10 });
  assert.equal(polled.status, "CANCELED");
  assert.deepEqual((await env.client.runs.list({ status: "CANCELED" })).data.map((r) => r.id), [id]);
});

everywhere("cancel of a delayed run", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { delay: "1h" });
  await env.client.runs.cancel(id);
  const run = await env.client.runs.retrieve(id);
  assert.deepEqual([run.status, run.isCancelled, run.isQueued], ["CANCELED", true, false]);
});

test("a run that is cancelled while it is drained stays cancelled", async () => {
  const env = await environment({ force: "mollify" });
  const handles = await Promise.all(Array.from({ length: 100 }, (_, i) => env.client.tasks.trigger("t", i)));
  await Promise.all(handles.map((h) => env.client.runs.cancel(h.id)));
  const runs = await Promise.all(handles.map((h) => env.client.runs.retrieve(h.id)));
  assert.deepEqual([...new Set(runs.map((r) => r.status))], ["CANCELED"]);
  await until("the drain", async () => {
    const { data } = await env.client.runs.list({ status: "CANCELED", limit: 100 });
    return data.length === 100 ? true : undefined;
  });
});

test("poll sees a run end", async () => {
  const env = await environment({ force: "mollify" });
  const { id } = await env.client.tasks.trigger("t", { a: 1 });
  const polled = env.client.runs.poll(id, { pollIntervalMs: 20 });
  await until("the run's row", async () => {
    const res = await fetch(`${env.admin}/admin/v1/environments/${env.id}/runs/${id}/finish`, {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ status: "COMPLETED", output: '{"json":{"ok":true,"at":"2026-01-02T03:04:05.678Z"},"meta":{"values":{"at":["Date"]}}}', outputType: "application/super+json" }),
    });
    await res.body.cancel();
    return res.ok ? true : undefined;
  });
  const run = await polled;
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.isSuccess, true);
  assert.deepEqual(run.output, { ok: true, at: "2026-01-02T03:04:05.678Z" });
  assert.deepEqual(run.payload, { a: 1 });
  assert.ok(run.finishedAt instanceof Date);
});

test("a failed run shows its error", async () => {
  const env = await environment({ force: "pass" });
  const { id } = await env.client.tasks.trigger("t", 1);
  await env.finish(id, { status: "FAILED", error: { message: "no 🙂", name: "TypeError", stackTrace: "at x" } });
  const run = await env.client.runs.retrieve(id);
  assert.deepEqual([run.status, run.isFailed, run.isCompleted, run.isSuccess], ["FAILED", true, true, false]);
  assert.deepEqual(run.error, { message: "no 🙂", name: "TypeError", stackTrace: "at x" });
});

everywhere("reschedule", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", { a: 1 }, { delay: "1h", tags: "x" });
  const at = new Date(Date.now() + 7_200_000);
  const run = await env.client.runs.reschedule(id, { delay: at });
  assert.deepEqual([run.id, run.status, run.delayedUntil.getTime()], [id, "DELAYED", at.getTime()]);
  assert.deepEqual(run.tags, ["x"]);
  const again = await env.client.runs.reschedule(id, { delay: "30m" });
  assert.ok(again.delayedUntil.getTime() < at.getTime());
  assert.deepEqual((await env.client.runs.retrieve(id)).delayedUntil, again.delayedUntil);
  await rejects(() => env.client.runs.reschedule(id, { delay: "soon" }), 400, "BadRequestError");
  await rejects(() => env.client.runs.reschedule(id, { delay: new Date(0) }), 400, "BadRequestError");
  const plain = await env.client.tasks.trigger("t", 1);
  await rejects(() => env.client.runs.reschedule(plain.id, { delay: "1h" }), 400, "BadRequestError");
  assert.equal((await env.client.runs.retrieve(plain.id)).status, "QUEUED");
  await env.client.runs.cancel(id);
  await rejects(() => env.client.runs.reschedule(id, { delay: "1h" }), 400, "BadRequestError");
});

everywhere("replay", async (t, env) => {
  const options = { idempotencyKey: "k", tags: ["a", "b"], metadata: { m: 1 }, queue: "q", machine: "small-2x", concurrencyKey: "c" };
  const { id } = await env.client.tasks.trigger("folder/t", { a: new Date(0), b: [] }, options);
  const before = await env.client.runs.retrieve(id);
  const copy = await env.client.runs.replay(id);
  assert.notEqual(copy.id, id);
  const run = await env.client.runs.retrieve(copy.id);
  assert.deepEqual(run.payload, before.payload);
  assert.deepEqual([run.taskIdentifier, run.tags, run.metadata], ["folder/t", ["a", "b"], { m: 1 }]);
  assert.equal(run.idempotencyKey, undefined);
  assert.equal(run.status, "QUEUED");
  assert.notEqual((await env.client.runs.replay(id)).id, copy.id, "each replay is a run");
  assert.equal((await env.client.tasks.trigger("folder/t", 1, { idempotencyKey: "k" })).id, id, "the key stays with the first");
  await env.client.runs.cancel(id);
  assert.equal((await env.client.runs.retrieve((await env.client.runs.replay(id)).id)).status, "QUEUED");
  const { data } = await env.client.runs.list({ queue: { type: "custom", name: "q" }, machine: "small-2x" });
  assert.equal(data.length, 4);
});

everywhere("tags", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { tags: ["a"] });
  const add = (tags) => low(env, (client) => client.addTags(id, { tags }));
  assert.equal(typeof (await add("b")).message, "string");
  await add(["b", "c", "ü🙂", "with,comma"]);
  assert.deepEqual((await env.client.runs.retrieve(id)).tags, ["a", "b", "c", "with,comma", "ü🙂"].sort());
  assert.equal(typeof (await add(["a"])).message, "string", "nothing new is no error");
  await rejects(() => add(Array.from({ length: 6 }, (_, i) => `more-${i}`)), 422, "UnprocessableEntityError");
  assert.equal((await env.client.runs.retrieve(id)).tags.length, 5, "all or none");
  await add(Array.from({ length: 5 }, (_, i) => `more-${i}`));
  assert.equal((await env.client.runs.retrieve(id)).tags.length, 10);
  await rejects(() => add("x".repeat(129)), 400);
  assert.deepEqual((await env.client.runs.list({ tag: ["more-3", "none"] })).data.map((r) => r.id), [id]);
});

everywhere("metadata", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { metadata: { plan: "pro" } });
  const update = (body) => low(env, (client) => client.updateRunMetadata(id, body));
  const operations = [
    { type: "set", key: "progress", value: 0.5 }, { type: "append", key: "log", value: "a" }, { type: "increment", key: "n", value: 2 },
    { type: "set", key: "$.deep.path", value: { x: [] } }, { type: "append", key: "log", value: { b: 1 } }, { type: "remove", key: "log", value: "a" },
  ];
  const wanted = { plan: "pro", progress: 0.5, log: [{ b: 1 }], n: 2, deep: { path: { x: [] } } };
  assert.deepEqual((await update({ operations })).metadata, wanted);
  assert.deepEqual((await env.client.runs.retrieve(id)).metadata, wanted);
  assert.deepEqual((await update({ metadata: { only: "this" } })).metadata, { only: "this" });
  assert.deepEqual((await update({ operations: [{ type: "delete", key: "only" }] })).metadata, {});
  await rejects(() => update({ metadata: { big: "x".repeat(262_145) } }), 413);
  await Promise.all(Array.from({ length: 30 }, () => update({ operations: [{ type: "increment", key: "n", value: 1 }] })));
  assert.deepEqual((await env.client.runs.retrieve(id)).metadata, { n: 30 }, "no increment is lost");
  await env.client.runs.cancel(id);
  await rejects(() => update({ metadata: { late: true } }), 422);
});

everywhere("what another environment has does not exist", async (t, env) => {
  const other = await environment({ on: env.state === "buffered" ? "still" : "flow" });
  const { id } = await env.client.tasks.trigger("t", 1, { idempotencyKey: "k", delay: "1h" });
  await rejects(() => other.client.runs.retrieve(id), 404, "NotFoundError");
  await rejects(() => other.client.runs.cancel(id), 404, "NotFoundError");
  await rejects(() => other.client.runs.replay(id), 404, "NotFoundError");
  await rejects(() => other.client.runs.reschedule(id, { delay: "2h" }), 404, "NotFoundError");
  await rejects(() => low(other, (c) => c.addTags(id, { tags: "x" })), 404, "NotFoundError");
  await rejects(() => low(other, (c) => c.updateRunMetadata(id, { metadata: {} })), 404, "NotFoundError");
  assert.deepEqual((await other.client.runs.list()).data, []);
  const theirs = await other.client.tasks.trigger("t", 1, { idempotencyKey: "k" });
  assert.equal(theirs.isCached, false);
  assert.notEqual(theirs.id, id);
  const run = await env.client.runs.retrieve(id);
  assert.deepEqual([run.status, run.tags, run.metadata], ["DELAYED", [], undefined]);
});

test("an unknown run is not found, at once", async () => {
  const env = await environment();
  const begun = performance.now();
  for (const id of ["run_01hq3k5c9d0042v6w8x0z1abcdef", "run_p4gd1vyk3xqmn7s8b2fzt", "run_", "nonsense", "run_ü", "%2e%2e", "a".repeat(500)]) {
    await rejects(() => env.client.runs.retrieve(id), 404, "NotFoundError");
    await rejects(() => env.client.runs.cancel(id), 404, "NotFoundError");
  }
  assert.ok(performance.now() - begun < 9000, "the client was not told to come again");
});

test("a ttl that passes ends the run, and its key", async () => {
  for (const force of ["pass", "mollify"]) {
    const env = await environment({ force });
    const options = { ttl: "1s", idempotencyKey: "k" };
    const { id } = await env.client.tasks.trigger("t", 1, options);
    const run = await until("the end of the run", async () => {
      const run = await env.client.runs.retrieve(id);
      return run.status === "EXPIRED" ? run : undefined;
    });
    assert.ok(run.expiredAt ?? run.finishedAt, "it says when");
    assert.equal(run.ttl, "1s");
    assert.equal(run.isSuccess, false);
    const next = await env.client.tasks.trigger("t", 1, options);
    assert.notEqual(next.id, id);
  }
});

test("a delay that passes lets the run go", async () => {
  for (const force of ["pass", "mollify"]) {
    const env = await environment({ force });
    const { id } = await env.client.tasks.trigger("t", 1, { delay: "1s" });
    assert.equal((await env.client.runs.retrieve(id)).status, "DELAYED");
    const run = await until("the end of the delay", async () => {
      const run = await env.client.runs.retrieve(id);
      return run.status === "QUEUED" ? run : undefined;
    });
    assert.ok(run.delayedUntil instanceof Date);
  }
});
