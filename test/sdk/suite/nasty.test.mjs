// What no one should send, and someone does.
import { test } from "node:test";
import assert from "node:assert/strict";

import { apiClientManager } from "@trigger.dev/core/v3";
import { TriggerClient, auth, idempotencyKeys, runs } from "@trigger.dev/sdk";
import { environment, everywhere, rejects, until } from "../lib/nodes.mjs";

const low = (env, call) => auth.withAuth(env.config, () => call(apiClientManager.clientOrThrow()));

everywhere("bodies that are JSON, but not the SDK's", async (t, env) => {
  const payloads = ["1e400", "123456789012345678901234567890", "-0", '"\\ud83d\\ude42"', '{"a":1,"b":[]}', "[[],{},null]", '"\\u0000"', "true", '{"__proto__":{"x":1}}', '{"":""}'];
  for (const text of payloads) {
    const body = `{"payload":${text}}`;
    const { id } = await env.trigger("raw", body);
    const shown = await (await env.fetch(`/api/v3/runs/${id}`)).text();
    assert.ok(shown.includes(`"payload":${text}`), `${text} came back as ${shown.slice(0, 300)}`);
  }
  for (const text of ['{"a":1,"a":2}', '"\\ud800"', "01", "NaN", "'x'", "[1,]", "\u00ff", '"\t"']) {
    const res = await env.fetch("/api/v1/tasks/raw/trigger", { method: "POST", body: `{"payload":${text}}` });
    await res.body.cancel();
    assert.ok(res.status === 400 || res.status === 200, `${text}: ${res.status}`);
  }
});

everywhere("payload null, absent and empty are three things", async (t, env) => {
  const shown = async (body) => {
    const { id } = await env.trigger("p", body);
    return env.retrieve(id);
  };
  assert.equal((await shown({ payload: null })).payload, null);
  assert.equal("payload" in (await shown({})), false);
  assert.equal("payload" in (await shown({ options: { payloadType: "application/json" } })), false);
  const empty = await shown({ payload: "", options: { payloadType: "text/plain" } });
  assert.ok(empty.payload === "" || empty.payload === undefined);
});

everywhere("metadata that is no object", async (t, env) => {
  for (const metadata of [{}, { "": 1 }, { a: null }, { deep: { er: [{}] } }, { "ключ 🙂": "\u2028" }, { n: 1e-7 }]) {
    const { id } = await env.client.tasks.trigger("m", 1, { metadata });
    assert.deepEqual((await env.client.runs.retrieve(id)).metadata, metadata);
  }
  for (const metadata of ["text", [1], 5, true]) {
    const res = await env.fetch("/api/v1/tasks/m/trigger", { method: "POST", body: { options: { metadata } } });
    const answer = await res.json();
    if (res.status === 200) await env.client.runs.retrieve(answer.id); // the SDK must be able to read it
    else assert.equal(res.status, 400);
  }
});

everywhere("operations on metadata that make no sense", async (t, env) => {
  const { id } = await env.client.tasks.trigger("m", 1, { metadata: { text: "t", list: [1], n: 1, o: {} } });
  for (const operation of [
    { type: "increment", key: "text", value: 1 }, { type: "append", key: "n", value: 1 }, { type: "remove", key: "none", value: 1 },
    { type: "delete", key: "none" }, { type: "set", key: "$.a.b.c[0].d", value: 1 }, { type: "set", key: "$", value: 1 }, { type: "set", key: "$.list[5]", value: 1 },
    { type: "set", key: "__proto__", value: { x: 1 } }, { type: "increment", key: "new", value: 0.1 }, { type: "update", value: { whole: true } },
  ]) {
    const res = await env.fetch(`/api/v1/runs/${id}/metadata`, { method: "PUT", body: { operations: [operation] } });
    const text = await res.text();
    assert.ok(res.status < 500, `${JSON.stringify(operation)}: ${res.status} ${text}`);
    if (res.status === 200) assert.equal(typeof JSON.parse(text).metadata, "object");
    await env.client.runs.retrieve(id);
  }
  for (const body of [{ operations: [{ type: "explode", key: "a" }] }, { operations: [{}] }, { operations: {} }, { operations: [null] }, "[]", "null", { operations: [{ type: "increment", key: "n", value: "x" }] }]) {
    const res = await env.fetch(`/api/v1/runs/${id}/metadata`, { method: "PUT", body });
    const text = await res.text();
    assert.ok(res.status >= 400 && res.status < 500, `${JSON.stringify(body)}: ${res.status} ${text}`);
  }
});

