// Calls of the SDK that the other files leave out: replays that change something,
// batches in their other forms, what tokens of each scope may do, keys of a run reset from outside.
import { test } from "node:test";
import assert from "node:assert/strict";

import { runtime } from "@trigger.dev/core/v3";
import { TriggerClient, auth, batch, idempotencyKeys, runs, task, tasks } from "@trigger.dev/sdk";
import { inside } from "../lib/inside.mjs";
import { environment, everywhere, rejects, until } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

const as = (env, accessToken) => new TriggerClient({ baseURL: env.url, accessToken });
const beside = (env) => environment({ on: env.state === "buffered" ? "still" : "flow" });

/** whole waits until each item of a batch has become a run, and reads those. */
const whole = (env, id, count) => until(`${count} runs of the batch`, async () => {
  const { runs: ids } = await env.client.batch.retrieve(id);
  return ids.length === count ? Promise.all(ids.map((run) => env.client.runs.retrieve(run))) : undefined;
});

everywhere("a replay that changes something", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", { a: 1 }, { tags: "old", metadata: { m: 1 }, queue: "q", ttl: "1h" });
  const at = new Date("2026-01-02T03:04:05.678Z");
  const copy = await env.client.runs.replay(id, {
    payload: { at, n: 12345678901234567890n }, tags: ["new"], metadata: { m: 2 }, queue: "other", machine: "micro", delay: "30m",
    ttl: 7200, region: "eu", version: "20260101.1", concurrencyKey: "c", maxAttempts: 2, maxDuration: 60, priority: 5, idempotencyKey: "again",
  });
  const run = await env.client.runs.retrieve(copy.id);
  assert.deepEqual(run.payload, { at: at.toISOString(), n: "12345678901234567890" });
  assert.deepEqual([run.tags, run.metadata, run.status, run.region, run.version], [["new"], { m: 2 }, "DELAYED", "eu", "20260101.1"]);
  assert.match(run.ttl, /^(2h|7200s)$/);
  assert.deepEqual((await env.client.runs.list({ queue: { type: "custom", name: "other" }, machine: "micro" })).data.map((r) => r.id), [copy.id]);
  assert.equal((await env.client.runs.replay(id, { idempotencyKey: "again" })).id, copy.id, "a replay's key is a key");
  const dated = await env.client.runs.replay(id, { delay: new Date("2099-01-02T03:04:05.678Z") });
  assert.equal((await env.client.runs.retrieve(dated.id)).delayedUntil.toISOString(), "2099-01-02T03:04:05.678Z");
  const before = await env.client.runs.retrieve(id);
  assert.deepEqual([before.payload, before.tags, before.metadata], [{ a: 1 }, ["old"], { m: 1 }], "the run is as it was");
  await rejects(() => env.client.runs.replay(id, { machine: "huge" }), 400, "BadRequestError");
  await rejects(() => env.client.runs.replay(id, { delay: "soon" }), 400, "BadRequestError");
  await rejects(() => env.client.runs.replay("run_nothing"), 404, "NotFoundError");
});

test("a lost answer of a replay makes no second run", async (t) => {
  const env = await environment({ force: "mollify" });
  const { id } = await env.client.tasks.trigger("t", 1);
  const p = await proxy(t, env.url, ({ count }) => (count === 0 ? { cut: true } : undefined));
  const client = new TriggerClient({ baseURL: p.url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 3, minTimeoutInMs: 10 } } });
  const copy = await client.runs.replay(id);
  assert.equal(p.seen.length, 2);
  assert.equal(JSON.parse(p.seen[0].answer.body).id, copy.id);
  assert.equal((await env.client.runs.list({ taskIdentifier: "t" })).data.length, 2);
});

