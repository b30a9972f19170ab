// Batches: made, filled in a stream, sealed; each item one run.
import { test } from "node:test";
import assert from "node:assert/strict";

import { TriggerClient, idempotencyKeys } from "@trigger.dev/sdk";
import { environment, everywhere, mortal, rejects, served, until } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

const skip = await served("/api/v3/batches");
const key = (exchange) => exchange.headers["x-trigger-request-idempotency-key"];

/** whole waits until each item of a batch has become a run. */
const whole = (env, id, count) => until(`${count} runs of the batch`, async () => {
  const batch = await env.client.batch.retrieve(id);
  return batch.runs.length === count ? batch : undefined;
});

everywhere("a batch of one task", { skip }, async (t, env) => {
  const handle = await env.client.tasks.batchTrigger("mail", [
    { payload: { i: 0 } },
    { payload: "text", options: { delay: "1h", ttl: "2h", tags: ["t"], idempotencyKey: "k1", metadata: { m: 1 } } },
    { payload: undefined },
  ]);
  assert.match(handle.batchId, /^batch_[a-z0-9]+$/);
  assert.equal(handle.runCount, 3);
  const claims = JSON.parse(Buffer.from(handle.publicAccessToken.split(".")[1], "base64url"));
  assert.ok(claims.scopes.includes(`read:batch:${handle.batchId}`));
  const batch = await whole(env, handle.batchId, 3);
  assert.equal(batch.runCount, 3);
  assert.ok(["PENDING", "PROCESSING"].includes(batch.status), batch.status);
  const runs = await Promise.all(batch.runs.map((id) => env.client.runs.retrieve(id)));
  assert.deepEqual(runs.map((r) => r.payload), [{ i: 0 }, "text", undefined]);
  assert.deepEqual(runs.map((r) => r.status), ["QUEUED", "DELAYED", "QUEUED"]);
  assert.deepEqual(runs.map((r) => r.batchId), Array(3).fill(handle.batchId));
  assert.deepEqual([...new Set(runs.map((r) => r.triggerFunction))], ["batchTrigger"]);
  assert.deepEqual([runs[1].tags, runs[1].ttl, runs[1].metadata, runs[1].idempotencyKey], [["t"], "2h", { m: 1 }, "k1"]);
  const listed = (await env.client.runs.list({ batch: handle.batchId })).data.map((r) => r.id);
  assert.deepEqual(listed.sort(), [...batch.runs].sort());
  const own = new TriggerClient({ baseURL: env.url, accessToken: handle.publicAccessToken });
  const seen = await own.batch.retrieve(handle.batchId).catch((e) => e);
  assert.equal(seen.id, handle.batchId, "the handle's token reads the batch");
});

everywhere("a batch of several tasks", { skip }, async (t, env) => {
  const handle = await env.client.batch.trigger([{ id: "a", payload: 1 }, { id: "folder/b ü", payload: 2 }, { id: "a", payload: 3 }]);
  const batch = await whole(env, handle.batchId, 3);
  const runs = await Promise.all(batch.runs.map((id) => env.client.runs.retrieve(id)));
  assert.deepEqual(runs.map((r) => [r.taskIdentifier, r.payload]), [["a", 1], ["folder/b ü", 2], ["a", 3]]);
});

everywhere("a batch of 1,000", { skip }, async (t, env) => {
  const handle = await env.client.tasks.batchTrigger("many", Array.from({ length: 1000 }, (_, i) => ({
    payload: { i }, options: { idempotencyKey: `item-${i % 900}`, tags: `n${i % 3}` },
  })));
  assert.equal(handle.runCount, 1000);
  const batch = await until("1,000 items", async () => {
    const batch = await env.client.batch.retrieve(handle.batchId);
    return new Set(batch.runs).size >= 900 ? batch : undefined;
  });
  assert.equal(new Set(batch.runs).size, 900, "items of one key are one run");
  let n = 0;
  for await (const _ of env.client.runs.list({ batch: handle.batchId, limit: 100 })) n++;
  assert.equal(n, 900);
  const single = await env.client.tasks.trigger("many", 1, { idempotencyKey: "item-7" });
  assert.deepEqual([single.isCached, batch.runs.includes(single.id)], [true, true], "singles and items share their keys");
});

everywhere("a key for the whole batch", { skip }, async (t, env) => {
  const items = [{ payload: 1 }, { payload: 2 }];
  const key = await idempotencyKeys.create("nightly", { scope: "global" });
  const first = await env.client.tasks.batchTrigger("t", items, { idempotencyKey: key });
  const second = await env.client.tasks.batchTrigger("t", items, { idempotencyKey: key });
  assert.equal(second.batchId, first.batchId);
  assert.equal(second.isCached ?? true, true);
  await whole(env, first.batchId, 2);
  assert.equal((await env.client.runs.list({ taskIdentifier: "t" })).data.length, 2);
});

everywhere("the answers of both phases are lost", { skip }, async (t, env) => {
  const p = await proxy(t, env.url, ({ path, count }) => {
    const first = !lost.has(path);
    lost.add(path);
    return first ? { cut: true } : undefined;
  });
  const lost = new Set();
  const client = new TriggerClient({ baseURL: p.url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 5, minTimeoutInMs: 10 } } });
  const handle = await client.tasks.batchTrigger("t", Array.from({ length: 20 }, (_, i) => ({ payload: i })));
  const batch = await whole(env, handle.batchId, 20);
  assert.equal(new Set(batch.runs).size, 20);
  assert.equal((await env.client.runs.list({ taskIdentifier: "t", limit: 100 })).data.length, 20, "no item was run twice");
  assert.ok(p.seen.length >= 3);
});