everywhere("two changes at once leave one state", async (t, env) => {
  const made = await Promise.all(Array.from({ length: 10 }, () => env.client.tasks.trigger("race", 1, { delay: "1h" })));
  await Promise.all(made.flatMap(({ id }) => [
    env.client.runs.cancel(id),
    env.client.runs.reschedule(id, { delay: "2h" }).catch((e) => assert.equal(e.status, 400)),
    low(env, (c) => c.addTags(id, { tags: ["x", "y"] })),
    low(env, (c) => c.addTags(id, { tags: ["y", "z"] })),
    low(env, (c) => c.updateRunMetadata(id, { operations: [{ type: "increment", key: "n", value: 1 }] })).catch((e) => assert.equal(e.status, 422)),
  ]));
  for (const { id } of made) {
    const run = await env.client.runs.retrieve(id);
    assert.equal(run.status, "CANCELED");
    assert.deepEqual(run.tags, ["x", "y", "z"]);
  }
});

test("changes during the drain are all there afterwards", async () => {
  const env = await environment({ force: "mollify" });
  const made = await Promise.all(Array.from({ length: 30 }, (_, i) => env.client.tasks.trigger("moving", i, { delay: "1h", metadata: { n: 0 } })));
  await Promise.all(made.map(async ({ id }, i) => {
    await Promise.all([
      low(env, (c) => c.addTags(id, { tags: [`t${i}`] })),
      ...Array.from({ length: 3 }, () => low(env, (c) => c.updateRunMetadata(id, { operations: [{ type: "increment", key: "n", value: 1 }] }))),
      env.client.runs.reschedule(id, { delay: "3h" }),
    ]);
  }));
  const check = async () => {
    for (const [i, { id }] of made.entries()) {
      const run = await env.client.runs.retrieve(id);
      assert.deepEqual([run.tags, run.metadata, run.status], [[`t${i}`], { n: 3 }, "DELAYED"]);
      assert.ok(run.delayedUntil - run.createdAt > 2.5 * 3_600_000);
    }
  };
  await check();
  await until("the drain", async () => {
    const { buffer } = await (await fetch(`${env.admin}/admin/v1/stats`)).json();
    const again = await env.trigger("where", { options: { idempotencyKey: "w" } });
    return buffer && again.state === "materialised" ? true : undefined;
  });
  await check();
});

test("reads never miss a run on its way from the buffer to Postgres", async () => {
  const env = await environment({ force: "mollify" });
  const ids = [];
  let on = true;
  const writer = (async () => {
    for (let i = 0; i < 120; i++) ids.push((await env.client.tasks.trigger("seen", i)).id);
    on = false;
  })();
  const readers = Array.from({ length: 4 }, async (_, reader) => {
    // Each reads on one of the nodes, with no retry: one 404 is one too many.
    const client = new TriggerClient({ baseURL: env.where[reader % env.where.length].url, accessToken: env.key, requestOptions: { retry: { maxAttempts: 1 } } });
    let n = 0;
    while (on) {
      if (ids.length === 0) {
        await new Promise((r) => setTimeout(r, 1));
        continue;
      }
      const id = ids[n++ % 3 === 0 ? ids.length - 1 : Math.floor(Math.random() * ids.length)];
      assert.equal((await client.runs.retrieve(id)).id, id);
    }
  });
  await Promise.all([writer, ...readers]);
});

