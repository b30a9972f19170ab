// Idempotency keys: one key, one run.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";

import { auth, idempotencyKeys } from "@trigger.dev/sdk";
import { environment, everywhere, rejects, until } from "../lib/nodes.mjs";

// The processes of all bursts.
const children = Array.from({ length: 4 }, () => {
  const child = spawn(process.execPath, [fileURLToPath(new URL("../lib/burst.mjs", import.meta.url))], { stdio: ["pipe", "pipe", "inherit"] });
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
});
before(async () => {
  for (const { lines } of children) assert.equal((await lines.next()).value, "ready");
});
after(() => children.forEach(({ child }) => child.stdin.end()));

/** burst has every process send its work at once; all nodes of the environment get some. */
async function burst(env, workOf) {
  children.forEach(({ child }, i) => {
    const url = env.where[i % env.where.length].url;
    child.stdin.write(`${JSON.stringify({ url, key: env.key, ...workOf(i) })}\n`);
  });
  return Promise.all(children.map(async ({ lines }) => JSON.parse((await lines.next()).value)));
}

everywhere("500 triggers of one key from several processes make one run", async (t, env) => {
  const handles = (await burst(env, () => ({ task: "burst", count: 125, options: { idempotencyKey: "one" } }))).flat();
  assert.equal(handles.length, 500);
  assert.equal(new Set(handles.map((h) => h.id)).size, 1);
  assert.equal(handles.filter((h) => !h.isCached).length, 1, "exactly one of them made it");
  assert.equal((await env.client.runs.list({ taskIdentifier: "burst" })).data.length, 1);
  const run = await env.client.runs.retrieve(handles[0].id);
  assert.equal(run.idempotencyKey, "one");
});

test("a burst of one key through a gate that trips on the way makes one run", async () => {
  const env = await environment(); // as configured: over 100 in 200 ms it trips
  const [one, two, ...noise] = await burst(env, (i) =>
    i < 2 ? { task: "flip", count: 150, options: { idempotencyKey: "one" } } : { task: "noise", count: 250, options: {} });
  assert.equal(new Set([...one, ...two].map((h) => h.id)).size, 1);
  assert.equal(new Set(noise.flat().map((h) => h.id)).size, 500, "without keys each is a run");
});

everywhere("what a key names", async (t, env) => {
  const trigger = async (key, options = {}, task = "keys") => env.client.tasks.trigger(task, { any: 1 }, { idempotencyKey: key, ...options });
  const first = await trigger("order-42");
  const same = await trigger(["order", "42"]);
  assert.deepEqual([same.id, same.isCached], [first.id, true], "the parts of a key are joined");
  const other = await trigger("order-42", {}, "another-task");
  assert.notEqual(other.id, first.id, "a task has keys of its own");
  for (const scope of ["run", "attempt", "global"]) {
    const key = await idempotencyKeys.create("order-42", { scope });
    assert.equal((await trigger(key)).id, first.id, `outside a task the scope ${scope} makes no difference`);
  }
  const raw = await trigger("x".repeat(64));
  assert.equal((await trigger("x".repeat(64))).id, raw.id);
  const shown = await env.client.runs.retrieve(raw.id);
  assert.ok(shown.idempotencyKey === undefined || shown.idempotencyKey === "x".repeat(64));
  for (const odd of ["", " "]) {
    // The SDK leaves an empty key out; a blank one is a key.
    const a = await trigger(odd), b = await trigger(odd);
    assert.equal(a.id === b.id, odd !== "");
  }
});

everywhere("keys with any characters, up to 2,048 of them", async (t, env) => {
  const keys = [
    "ключ:🙂", "a:b", "a", "/", ":", "a:", "b", "%", "../../x", "\u0001", "line\nbreak", "'; drop table runs; --", "k".repeat(2048), "🙂".repeat(1024), "é", "e\u0301",
  ];
  const made = await Promise.all(keys.map((key) => env.trigger("odd", { options: { idempotencyKey: key } })));
  assert.equal(new Set(made.map((m) => m.id)).size, keys.length);
  const again = await Promise.all(keys.map((key) => env.trigger("odd", { options: { idempotencyKey: key } })));
  assert.deepEqual(again.map((m) => [m.id, m.isCached]), made.map((m) => [m.id, true]));
  for (const [i, key] of keys.entries()) {
    const path = `/api/v1/idempotencyKeys/${encodeURIComponent(key)}/reset`;
    assert.deepEqual(await env.json(path, { method: "POST", body: { taskIdentifier: "odd" } }), { id: key });
    assert.notEqual((await env.trigger("odd", { options: { idempotencyKey: key } })).id, made[i].id);
  }
  for (const key of ["k".repeat(2049), "🙂".repeat(1025), "nul\u0000"]) {
    await env.json("/api/v1/tasks/odd/trigger", { method: "POST", body: { options: { idempotencyKey: key } } }, 400);
  }
  for (const key of keys) {
    const handle = await env.client.tasks.trigger("odd-sdk", 1, { idempotencyKey: key });
    assert.equal((await env.client.runs.retrieve(handle.id)).idempotencyKey, key);
  }
});

