// What subscriptions show beside a run's way from the buffer to its end: every
// status, runs that have ended already, columns left out, tokens, and waiting by
// subscription within a task.
import { test } from "node:test";
import assert from "node:assert/strict";

import { apiClientManager } from "@trigger.dev/core/v3";
import { TriggerClient, auth, tasks } from "@trigger.dev/sdk";
import { inside } from "../lib/inside.mjs";
import { environment, everywhere, until } from "../lib/nodes.mjs";

const as = (env, accessToken) => new TriggerClient({ baseURL: env.url, accessToken });
const low = (env, call) => auth.withAuth(env.config, () => call(apiClientManager.clientOrThrow()));

/** all reads a subscription to its end. */
async function all(subscription) {
  const seen = [];
  for await (const run of subscription) seen.push(run);
  return seen;
}

/** first reads the first state that a subscription tells, and ends it. */
async function first(subscription) {
  for await (const run of subscription) {
    subscription.unsubscribe();
    return run;
  }
}

/** by reports how a run ended, as soon as it is in Postgres. */
const by = (env, id, report) => until("the run's row", async () => {
  const res = await fetch(`${env.admin}/admin/v1/environments/${env.id}/runs/${id}/finish`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(report),
  });
  await res.body.cancel();
  return res.ok ? true : undefined;
});

everywhere("a run that has ended is told once, and that is the end", { timeout: 30_000 }, async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", { a: 1 }, { tags: ["b", "a"], idempotencyKey: "k", delay: "1h" });
  await env.client.runs.cancel(id);
  const read = await env.client.runs.retrieve(id);
  const seen = await all(env.client.runs.subscribeToRun(id));
  assert.equal(seen.length, 1);
  const [run] = seen;
  for (const field of ["id", "taskIdentifier", "status", "isCancelled", "isTest", "payload", "tags", "idempotencyKey", "createdAt", "updatedAt", "finishedAt", "delayedUntil", "startedAt", "durationMs", "costInCents", "error"]) {
    assert.deepEqual(run[field], read[field], `${field} is as runs.retrieve has it`);
  }
});

test("every status, read, listed and followed", { timeout: 60_000 }, async () => {
  const env = await environment({ force: "pass" });
  const no = { error: { message: "no", name: "Error", stackTrace: "at x" } };
  const flags = ({ isQueued, isExecuting, isWaiting, isCompleted, isSuccess, isFailed, isCancelled }) =>
    Object.entries({ isQueued, isExecuting, isWaiting, isCompleted, isSuccess, isFailed, isCancelled }).filter(([, on]) => on).map(([name]) => name);
  for (const [status, wanted, ...way] of [
    ["QUEUED", ["isQueued"]],
    ["DELAYED", ["isQueued"]],
    ["DEQUEUED", ["isExecuting"], { status: "DEQUEUED" }],
    ["EXECUTING", ["isExecuting"], { status: "EXECUTING" }],
    ["WAITING", ["isWaiting"], { status: "EXECUTING" }, { status: "WAITING" }],
    ["COMPLETED", ["isCompleted", "isSuccess"], { status: "COMPLETED", output: { done: [] } }],
    ["CANCELED", ["isCompleted", "isFailed", "isCancelled"]],
    ["FAILED", ["isCompleted", "isFailed"], { status: "FAILED", ...no }],
    ["CRASHED", ["isCompleted", "isFailed"], { status: "CRASHED", ...no }],
    ["SYSTEM_FAILURE", ["isCompleted", "isFailed"], { status: "SYSTEM_FAILURE", ...no }],
    ["EXPIRED", ["isCompleted", "isFailed"], { status: "EXPIRED" }],
    ["TIMED_OUT", ["isCompleted", "isFailed"], { status: "EXECUTING" }, { status: "TIMED_OUT", ...no }],
  ]) {
    const { id } = await env.client.tasks.trigger("t", 1, status === "DELAYED" ? { delay: "1h" } : {});
    for (const report of way) await env.finish(id, report);
    if (status === "CANCELED") await env.client.runs.cancel(id);
    const run = await env.client.runs.retrieve({ id });
    assert.deepEqual([run.status, flags(run)], [status, wanted]);
    const { data } = await env.client.runs.list({ status });
    assert.deepEqual(data.map((r) => [r.id, r.status, flags(r)]), [[id, status, wanted]]);
    const followed = await first(env.client.runs.subscribeToRun(id));
    assert.deepEqual([followed.id, followed.status], [id, status]);
    assert.deepEqual(followed.output, run.output);
    if (way.at(-1)?.error) assert.deepEqual([followed.error.message, followed.error.name], ["no", "Error"]);
    if (wanted.includes("isCompleted")) {
      assert.ok(run.finishedAt instanceof Date && followed.finishedAt instanceof Date, status);
      assert.equal((await env.client.runs.poll(id, { pollIntervalMs: 10 })).status, status, "a poll comes to its end");
    } else {
      assert.equal(run.finishedAt, undefined);
    }
  }
});

