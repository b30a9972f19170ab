// Answers that are lost on their way: the SDK sends again, and no second run comes of it.
import { test } from "node:test";
import assert from "node:assert/strict";

import { TriggerClient, auth, idempotencyKeys } from "@trigger.dev/sdk";
import { environment, everywhere, nodes, rejects } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

/** losing is a client whose first answers are lost: the node did the work, the client does not know. */
async function losing(t, env, lost = 1, url = env.url) {
  const p = await proxy(t, url, ({ count }) => (count < lost ? { cut: true } : undefined));
  const client = new TriggerClient({
    baseURL: p.url, accessToken: env.key,
    requestOptions: { retry: { maxAttempts: 5, minTimeoutInMs: 10, maxTimeoutInMs: 50, factor: 1.1, randomize: false } },
  });
  return { client, seen: p.seen, url: p.url };
}

const key = (exchange) => exchange.headers["x-trigger-request-idempotency-key"];

everywhere("a trigger without a key whose answer was lost", async (t, env) => {
  const { client, seen } = await losing(t, env, 2);
  const { id, isCached } = await client.tasks.trigger("lost", { a: 1 });
  assert.equal(isCached, false, "the caller did make it");
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen.map(key)).size, 1);
  assert.deepEqual(seen.map((e) => JSON.parse(e.answer.body).id), [id, id, id]);
  assert.deepEqual((await env.client.runs.list({ taskIdentifier: "lost" })).data.map((r) => r.id), [id]);
  const other = await client.tasks.trigger("lost", { a: 1 });
  assert.notEqual(other.id, id, "another call is another run");
});

// The SDK takes a half answer for a wrong one and does not send again: its user does.
everywhere("an answer that breaks off in its middle", async (t, env) => {
  const { url } = await proxy(t, env.url, ({ count }) => (count < 3 ? { part: [0, 20, 100][count] } : undefined));
  const client = new TriggerClient({ baseURL: url, accessToken: env.key });
  for (let i = 0; i < 3; i++) {
    const error = await rejects(() => client.tasks.trigger("part", 1, { idempotencyKey: "part" }), 200, "ApiSchemaValidationError");
    assert.match(error.message, /Validation error/);
  }
  const { id, isCached } = await client.tasks.trigger("part", 1, { idempotencyKey: "part" });
  assert.equal(isCached, true);
  assert.deepEqual((await env.client.runs.list({ taskIdentifier: "part" })).data.map((r) => r.id), [id]);
});

everywhere("a trigger with a key whose answer was lost", async (t, env) => {
  const { client, seen } = await losing(t, env);
  const { id, isCached } = await client.tasks.trigger("lost", 1, { idempotencyKey: "k" });
  assert.equal(isCached, false, "the caller did make it");
  assert.equal(seen.length, 2);
  const again = await client.tasks.trigger("lost", 1, { idempotencyKey: "k" });
  assert.deepEqual([again.id, again.isCached], [id, true]);
  assert.equal((await env.client.runs.list({ taskIdentifier: "lost" })).data.length, 1);
});

everywhere("many at once, each answer lost once", async (t, env) => {
  const lost = new Set();
  const p = await proxy(t, env.url, (exchange) => {
    if (lost.has(key(exchange))) return undefined;
    lost.add(key(exchange));
    return { cut: true };
  });
  const client = new TriggerClient({ baseURL: p.url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 5, minTimeoutInMs: 10, maxTimeoutInMs: 50 } } });
  const handles = await Promise.all(Array.from({ length: 50 }, (_, i) =>
    client.tasks.trigger("many", i, i % 2 ? { idempotencyKey: `k${i}` } : {})));
  assert.equal(new Set(handles.map((h) => h.id)).size, 50);
  assert.ok(handles.every((h) => h.isCached === false));
  assert.equal((await env.client.runs.list({ taskIdentifier: "many", limit: 100 })).data.length, 50);
});

everywhere("the request that went twice at once", async (t, env) => {
  const headers = { "x-trigger-request-idempotency-key": crypto.randomUUID() };
  const answers = await Promise.all(Array.from({ length: 20 }, () => env.trigger("twice", {}, headers)));
  assert.equal(new Set(answers.map((a) => a.id)).size, 1);
  assert.ok(answers.every((a) => a.isCached === false));
  const elsewhere = await env.trigger("another", {}, headers);
  assert.notEqual(elsewhere.id, answers[0].id, "a request key belongs to its task");
});

test("the retry that reaches another node", async (t) => {
  const env = await environment();
  let count = 0;
  const [one, two] = nodes.flow;
  // The first request goes to one node, its repeat to the other.
  const p1 = await proxy(t, one.url, () => ({ cut: true }));
  const p2 = await proxy(t, two.url);
  for (const force of ["pass", "mollify"]) {
    await env.force(force);
    const fetchTo = async (url) => {
      const client = new TriggerClient({ baseURL: url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 1 } } });
      return client.tasks.trigger(`t-${force}`, count++);
    };
    await assert.rejects(fetchTo(p1.url));
    const sent = p1.seen.at(-1);
    const res = await fetch(p2.url + sent.path, {
      method: "POST", body: sent.body,
      headers: { authorization: sent.headers.authorization, "content-type": "application/json", "x-trigger-request-idempotency-key": key(sent) },
    });
    const answer = await res.json();
    assert.deepEqual([answer.id, answer.isCached], [JSON.parse(sent.answer.body).id, false]);
  }
});

everywhere("changes whose answer was lost", async (t, env) => {
  const { id } = await env.client.tasks.trigger("t", 1, { delay: "1h", idempotencyKey: "k" });
  for (const call of [
    (client) => client.runs.reschedule(id, { delay: "2h" }),
    (client) => client.runs.cancel(id),
    (client) => client.runs.retrieve(id),
  ]) {
    const { client, seen } = await losing(t, env);
    assert.equal((await call(client)).id, id);
    assert.equal(seen.length, 2);
  }
});

everywhere("a replay whose answer was lost makes one run", async (t, env) => {
  const { id } = await env.client.tasks.trigger("again", 1);
  const { client, seen } = await losing(t, env);
  const copy = await client.runs.replay(id);
  assert.equal(seen.length, 2);
  const { data } = await env.client.runs.list({ taskIdentifier: "again" });
  assert.deepEqual(data.map((r) => r.id).sort(), [id, copy.id].sort());
});

everywhere("a reset whose answer was lost", async (t, env) => {
  await env.client.tasks.trigger("t", 1, { idempotencyKey: "k" });
  const hash = await idempotencyKeys.create("k", { scope: "global" });
  const { url, seen } = await losing(t, env);
  // The repeat finds nothing to reset: what the caller sees is 404, as of the original server.
  await assert.rejects(auth.withAuth({ baseURL: url, accessToken: env.key }, () => idempotencyKeys.reset("t", hash)), { status: 404 });
  assert.equal(seen.length, 2);
  assert.equal((await env.client.tasks.trigger("t", 1, { idempotencyKey: "k" })).isCached, false);
});

test("a refused connection is tried again", async (t) => {
  const env = await environment();
  const p = await proxy(t, env.url, ({ count }) => (count < 2 ? { refuse: true } : undefined));
  const client = new TriggerClient({ baseURL: p.url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 5, minTimeoutInMs: 10 } } });
  await client.tasks.trigger("t", 1);
  assert.equal((await env.client.runs.list({ taskIdentifier: "t" })).data.length, 1);
});