everywhere("a repeat is answered with the first run, whatever else it says", async (t, env) => {
  const options = { idempotencyKey: "k", tags: "first", metadata: { n: 1 } };
  const first = await env.client.tasks.trigger("t", { n: 1 }, options);
  const second = await env.client.tasks.trigger("t", { n: 2 }, { ...options, tags: "second", delay: "1h", metadata: { n: 2 } });
  assert.deepEqual([second.id, second.isCached], [first.id, true]);
  const run = await env.client.runs.retrieve(first.id);
  assert.deepEqual([run.payload, run.tags, run.metadata, run.status], [{ n: 1 }, ["first"], { n: 1 }, "QUEUED"]);
});

everywhere("a key ends with its time to live", async (t, env) => {
  const options = { idempotencyKey: "brief", idempotencyKeyTTL: "1s" };
  const first = await env.client.tasks.trigger("t", 1, options);
  const next = await until("a second run of the key", async () => {
    const handle = await env.client.tasks.trigger("t", 1, options);
    return handle.isCached ? undefined : handle;
  });
  assert.notEqual(next.id, first.id);
  const [old, now] = await Promise.all([first, next].map((h) => env.client.runs.retrieve(h.id)));
  assert.ok(now.createdAt - old.createdAt >= 1000, "not before its second is over");
});

everywhere("several at once after a key has ended make one run", async (t, env) => {
  const options = { idempotencyKey: "brief", idempotencyKeyTTL: "1s" };
  const first = await env.client.tasks.trigger("t", 1, options);
  await until("the end of the key", async () =>
    (await env.client.runs.retrieve(first.id)).idempotencyKey === undefined ? true : undefined);
  const handles = await Promise.all(Array.from({ length: 50 }, () =>
    env.client.tasks.trigger("t", 1, { idempotencyKey: "brief", idempotencyKeyTTL: "1h" })));
  assert.equal(new Set(handles.map((h) => h.id)).size, 1);
  assert.notEqual(handles[0].id, first.id);
});

everywhere("a reset frees the key", async (t, env) => {
  await auth.withAuth(env.config, async () => {
    const key = await idempotencyKeys.create("order/42 ü", { scope: "global" });
    const first = await env.client.tasks.trigger("folder/t", 1, { idempotencyKey: key });
    assert.deepEqual(await idempotencyKeys.reset("folder/t", key), { id: key });
    assert.equal((await env.client.runs.retrieve(first.id)).idempotencyKey, undefined, "it is shown no more");
    await rejects(() => idempotencyKeys.reset("folder/t", key), 404, "NotFoundError");
    const second = await env.client.tasks.trigger("folder/t", 1, { idempotencyKey: key });
    assert.equal(second.isCached, false);
    assert.notEqual(second.id, first.id);
    assert.deepEqual(await idempotencyKeys.reset("folder/t", "order/42 ü", { scope: "global" }), { id: key });
    await rejects(() => idempotencyKeys.reset("other", key), 404, "NotFoundError");
    await assert.rejects(() => idempotencyKeys.reset("folder/t", "text"), /parentRunId is required/);
    const raw = "r/".repeat(32);
    const third = await env.client.tasks.trigger("folder/t", 1, { idempotencyKey: raw });
    await idempotencyKeys.reset("folder/t", raw);
    assert.notEqual((await env.client.tasks.trigger("folder/t", 1, { idempotencyKey: raw })).id, third.id);
  });
});

test("how a run ends decides about its key", async () => {
  const env = await environment({ force: "pass" });
  for (const [status, keeps] of [
    ["COMPLETED", true], ["FAILED", false], ["CRASHED", false], ["SYSTEM_FAILURE", false], ["TIMED_OUT", false], ["EXPIRED", false],
  ]) {
    const options = { idempotencyKey: `ends ${status}` };
    const first = await env.client.tasks.trigger("t", 1, options);
    await env.finish(first.id, { status: status === "TIMED_OUT" ? "EXECUTING" : status, ...(keeps ? {} : { error: { message: "no" } }) });
    if (status === "TIMED_OUT") await env.finish(first.id, { status });
    const second = await env.client.tasks.trigger("t", 1, options);
    assert.equal(second.isCached, keeps, status);
    assert.equal(second.id === first.id, keeps, status);
  }
});

everywhere("a cancelled run keeps its key", async (t, env) => {
  const first = await env.client.tasks.trigger("t", 1, { idempotencyKey: "k" });
  await env.client.runs.cancel(first.id);
  const second = await env.client.tasks.trigger("t", 1, { idempotencyKey: "k" });
  assert.deepEqual([second.id, second.isCached], [first.id, true]);
});

test("a key holds over the drain: buffered, draining, in Postgres", async () => {
  const env = await environment({ force: "mollify" });
  const options = { idempotencyKey: "k" };
  const first = await env.client.tasks.trigger("t", 1, options);
  await until("the run's row", async () => {
    const answer = await env.trigger("t", { options: { idempotencyKey: (await idempotencyKeys.create("k")) } });
    assert.deepEqual([answer.id, answer.isCached], [first.id, true]);
    return answer.state === "materialised" ? true : undefined;
  });
  await env.force("pass");
  assert.equal((await env.client.tasks.trigger("t", 1, options)).id, first.id);
});