everywhere("batches of tasks as they are written in code, and of streams", async (t, env) => {
  const mail = task({ id: `mail-${env.state}`, queue: { name: "post" }, run: async () => {} });
  const bill = task({ id: `bill-${env.state}`, run: async () => {} });
  const seen = ({ taskIdentifier, payload, tags }) => [taskIdentifier, payload, tags];
  await auth.withAuth(env.config, async () => {
    const listed = await batch.triggerByTask([
      { task: mail, payload: { i: 0 }, options: { tags: "a" } }, { task: bill, payload: { i: 1 } },
    ]);
    assert.deepEqual((await whole(env, listed.batchId, 2)).map(seen), [[mail.id, { i: 0 }, ["a"]], [bill.id, { i: 1 }, []]]);
    const own = await mail.batchTrigger([{ payload: 1 }, { payload: 2 }]);
    assert.deepEqual((await whole(env, own.batchId, 2)).map(seen), [[mail.id, 1, []], [mail.id, 2, []]]);
    assert.equal((await env.client.runs.list({ queue: { type: "custom", name: "post" } })).data.length, 2, "of the task's own queue");
    async function* items() {
      for (let i = 0; i < 25; i++) yield { id: "streamed", payload: { i }, options: { metadata: { i } } };
    }
    const streamed = await batch.trigger(items());
    assert.equal(streamed.runCount, 25);
    assert.deepEqual((await whole(env, streamed.batchId, 25)).map((r) => [r.payload.i, r.metadata.i]), Array.from({ length: 25 }, (_, i) => [i, i]));
    const handle = await mail.trigger({ typed: true }, { idempotencyKey: ["a", "b"] });
    const run = await runs.retrieve(handle);
    assert.deepEqual([run.taskIdentifier, run.payload], [mail.id, { typed: true }]);
  });
});

everywhere("batches that a task waits for", async (t, env) => {
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  const waited = [];
  runtime.setGlobalRuntimeManager({
    disable() {},
    waitForBatch: async ({ id, runCount }) => {
      const made = await whole(env, id, runCount);
      waited.push(...made);
      return { id, items: made.map((run) => ({ ok: true, id: run.id, taskIdentifier: run.taskIdentifier, output: '{"json":1}', outputType: "application/super+json" })) };
    },
  });
  try {
    const one = await inside(env, parent, () => tasks.batchTriggerAndWait("child", [{ payload: 1 }, { payload: 2 }], { idempotencyKey: "nightly" }));
    assert.deepEqual(one.runs.map((r) => [r.ok, r.output]), [[true, 1], [true, 1]]);
    const again = await inside(env, parent, () => tasks.batchTriggerAndWait("child", [{ payload: 1 }, { payload: 2 }], { idempotencyKey: "nightly" }));
    assert.equal(again.id, one.id, "a parent that is tried again finds its batch");
    await inside(env, parent, () => batch.triggerAndWait([{ id: "other", payload: 3 }]));
  } finally {
    runtime.disable();
  }
  for (const run of waited) {
    assert.deepEqual([run.triggerFunction, run.relatedRuns.parent?.id, run.depth], ["batchTriggerAndWait", parent, 1]);
  }
  assert.equal(new Set(waited.map((run) => run.id)).size, 3);
});

everywhere("what tokens of each scope may do", async (t, env) => {
  const { batchId } = await env.client.tasks.batchTrigger("in-batch", [{ payload: 1 }]);
  const [member] = await whole(env, batchId, 1);
  const { id } = await env.client.tasks.trigger("mail", { a: 1 }, { tags: ["mine", "shared"], delay: "1h", idempotencyKey: "k" });
  const { id: other } = await env.client.tasks.trigger("bill", { a: 2 }, { tags: ["shared"] });
  const sign = (scopes) => env.client.auth.createPublicToken({ scopes });
  const token = async (scopes) => as(env, await sign(scopes));
  const no = (call) => rejects(call, 403, "PermissionDeniedError");
  const ids = async (client, filter) => (await client.runs.list(filter)).data.map((r) => r.id);

  const byBatch = await token({ read: { batch: batchId } });
  assert.equal((await byBatch.batch.retrieve(batchId)).id, batchId);
  assert.equal((await byBatch.runs.retrieve(member.id)).payload, 1);
  assert.deepEqual(await ids(byBatch, { batch: batchId }), [member.id]);
  await no(() => byBatch.runs.retrieve(id));
  await no(() => byBatch.batch.retrieve("batch_other"));

  const byTag = await token({ read: { tags: ["mine"] } });
  assert.deepEqual(await ids(byTag, { tag: "mine" }), [id]);
  await no(() => byTag.runs.list());
  await no(() => byTag.runs.list({ tag: ["mine", "shared"] }));
  await no(() => byTag.runs.list({ taskIdentifier: "mail" }));
  await no(() => byTag.batch.retrieve(batchId));

  const byTask = await token({ read: { tasks: ["mail"] } });
  assert.deepEqual(await ids(byTask, { taskIdentifier: "mail" }), [id]);
  await no(() => byTask.runs.retrieve(other));

  const readsAll = await sign({ read: { runs: true } });
  const reads = as(env, readsAll);
  for (const call of [
    () => reads.runs.cancel(id), () => reads.runs.replay(id), () => reads.runs.reschedule(id, { delay: "2h" }), () => reads.tasks.trigger("mail", 1),
    () => auth.withAuth({ baseURL: env.url, accessToken: readsAll }, () => idempotencyKeys.reset("mail", "k", { scope: "global" })),
  ]) await no(call);

  const writes = await token({ write: { runs: [id] } });
  assert.equal((await writes.runs.reschedule(id, { delay: "2h" })).id, id);
  await no(() => writes.runs.cancel(other));
  assert.deepEqual(await writes.runs.cancel(id), { id });
  assert.equal((await env.client.runs.retrieve(id)).status, "CANCELED");
  assert.equal((await env.client.runs.retrieve(other)).status, "QUEUED");
});

