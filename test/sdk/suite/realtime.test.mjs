// Subscriptions: what happens to a run is seen as it happens, from the buffer on.
import { test } from "node:test";
import assert from "node:assert/strict";

import { apiClientManager } from "@trigger.dev/core/v3";
import { auth, runs } from "@trigger.dev/sdk";
import { environment, everywhere, served } from "../lib/nodes.mjs";

const skip = await served("/realtime/v1/runs/run_nothing", "GET");
const low = (env, call) => auth.withAuth(env.config, () => call(apiClientManager.clientOrThrow()));

everywhere("a subscription sees a run end", { skip, timeout: 30_000 }, async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", { a: 1 }, { tags: ["x"], metadata: { m: 1 } });
  const seen = [];
  for await (const run of env.client.runs.subscribeToRun(id)) {
    seen.push(run);
    if (seen.length === 1) {
      assert.deepEqual([run.id, run.status, run.taskIdentifier, run.payload, run.tags, run.metadata], [id, "QUEUED", "t", { a: 1 }, ["x"], { m: 1 }]);
      await low(env, (c) => c.addTags(id, { tags: ["y"] }));
    }
    if (run.tags.includes("y") && run.status === "QUEUED") await env.client.runs.cancel(id);
  }
  const last = seen.at(-1);
  assert.deepEqual([last.status, last.isCancelled], ["CANCELED", true]);
  assert.ok(last.finishedAt instanceof Date);
});

test("a run is seen from the buffer to its end", { skip, timeout: 30_000 }, async () => {
  const env = await environment({ force: "mollify" });
  const { id } = await env.client.tasks.trigger("t", 1);
  let finished = false;
  const statuses = [];
  for await (const run of env.client.runs.subscribeToRun(id)) {
    statuses.push(run.status);
    if (finished) continue;
    finished = true;
    (async () => {
      for (;;) {
        const res = await fetch(`${env.admin}/admin/v1/environments/${env.id}/runs/${id}/finish`, {
          method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ status: "COMPLETED", output: { ok: true } }),
        });
        await res.body.cancel();
        if (res.ok) return;
        await new Promise((r) => setTimeout(r, 20));
      }
    })();
  }
  assert.equal(statuses[0], "QUEUED");
  assert.equal(statuses.at(-1), "COMPLETED");
});

everywhere("subscriptions by tag", { skip, timeout: 30_000 }, async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { tags: ["watched", "other"] });
  await env.client.tasks.trigger("t", 2, { tags: ["unwatched"] });
  let later;
  for await (const run of env.client.runs.subscribeToRunsWithTag("watched")) {
    assert.ok(run.tags.includes("watched"));
    if (run.id === id && !later) later = (await env.client.tasks.trigger("t", 3, { tags: ["watched"] })).id;
    else if (run.id === later) break;
  }
});

everywhere("the handle's token is enough to subscribe", { skip, timeout: 30_000 }, async (t, env) => {
  const handle = await env.client.tasks.trigger("t", 1);
  await auth.withAuth({ baseURL: env.url, accessToken: handle.publicAccessToken }, async () => {
    for await (const run of runs.subscribeToRun(handle.id)) {
      assert.equal(run.id, handle.id);
      break;
    }
  });
});

everywhere("subscriptions to a batch", { skip: skip || (await served("/api/v3/batches")), timeout: 30_000 }, async (t, env) => {
  const { batchId } = await env.client.tasks.batchTrigger("t", [{ payload: 1 }, { payload: 2 }]);
  const seen = new Set();
  for await (const run of env.client.runs.subscribeToBatch(batchId)) {
    seen.add(run.id);
    if (seen.size === 2) break;
  }
});