everywhere("phase 2 by hand: parts, repeats, and what is wrong", { skip }, async (t, env) => {
  const create = (body, status = 202) => env.json("/api/v3/batches", { method: "POST", body }, status);
  const send = async (id, lines, status = 200, type = "application/x-ndjson") =>
    env.json(`/api/v3/batches/${id}/items`, {
      method: "POST", headers: { "content-type": type },
      body: lines.map((l) => (typeof l === "string" ? l : JSON.stringify(l))).join("\n") + "\n",
    }, status);
  const batch = await create({ runCount: 3, taskIdentifiers: ["t"] });
  assert.deepEqual([batch.runCount, batch.isCached], [3, false]);
  const item = (index, options = {}) => ({ index, task: "t", payload: `${index}`, options: { payloadType: "text/plain", ...options } });
  const part = await send(batch.id, [item(0), item(1)]);
  assert.deepEqual([part.sealed, part.itemsAccepted], [false, 2]);
  assert.deepEqual([part.enqueuedCount, part.expectedCount], [2, 3]);
  const rest = await send(batch.id, [item(0), item(1), item(2)]);
  assert.deepEqual([rest.sealed, rest.itemsAccepted, rest.itemsDeduplicated], [true, 1, 2]);
  const repeat = await send(batch.id, [item(0), item(1), item(2)]);
  assert.deepEqual([repeat.sealed, repeat.itemsAccepted], [true, 0]);
  const { runs } = await whole(env, batch.id, 3);
  assert.equal(new Set(runs).size, 3);

  const other = await create({ runCount: 2, taskIdentifiers: ["t"] });
  await send(other.id, [item(0)], 415, "text/plain");
  await send(other.id, [item(2)], 422);
  await send(other.id, ["{nonsense"], 400);
  await send(other.id, [{ task: "t" }], 422);
  await send("batch_none", [item(0)], 422);
  for (const body of [{}, { runCount: 0 }, { runCount: 1001 }, { runCount: 1.5 }, { runCount: "2" }]) await create(body, 400);
  const foreign = await environment({ on: env.state === "buffered" ? "still" : "flow" });
  await foreign.json(`/api/v3/batches/${other.id}/items`, { method: "POST", headers: { "content-type": "application/x-ndjson" }, body: JSON.stringify(item(0)) + "\n" }, 422);
  await rejects(() => foreign.client.batch.retrieve(other.id), 404);
  await rejects(() => env.client.batch.retrieve("batch_none"), 404);
});

everywhere("items that can not become runs are reported, and spoil no others", { skip }, async (t, env) => {
  const error = await env.client.tasks.batchTrigger("t", [{ payload: 1 }, { payload: 2, options: { tags: Array.from({ length: 11 }, (_, i) => `t${i}`) } }, { payload: 3 }]).then(() => undefined, (e) => e);
  if (error) {
    assert.equal(error.name, "BatchTriggerError");
    return;
  }
  const [batch] = [await env.client.runs.list({ taskIdentifier: "t" })];
  assert.equal(batch.data.length, 2);
});

test("runs of a batch are read to its end", { skip }, async () => {
  const env = await environment({ force: "mollify" });
  const { batchId } = await env.client.tasks.batchTrigger("t", [{ payload: 1 }, { payload: 2 }]);
  const { runs } = await whole(env, batchId, 2);
  for (const id of runs) {
    await until("the run's row", async () => {
      const res = await fetch(`${env.admin}/admin/v1/environments/${env.id}/runs/${id}/finish`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ status: "COMPLETED" }),
      });
      await res.body.cancel();
      return res.ok ? true : undefined;
    });
  }
  const batch = await env.client.batch.retrieve(batchId);
  assert.equal(batch.status, "COMPLETED");
  assert.deepEqual(batch.processing.errors, []);
});

test("the one-body form of older clients", { skip: await served("/api/v2/tasks/batch") }, async () => {
  const env = await environment();
  const answer = await env.json("/api/v2/tasks/batch", { method: "POST", body: { items: [{ task: "t", payload: "1", options: { payloadType: "application/json" } }, { task: "t", payload: "2" }] } }, 202);
  assert.equal(answer.runCount, 2);
  await whole(env, answer.id, 2);
});

for (const [when, cut] of [["between the two phases", false], ["when it has the items and has not said so", true]]) {
  test(`a batch whose node is killed ${when}`, { skip }, async (t) => {
    const env = await environment();
    const dying = await mortal(t);
    let killed = false;
    const p = await proxy(t, env.url, async ({ method, path }) => {
      if (killed || method !== "POST") return undefined;
      if (!path.endsWith("/items")) return { to: dying.url };
      killed = true;
      if (!cut) await dying.kill();
      return { to: dying.url, cut };
    });
    const client = new TriggerClient({
      baseURL: p.url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 8, minTimeoutInMs: 10, maxTimeoutInMs: 100 } },
    });
    const handle = await client.tasks.batchTrigger("orphan", Array.from({ length: 30 }, (_, i) => ({
      payload: i, options: i % 2 ? { idempotencyKey: `k${i}` } : {},
    })));
    await dying.kill();
    assert.ok(killed);
    assert.equal(handle.runCount, 30);
    const batch = await whole(env, handle.batchId, 30);
    assert.equal(new Set(batch.runs).size, 30);
    const listed = (await env.client.runs.list({ taskIdentifier: "orphan", limit: 100 })).data;
    assert.equal(listed.length, 30, "each item is one run, whichever node took it");
    assert.deepEqual((await Promise.all(batch.runs.map((id) => env.client.runs.retrieve(id)))).map((r) => r.payload), Array.from({ length: 30 }, (_, i) => i));
  });
}
