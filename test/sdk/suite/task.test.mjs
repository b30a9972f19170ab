// Calls from inside a running task: the SDK then names the parent and says so in
// headers.
import { test } from "node:test";
import assert from "node:assert/strict";

import { runMetadata, runtime } from "@trigger.dev/core/v3";
import { idempotencyKeys, metadata, tags, tasks } from "@trigger.dev/sdk";
import { inside } from "../lib/inside.mjs";
import { environment, everywhere, until } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

everywhere("a child knows its parent", async (t, env) => {
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  const child = await inside(env, parent, () => tasks.trigger("child", 1));
  const run = await env.client.runs.retrieve(child.id);
  assert.deepEqual([run.depth, run.isTest], [1, false]);
  assert.deepEqual([run.relatedRuns.parent?.id, run.relatedRuns.parent?.taskIdentifier], [parent, "parent"]);
  assert.equal(run.relatedRuns.root?.id, parent);
});

everywhere("a run knows its children, in the buffer and out of it", async (t, env) => {
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push((await inside(env, parent, () => tasks.trigger("child", { i }, { tags: [`n${i}`] }))).id);
  const { relatedRuns } = await env.client.runs.retrieve(parent);
  assert.deepEqual(relatedRuns.children.map((run) => run.id), ids.toReversed());
  assert.deepEqual(relatedRuns.children.map((run) => [run.taskIdentifier, run.depth, run.tags]),
    [2, 1, 0].map((i) => ["child", 1, [`n${i}`]]));
});

// A task runs once its run is in Postgres, so a grandchild's parent is there.
test("a grandchild knows its parent and its root, also in the buffer", async () => {
  const env = await environment({ force: "pass" });
  const { id: root } = await env.client.tasks.trigger("parent", 1);
  const child = await inside(env, root, () => tasks.trigger("child", 1));
  for (const force of ["pass", "mollify"]) {
    await env.force(force);
    const { id } = await inside(env, child.id, () => tasks.trigger("grandchild", 1));
    const run = await env.client.runs.retrieve(id);
    assert.deepEqual([run.depth, run.relatedRuns.parent?.id, run.relatedRuns.root?.id], [2, child.id, root]);
  }
});

everywhere("a parent that is not known here", async (t, env) => {
  // A run of before a move to this node, say: the child is taken all the same.
  const handle = await inside(env, "run_parentparentparent0001", () => tasks.trigger("child", { a: 1 }, { idempotencyKey: "order-42" }));
  const run = await env.client.runs.retrieve(handle.id);
  assert.deepEqual(run.payload, { a: 1 });
  assert.equal(run.idempotencyKey, "order-42");
});

everywhere("the scopes of a key inside a task", async (t, env) => {
  const [one, two] = await Promise.all([env.client.tasks.trigger("parent", 1), env.client.tasks.trigger("parent", 2)]);
  const trigger = async (parent, scope) => inside(env, parent, async () =>
    (await tasks.trigger("child", 1, { idempotencyKey: scope ? await idempotencyKeys.create("k", { scope }) : "k" })).id);
  const a = await trigger(one.id);
  assert.equal(await trigger(one.id), a, "once in each run");
  assert.equal(await trigger(one.id, "run"), a);
  assert.notEqual(await trigger(two.id), a, "another run has its own");
  assert.notEqual(await trigger(one.id, "attempt"), a);
  const global = await trigger(one.id, "global");
  assert.equal(await trigger(two.id, "global"), global);
  await inside(env, one.id, async () => {
    await idempotencyKeys.reset("child", "k", { scope: "run" });
    assert.notEqual((await tasks.trigger("child", 1, { idempotencyKey: "k" })).id, a);
  });
});

everywhere("tags.add", async (t, env) => {
  const { id } = await env.client.tasks.trigger("parent", 1, { tags: "t0" });
  await inside(env, id, () => tags.add(["t1", "t2"]));
  await inside(env, id, () => tags.add("t1"));
  assert.deepEqual((await env.client.runs.retrieve(id)).tags, ["t0", "t1", "t2"]);
});