everywhere("columns that are left out", { timeout: 30_000 }, async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", { secret: 1 }, { metadata: { m: 1 }, tags: "seen" });
  const run = await first(env.client.runs.subscribeToRun(id, { skipColumns: ["payload", "metadata", "nonsense"] }));
  assert.deepEqual([run.id, run.payload, run.metadata], [id, undefined, undefined]);
  const token = await env.client.auth.createPublicToken({ scopes: { read: { tags: "seen" } }, realtime: { skipColumns: ["payload"] } });
  const tagged = await first(as(env, token).runs.subscribeToRunsWithTag("seen"));
  assert.deepEqual([tagged.id, tagged.payload, tagged.metadata], [id, undefined, { m: 1 }]);
});

everywhere("several tags are all asked for, and a subscription is ended by its signal", { timeout: 30_000 }, async (t, env) => {
  await env.client.tasks.trigger("t", 1, { tags: ["x"] });
  const { id } = await env.client.tasks.trigger("t", 2, { tags: ["x", "y, with a quote \""] });
  const { id: both } = await env.client.tasks.trigger("t", 3, { tags: ["z", "x"] });
  assert.equal((await first(env.client.runs.subscribeToRunsWithTag(["x", "z"], { createdAt: "1h" }))).id, both);
  const stop = new AbortController();
  const seen = [];
  for await (const run of env.client.runs.subscribeToRun(id, { stopOnCompletion: false, signal: stop.signal })) {
    seen.push(run.status);
    assert.deepEqual(run.tags, ["x", "y, with a quote \""]);
    if (run.status === "CANCELED") stop.abort();
    else await env.client.runs.cancel(id);
  }
  assert.equal(seen.at(-1), "CANCELED");
});

everywhere("a batch's own token follows its runs, and no one else's", { timeout: 30_000 }, async (t, env) => {
  const [mine, other] = await Promise.all([
    env.client.tasks.batchTrigger("t", [{ payload: 1 }, { payload: 2 }]), env.client.tasks.batchTrigger("t", [{ payload: 3 }]),
  ]);
  const reader = as(env, mine.publicAccessToken);
  const seen = new Set();
  for await (const run of reader.runs.subscribeToBatch(mine.batchId)) {
    seen.add(run.payload);
    if (seen.size === 2) break;
  }
  assert.deepEqual([...seen].sort(), [1, 2]);
  const foreign = await environment({ on: env.state === "buffered" ? "still" : "flow" });
  const { id } = await env.client.tasks.trigger("t", 1);
  const ask = async (path, key) => {
    const res = await fetch(`${env.url}${path}?offset=-1`, { headers: { authorization: `Bearer ${key}` } });
    await res.body.cancel();
    return res.status;
  };
  assert.equal(await ask(`/realtime/v1/batches/${other.batchId}`, mine.publicAccessToken), 403);
  assert.equal(await ask(`/realtime/v1/runs/${id}`, mine.publicAccessToken), 403);
  assert.equal(await ask(`/realtime/v1/batches/${mine.batchId}`, foreign.key), 404);
  assert.equal(await ask(`/realtime/v1/runs/${id}`, foreign.key), 404);
  assert.equal(await ask(`/realtime/v1/runs/${id}`, env.key), 200);
});

test("triggerAndSubscribe: what a child comes to, from the buffer and past it", { timeout: 60_000 }, async () => {
  const env = await environment({ force: "pass" });
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  for (const force of ["pass", "mollify"]) {
    await env.force(force);
    const child = async (n, act) => {
      const result = inside(env, parent, () => tasks.triggerAndSubscribe("child", { n }, { tags: [`${force}-${n}`] }));
      const [{ id }] = await until("the child", async () => {
        const { data } = await env.client.runs.list({ tag: `${force}-${n}` });
        return data.length ? data : undefined;
      });
      await act(id);
      const { id: told, ...rest } = await result;
      assert.equal(told, id);
      assert.equal((await env.client.runs.retrieve(id)).relatedRuns.parent.id, parent);
      return rest;
    };
    const good = await child(1, (id) => by(env, id, { status: "COMPLETED", output: { sum: [1, { two: 2 }] } }));
    assert.deepEqual(good, { ok: true, taskIdentifier: "child", output: { sum: [1, { two: 2 }] } });
    const bad = await child(2, (id) => by(env, id, { status: "FAILED", error: { message: "no", name: "TypeError", stackTrace: "at x" } }));
    assert.deepEqual([bad.ok, bad.error.message, bad.error.name], [false, "no", "TypeError"]);
    const gone = await child(3, (id) => env.client.runs.cancel(id));
    assert.equal(gone.ok, false);
    assert.match(gone.error.message, /Canceled by user/);
  }
});

everywhere("triggerAndSubscribe cancels its child when it is aborted", { timeout: 30_000 }, async (t, env) => {
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  const stop = new AbortController();
  const result = inside(env, parent, () => tasks.triggerAndSubscribe("child", 1, { signal: stop.signal })).then(() => undefined, (e) => e);
  const id = await until("the child", async () => (await env.client.runs.list({ taskIdentifier: "child" })).data[0]?.id);
  stop.abort();
  assert.ok((await result) instanceof Error);
  await until("the child's end", async () => ((await low(env, (c) => c.retrieveRun(id))).status === "CANCELED" ? true : undefined));
});