everywhere("dates as users write them", async (t, env) => {
  for (const [delay, ahead] of [["90s", 90], ["1h30m", 5400], ["1d", 86_400], ["2w", 1_209_600], ["1hr", 3600]]) {
    const { id } = await env.client.tasks.trigger("d", 1, { delay });
    const run = await env.client.runs.retrieve(id);
    assert.ok(Math.abs((run.delayedUntil - run.createdAt) / 1000 - ahead) < 3, delay);
  }
  for (const delay of ["2099-12-31T23:59:59.999Z", "2099-12-31T23:59:59+02:00", "2099-12-31"]) {
    const { id } = await env.client.tasks.trigger("d", 1, { delay });
    assert.equal((await env.client.runs.retrieve(id)).delayedUntil.getTime(), new Date(delay).getTime(), delay);
  }
  for (const delay of ["1.5h", "-1h", "1 h", "h", "1y", "10", "99999999999999999999d", "2026-13-45", ""]) {
    const error = await env.client.tasks.trigger("d", 1, { delay }).then(() => undefined, (e) => e);
    if (error) assert.equal(error.status, 400, `${delay}: ${error}`);
  }
});

everywhere("numbers at the edge", async (t, env) => {
  for (const options of [{ priority: 1e9 }, { priority: -1e9 }, { priority: 0.001 }, { maxAttempts: 1 }, { maxDuration: 1 }, { maxDuration: 1e6 }, { concurrencyKey: "ü".repeat(100) }, { queue: "ü" }, { ttl: 2_000_000_000 }, { ttl: "365d" }]) {
    const error = await env.client.tasks.trigger("n", 1, options).then(async ({ id }) => void (await env.client.runs.retrieve(id)), (e) => e);
    if (error) assert.ok(error.status === 400 || error.status === 422, `${JSON.stringify(options)}: ${error}`);
  }
  for (const text of ['{"options":{"priority":1e999}}', '{"options":{"maxAttempts":99999999999999999999}}', '{"options":{"ttl":1e300}}', '{"options":{"payloadSize":-0}}', '{"options":{"maxDuration":-1}}']) {
    const res = await env.fetch("/api/v1/tasks/n/trigger", { method: "POST", body: text });
    const answer = await res.json();
    assert.ok(res.status < 500, `${text}: ${JSON.stringify(answer)}`);
    if (res.status === 200) await env.client.runs.retrieve(answer.id);
  }
});

everywhere("a body of exactly the limit, and one byte more", async (t, env) => {
  const shell = JSON.stringify({ payload: "" });
  const most = 3_145_728;
  const at = await env.fetch("/api/v1/tasks/big/trigger", { method: "POST", body: JSON.stringify({ payload: "x".repeat(most - shell.length) }) });
  const { id } = await at.json();
  assert.equal(at.status, 200);
  assert.equal((await env.client.runs.retrieve(id)).payload.length, most - shell.length);
  const over = await env.fetch("/api/v1/tasks/big/trigger", { method: "POST", body: JSON.stringify({ payload: "x".repeat(most - shell.length + 1) }) });
  assert.equal(over.status, 413);
  await over.body.cancel();
});

everywhere("debounce", async (t, env) => {
  const bounce = (payload, mode, key = mode) => env.client.tasks.trigger("d", payload, { debounce: { key, delay: "60s", mode } });
  const [a, b] = [await bounce(1, "trailing"), await bounce(2, "trailing")];
  assert.equal(b.id, a.id);
  assert.equal((await env.client.runs.retrieve(a.id)).payload, 2);
  const [c, d] = [await bounce(1, "leading"), await bounce(2, "leading")];
  assert.equal(d.id, c.id);
  assert.equal((await env.client.runs.retrieve(c.id)).payload, 1);
  assert.equal((await env.client.runs.retrieve(c.id)).status, "DELAYED");
  const burst = await Promise.all(Array.from({ length: 50 }, (_, i) => bounce(i, "trailing", "burst")));
  assert.equal(new Set(burst.map((h) => h.id)).size, 1, "one run for fifty at once");
  await env.client.runs.cancel(a.id);
  assert.notEqual((await bounce(3, "trailing")).id, a.id, "a run that has ended is pushed no more");
  await rejects(() => env.client.tasks.trigger("d", 1, { debounce: { key: "k", delay: "10m", maxDelay: "5m" } }), 422);
});