test("withPublicToken and its like give their function that token and nothing more", async () => {
  const env = await environment();
  await auth.withAuth(env.config, async () => {
    const { id } = await tasks.trigger("t", { a: 1 });
    const { id: other } = await tasks.trigger("t", 2);
    let called = 0;
    await auth.withPublicToken({ scopes: { read: { runs: [id] } } }, async () => {
      assert.deepEqual((await runs.retrieve(id)).payload, { a: 1 });
      await rejects(() => runs.retrieve(other), 403, "PermissionDeniedError");
      called++;
    });
    await auth.withTriggerPublicToken("t", { expirationTime: "1h" }, async () => {
      const handle = await tasks.trigger("t", 3);
      await rejects(() => tasks.trigger("t", 4), 422, "UnprocessableEntityError");
      await rejects(() => runs.retrieve(handle.id), 403, "PermissionDeniedError");
      called++;
    });
    await auth.withBatchTriggerPublicToken("t", { expirationTime: "2h" }, async () => {
      assert.equal((await tasks.batchTrigger("t", [{ payload: 5 }])).runCount, 1);
      await assert.rejects(() => tasks.batchTrigger("u", [{ payload: 5 }]), (e) => e.name === "BatchTriggerError");
      called++;
    });
    assert.equal(called, 3);
    await runs.retrieve(other);
  });
});

everywhere("keys of a run and of an attempt, reset from outside", async (t, env) => {
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  for (const scope of ["run", "attempt"]) {
    const child = () => inside(env, parent, async () => tasks.trigger("child", 1, { idempotencyKey: await idempotencyKeys.create("k", { scope }) }));
    const made = await child();
    assert.equal((await child()).id, made.id);
    await auth.withAuth(env.config, () => idempotencyKeys.reset("child", "k", { scope, parentRunId: parent, attemptNumber: 1 }));
    assert.notEqual((await child()).id, made.id);
    await auth.withAuth(env.config, () => rejects(() => idempotencyKeys.reset("child", "k", { scope, parentRunId: "run_other", attemptNumber: 1 }), 404, "NotFoundError"));
  }
});

everywhere("batches and keys of another environment do not exist", async (t, env) => {
  const other = await beside(env);
  const key = await idempotencyKeys.create("shared", { scope: "global" });
  const mine = await env.client.tasks.batchTrigger("t", [{ payload: 1 }], { idempotencyKey: key });
  const [run] = await whole(env, mine.batchId, 1);
  await rejects(() => other.client.batch.retrieve(mine.batchId), 404, "NotFoundError");
  assert.deepEqual((await other.client.runs.list({ batch: mine.batchId })).data, []);
  const theirs = await other.client.tasks.batchTrigger("t", [{ payload: 2 }], { idempotencyKey: key });
  assert.notEqual(theirs.batchId, mine.batchId);
  const single = await env.client.tasks.trigger("t", 1, { idempotencyKey: key });
  await auth.withAuth(other.config, () => rejects(() => idempotencyKeys.reset("t", key), 404, "NotFoundError"));
  assert.deepEqual([(await env.client.tasks.trigger("t", 1, { idempotencyKey: key })).id], [single.id], "nobody else can free a key");
  const claims = await other.client.auth.createPublicToken({ scopes: { read: { runs: [run.id] } } });
  await rejects(() => as(env, claims).runs.retrieve(run.id), 404, "NotFoundError");
});
