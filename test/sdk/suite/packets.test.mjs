// Payloads of 128 KiB or more: uploaded first, then triggered by their name.
import { test } from "node:test";
import assert from "node:assert/strict";

import { environment, everywhere, rejects, served } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";
import { TriggerClient } from "@trigger.dev/sdk";

const skip = await served("/api/v2/packets/trigger%2Fpacket_1%2Fpayload.json", "PUT");

everywhere("a payload of 128 KiB and more comes back whole", { skip }, async (t, env) => {
  for (const payload of [
    { text: "ü🙂".repeat(50_000), at: new Date("2026-01-02T03:04:05.678Z"), list: [[], {}, null] },
    "x".repeat(131_072), "x".repeat(131_071), { big: "y".repeat(3_000_000) },
  ]) {
    const handle = await env.client.tasks.trigger("big", payload, { idempotencyKey: `big-${JSON.stringify(payload).length}` });
    const run = await env.client.runs.retrieve(handle.id);
    // What the SDK's user gets: the payload, fetched from where it was put.
    assert.deepEqual(JSON.parse(JSON.stringify(run.payload)), JSON.parse(JSON.stringify(payload)));
  }
});

everywhere("a batch with a large item", { skip: skip || (await served("/api/v3/batches")) }, async (t, env) => {
  const { batchId } = await env.client.tasks.batchTrigger("big", [{ payload: 1 }, { payload: { big: "z".repeat(200_000) } }]);
  const { data } = await env.client.runs.list({ batch: batchId });
  const payloads = await Promise.all(data.map(async (r) => (await env.client.runs.retrieve(r.id)).payload));
  assert.deepEqual(payloads.map((p) => p.big?.length ?? p).sort(), [1, 200_000]);
});

test("an offloaded payload of another environment is not there", { skip }, async (t) => {
  const [env, foreign] = await Promise.all([environment(), environment()]);
  const p = await proxy(t, env.url);
  await new TriggerClient({ baseURL: p.url, accessToken: env.key }).tasks.trigger("big", "x".repeat(150_000));
  const put = p.seen.find((e) => e.path.startsWith("/api/v2/packets/"));
  const path = put.path.replace("/v2/", "/v1/");
  const get = async (e) => (await e.fetch(path)).status;
  assert.equal(await get(env), 200);
  const theirs = await foreign.fetch(path);
  if (theirs.status === 200) {
    const { presignedUrl } = await theirs.json();
    assert.equal((await fetch(presignedUrl)).status, 404);
  } else assert.equal(theirs.status, 404);
});

test("names of packets that lead elsewhere", { skip }, async () => {
  const env = await environment();
  for (const name of ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "a%00b", ".", "..", "a".repeat(5000), "trigger%2F..%2F..%2Fx"]) {
    const res = await env.fetch(`/api/v2/packets/${name}`, { method: "PUT" });
    assert.ok([400, 404, 414, 431].includes(res.status), `${name.slice(0, 40)}: ${res.status}`);
    await res.body.cancel();
  }
  await rejects(async () => {
    const res = await env.fetch(`/api/v1/tasks/t/trigger`, { method: "POST", body: { payload: "", options: { payloadType: "application/store" } } });
    throw Object.assign(new Error(await res.text()), { status: res.status });
  }, 400);
});
