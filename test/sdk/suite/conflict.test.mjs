// Callers that ask for a conflict while another trigger of their key is in flight.
import assert from "node:assert/strict";

import { TriggerClient } from "@trigger.dev/sdk";
import { everywhere, until } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

everywhere("in flight: one is taken, the others are refused once and for all", async (t, env) => {
  const p = await proxy(t, env.url);
  const client = new TriggerClient({
    baseURL: p.url, accessToken: env.key,
    requestOptions: { additionalHeaders: { "Idempotency-In-Flight": "conflict" }, retry: { maxAttempts: 5, minTimeoutInMs: 1, maxTimeoutInMs: 5 } },
  });
  let round = 0;
  // Whether any two of a burst meet is chance, so it is repeated until some have.
  const refused = await until("two triggers of one key that meet", async () => {
    const idempotencyKey = `k${round++}`;
    const before = p.seen.length;
    const all = await Promise.allSettled(Array.from({ length: 25 }, (_, i) => client.tasks.trigger("slow", i, { idempotencyKey })));
    const taken = all.filter((r) => r.status === "fulfilled").map((r) => r.value);
    const errors = all.filter((r) => r.status === "rejected").map((r) => r.reason);
    assert.equal(new Set(taken.map((h) => h.id)).size, 1, "one run, and at least one who has it");
    assert.equal(taken.filter((h) => !h.isCached).length, 1);
    assert.deepEqual([...new Set(errors.map((e) => e.status))].filter((s) => s !== 409), []);
    assert.equal(p.seen.length - before, all.length, "the SDK does not try again what was refused");
    const again = await client.tasks.trigger("slow", 1, { idempotencyKey });
    assert.deepEqual([again.id, again.isCached], [taken[0].id, true], "a run that is there is no conflict");
    return errors.length > 0 ? errors : undefined;
  });
  assert.equal(refused[0].constructor.name, "ConflictError");
  assert.match(refused[0].message, /in flight|in-flight/i);
  const shown = p.seen.find((e) => e.answer?.status === 409);
  assert.equal(shown.answer.headers["x-should-retry"], "false");
  assert.ok(shown.answer.body.includes("in-flight"));
});