test("results, as an older client polls them", async () => {
  const env = await environment({ force: "pass" });
  const result = (id) => low(env, (c) => c.getRunResult(id));
  const [good, bad] = [await env.client.tasks.trigger("t", 1), await env.client.tasks.trigger("t", 1)];
  assert.equal(await result(good.id), undefined, "not yet");
  await env.finish(good.id, { status: "COMPLETED", output: { ok: true } });
  await env.finish(bad.id, { status: "FAILED", error: { message: "no", name: "Error", stackTrace: "" } });
  const done = await result(good.id);
  assert.deepEqual([done.ok, done.id, JSON.parse(done.output)], [true, good.id, { ok: true }]);
  const failed = await result(bad.id);
  assert.deepEqual([failed.ok, failed.id], [false, bad.id]);
});

test("a project's list", async () => {
  const env = await environment({ force: "pass" });
  const { id } = await env.client.tasks.trigger("t", 1);
  await auth.withAuth(env.config, async () => {
    const page = await runs.list("proj_anything", { limit: 10 }).catch((e) => e);
    if (page.data) assert.deepEqual(page.data.map((r) => r.id), [id]);
    else assert.ok([401, 403, 404].includes(page.status));
  });
});

test("additional keys open their environment, and sign nothing", async () => {
  const env = await environment({ force: "pass" });
  const key = await env.additionalKey("ci");
  assert.match(key, /^tr_prod_sk_[0-9a-zA-Z]{24}$/);
  const client = new TriggerClient({ baseURL: env.url, accessToken: key });
  const handle = await client.tasks.trigger("t", 1, { idempotencyKey: "k" });
  assert.equal((await env.client.tasks.trigger("t", 1, { idempotencyKey: "k" })).id, handle.id);
  const reader = new TriggerClient({ baseURL: env.url, accessToken: handle.publicAccessToken });
  assert.equal((await reader.runs.retrieve(handle.id)).id, handle.id);
  const token = await client.auth.createPublicToken({ scopes: { read: { runs: [handle.id] } } });
  assert.equal((await new TriggerClient({ baseURL: env.url, accessToken: token }).runs.retrieve(handle.id)).id, handle.id);
});

everywhere("one key, many tasks and environments at once", async (t, env) => {
  const other = await environment({ on: env.state === "buffered" ? "still" : "flow" });
  const handles = await Promise.all([env, other].flatMap((e) => Array.from({ length: 60 }, (_, i) => e.client.tasks.trigger(`task-${i % 6}`, i, { idempotencyKey: "same" }))));
  assert.equal(new Set(handles.map((h) => h.id)).size, 12);
  assert.equal(handles.filter((h) => !h.isCached).length, 12);
});

everywhere("triggers and resets of one key at once", async (t, env) => {
  const hash = await idempotencyKeys.create("contended", { scope: "global" });
  const made = new Set();
  let fresh = 0, cleared = 0;
  await Promise.all(Array.from({ length: 10 }, async (_, i) => {
    for (let n = 0; n < 10; n++) {
      if (i === 0) {
        await auth.withAuth(env.config, () => idempotencyKeys.reset("t", hash)).then(() => cleared++, (e) => assert.equal(e.status, 404));
        continue;
      }
      const handle = await env.client.tasks.trigger("t", 1, { idempotencyKey: hash });
      made.add(handle.id);
      if (!handle.isCached) fresh++;
    }
  }));
  assert.equal(fresh, made.size, "each run was made by one caller");
  assert.ok(made.size <= cleared + 1, `${made.size} runs for ${cleared} resets`);
});
