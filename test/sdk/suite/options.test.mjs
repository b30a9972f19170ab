// Options that are kept for the worker: they are taken as the SDK sends them, and refused where it would.
import assert from "node:assert/strict";

import { TriggerClient } from "@trigger.dev/sdk";
import { everywhere } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

everywhere("the deployment that a run is pinned to", async (t, env) => {
  const p = await proxy(t, env.url);
  const sent = () => JSON.parse(p.seen.at(-1).body).options?.externalDeploymentId;
  const trigger = async (config, options) => {
    const client = new TriggerClient({ baseURL: p.url, accessToken: env.key, ...config });
    const { id } = await client.tasks.trigger("pinned", 1, options);
    assert.equal((await env.client.runs.retrieve(id)).id, id);
    return sent();
  };
  assert.equal(await trigger({}, {}), undefined);
  assert.equal(await trigger({}, { externalDeploymentId: "commit-1" }), "commit-1");
  assert.equal(await trigger({}, { externalDeploymentId: "x".repeat(128) }), "x".repeat(128));
  assert.equal(await trigger({ externalDeploymentId: "commit-2" }, {}), "commit-2");
  assert.equal(await trigger({ externalDeploymentId: "commit-2" }, { externalDeploymentId: "commit-1" }), "commit-1");
  assert.equal(await trigger({ externalDeploymentId: "commit-2" }, { externalDeploymentId: null }), undefined);
  for (const blank of [null, "", "   "]) await env.trigger("pinned", { options: { externalDeploymentId: blank } });
  await env.trigger("pinned", { options: { externalDeploymentId: ` ${"x".repeat(128)} ` } }); // trimmed first
  for (const bad of ["x".repeat(129), 5, {}, "\u0000"]) {
    await env.json("/api/v1/tasks/pinned/trigger", { method: "POST", body: { options: { externalDeploymentId: bad } } }, 400);
  }
});

everywhere("named limits of concurrency", async (t, env) => {
  for (const concurrency of [["openai"], ["openai", "db_2"], ["x".repeat(122)], []]) {
    const { id } = await env.client.tasks.trigger("limited", 1, { concurrency, concurrencyKey: "tenant" });
    assert.equal((await env.client.runs.retrieve(id)).id, id);
  }
  for (const concurrency of [["a", "b", "c"], ["with space"], [""], ["x".repeat(123)], "openai", [5], { openai: 1 }]) {
    await env.json("/api/v1/tasks/limited/trigger", { method: "POST", body: { options: { concurrency } } }, 400);
  }
  await assert.rejects(() => env.client.tasks.trigger("limited", 1, { concurrency: ["a", "b", "c"] }), /at most two/);
  // A number is a key like any other, as the SDK has it.
  await env.trigger("limited", { options: { concurrencyKey: 7 } });
});