test("metadata, of the run, its parent and its root, also in the buffer", async () => {
  const env = await environment({ force: "pass" });
  const { id: root } = await env.client.tasks.trigger("parent", 1, { metadata: { plan: "pro" } });
  const child = await inside(env, root, () => tasks.trigger("child", 1));
  for (const [n, force] of ["pass", "mollify"].entries()) {
    await env.force(force);
    const grandchild = await inside(env, child.id, () => tasks.trigger("grandchild", 1));
    await inside(env, grandchild.id, async () => {
      metadata.set("progress", 0.5).append("log", "a").increment("n", 2);
      // metadata.parent and .root are these, of a manager that was set before the SDK was loaded.
      runMetadata.parent.increment("children", 1).set("last", force);
      runMetadata.root.append("seen", force);
      await metadata.flush();
      assert.equal(metadata.get("progress"), 0.5);
    });
    const meta = async (id) => (await env.client.runs.retrieve(id)).metadata;
    assert.deepEqual(await meta(grandchild.id), { progress: 0.5, log: ["a"], n: 2 });
    assert.deepEqual(await meta(child.id), { children: n + 1, last: force });
    assert.deepEqual(await meta(root), { plan: "pro", seen: ["pass", "mollify"].slice(0, n + 1) });
  }
});

everywhere("metadata of a parent that is in the buffer, too", async (t, env) => {
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  const child = await inside(env, parent, () => tasks.trigger("child", 1));
  await inside(env, child.id, async () => {
    runMetadata.parent.increment("children", 1);
    runMetadata.root.append("seen", "child");
    await metadata.flush();
  });
  assert.deepEqual((await env.client.runs.retrieve(parent)).metadata, { children: 1, seen: ["child"] });
});

everywhere("triggerAndWait hands over a child that its parent waits for", async (t, env) => {
  const p = await proxy(t, env.url);
  const { id: parent } = await env.client.tasks.trigger("parent", 1);
  const waited = [];
  runtime.setGlobalRuntimeManager({
    disable() {},
    waitForTask: async ({ id }) => {
      waited.push(id);
      return { ok: true, id, taskIdentifier: "child", output: '{"json":{"done":true}}', outputType: "application/super+json" };
    },
  });
  try {
    const result = await inside(env, parent, () => tasks.triggerAndWait("child", { a: 1 }, { idempotencyKey: "once" }), p.url);
    assert.deepEqual([result.ok, result.output], [true, { done: true }]);
    const again = await inside(env, parent, () => tasks.triggerAndWait("child", { a: 1 }, { idempotencyKey: "once" }), p.url);
    assert.equal(again.id, result.id, "a parent that is tried again finds its child");
    assert.deepEqual(waited, [result.id, result.id]);
  } finally {
    runtime.disable();
  }
  const sent = JSON.parse(p.seen[0].body).options;
  assert.deepEqual([sent.parentRunId, sent.resumeParentOnCompletion], [parent, true]);
  const run = await env.client.runs.retrieve(waited[0]);
  assert.equal(run.triggerFunction, "triggerAndWait");
  assert.equal(run.relatedRuns.parent.id, parent);
  assert.deepEqual(run.payload, { a: 1 });
});

test("a worker takes a run, its task triggers a child, and reports", async () => {
  const env = await environment({ force: "mollify" });
  const { id } = await env.client.tasks.trigger("parent", 1);
  await until("the run's row", async () => ((await env.trigger("x", {}), (await env.client.runs.list({ taskIdentifier: "parent" })).data.length) ? true : undefined));
  const child = await inside(env, id, () => tasks.trigger("child", 1));
  await until("the end of the parent", async () => {
    const res = await fetch(`${env.admin}/admin/v1/environments/${env.id}/runs/${id}/finish`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ status: "COMPLETED", output: { child: child.id } }),
    });
    await res.body.cancel();
    return res.ok ? true : undefined;
  });
  const run = await env.client.runs.retrieve(id);
  assert.deepEqual([run.status, run.output], ["COMPLETED", { child: child.id }]);
  assert.equal((await env.client.runs.retrieve(child.id)).relatedRuns.parent.status, "COMPLETED");
});
