// Public tokens: made and signed by the SDK, judged by the node.
import { test } from "node:test";
import assert from "node:assert/strict";

import { TriggerClient, auth } from "@trigger.dev/sdk";
import { environment, everywhere, rejects, served } from "../lib/nodes.mjs";
import { proxy } from "../lib/proxy.mjs";

const skip = await served("/api/v1/auth/jwt/claims");
const as = (env, accessToken) => new TriggerClient({ baseURL: env.url, accessToken });

everywhere("the handle's token reads its run and nothing else", { skip }, async (t, env) => {
  const [mine, other] = await Promise.all([env.client.tasks.trigger("t", 1), env.client.tasks.trigger("t", 2)]);
  const client = as(env, mine.publicAccessToken);
  assert.equal((await client.runs.retrieve(mine.id)).payload, 1);
  await rejects(() => client.runs.retrieve(other.id), 403, "PermissionDeniedError");
  await rejects(() => client.runs.retrieve("run_nothing"), 403, "PermissionDeniedError");
  await rejects(() => client.runs.cancel(mine.id), 403, "PermissionDeniedError");
  await rejects(() => client.tasks.trigger("t", 1), 403, "PermissionDeniedError");
});

everywhere("scopes", { skip }, async (t, env) => {
  const [a, b] = await Promise.all([
    env.client.tasks.trigger("task-a", 1, { tags: ["user:1", "ü"] }), env.client.tasks.trigger("task-b", 2, { tags: ["user:2"] }),
  ]);
  const token = async (scopes, more = {}) => as(env, await env.client.auth.createPublicToken({ scopes, ...more }));
  const sees = async (client, handle) => client.runs.retrieve(handle.id).then(() => true, (e) => (assert.equal(e.status, 403), false));
  for (const [scopes, wanted] of [
    [{ read: { runs: [a.id] } }, [true, false]],
    [{ read: { runs: [a.id, b.id] } }, [true, true]],
    [{ read: { runs: true } }, [true, true]],
    [{ read: { tags: "user:1" } }, [true, false]],
    [{ read: { tags: ["ü", "user:2"] } }, [true, true]],
    [{ read: { tasks: "task-b" } }, [false, true]],
    [{ read: { batch: "batch_1" } }, [false, false]],
    [{ read: { runs: "run_other" } }, [false, false]],
    [{ admin: true }, [true, true]],
  ]) {
    const client = await token(scopes);
    assert.deepEqual([await sees(client, a), await sees(client, b)], wanted, JSON.stringify(scopes));
  }
  const none = as(env, await env.client.auth.createPublicToken());
  assert.equal(await sees(none, a), false, "no scopes grant nothing");
  const listed = await (await token({ read: { runs: true } })).runs.list();
  assert.ok(listed.data.length >= 2);
});

test("tokens that are wrong", { skip }, async () => {
  const env = await environment(), foreign = await environment();
  const { id } = await env.client.tasks.trigger("t", 1);
  const good = await env.client.auth.createPublicToken({ scopes: { read: { runs: true } } });
  const [head, body, sig] = good.split(".");
  const over = await env.client.auth.createPublicToken({ scopes: { read: { runs: true } }, expirationTime: new Date(Date.now() - 1_000) });
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  const enc = (o) => Buffer.from(JSON.stringify(o)).toString("base64url");
  for (const bad of [
    `${head}.${enc({ ...claims, scopes: ["admin"] })}.${sig}`, `${head}.${body}.${sig.slice(0, -2)}AA`, `${head}.${body}.`,
    `${enc({ alg: "none", typ: "JWT" })}.${body}.`, `${enc({ alg: "HS512" })}.${body}.${sig}`, over, "a.b.c", "..", good + ".x",
  ]) {
    const error = await rejects(() => as(env, bad).runs.retrieve(id), 401, "AuthenticationError");
    if (bad.split(".").length === 3) assert.match(error.message, /Public Access Token is invalid|API key/);
  }
  const theirs = await foreign.client.auth.createPublicToken({ scopes: { read: { runs: true } } });
  await rejects(() => as(env, theirs).runs.retrieve(id), 404);
});

everywhere("a token to trigger with, once", { skip }, async (t, env) => {
  // Two tokens of one second with the same claims are one token: these end at different times.
  let hours = 1;
  const make = (task, options) => env.client.auth.createTriggerPublicToken(task, { expirationTime: `${hours++}h`, ...options });
  const client = as(env, await make("t"));
  const handle = await client.tasks.trigger("t", { a: 1 });
  assert.equal((await as(env, handle.publicAccessToken).runs.retrieve(handle.id)).id, handle.id, "the handle has a token of its own");
  await rejects(() => client.tasks.trigger("t", { a: 1 }), 422, "UnprocessableEntityError");
  await rejects(async () => as(env, await make("t")).tasks.trigger("other", 1), 403, "PermissionDeniedError");
  const many = as(env, await make(["t", "folder/u"], { multipleUse: true }));
  for (const task of ["t", "folder/u", "t"]) await many.tasks.trigger(task, 1);
  const once = as(env, await make("t"));
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => once.tasks.trigger("t", 1)));
  assert.equal(results.filter((r) => r.status === "fulfilled").length, 1, "of ten at once one is taken");
  assert.ok(results.filter((r) => r.status === "rejected").every((r) => r.reason.status === 422));
});

everywhere("a token to trigger batches with", { skip: skip || (await served("/api/v3/batches")) }, async (t, env) => {
  const client = as(env, await env.client.auth.createBatchTriggerPublicToken("t"));
  const handle = await client.tasks.batchTrigger("t", [{ payload: 1 }, { payload: 2 }]);
  assert.equal(handle.runCount, 2);
  await assert.rejects(() => client.tasks.batchTrigger("t", [{ payload: 1 }]), (e) => e.name === "BatchTriggerError" && e.cause.status === 422);
});

test("withPublicToken and withTriggerPublicToken", { skip }, async () => {
  const { runs, tasks } = await import("@trigger.dev/sdk");
  const env = await environment();
  await auth.withAuth(env.config, async () => {
    const { id } = await tasks.trigger("t", 1);
    const seen = await env.client.auth.createPublicToken({ scopes: { read: { runs: [id] } } });
    await auth.withAuth({ baseURL: env.url, accessToken: seen }, async () => assert.equal((await runs.retrieve(id)).id, id));
  });
});

everywhere("one-time tokens, when answers are lost, and when many use one at once", { skip }, async (t, env) => {
  const { auth, runs } = env.client, cut = new Set();
  const { url } = await proxy(t, env.url, ({ method, path }) => !cut.has(method + path) && cut.add(method + path) && { cut: true });
  const through = (accessToken) => new TriggerClient({ baseURL: url, accessToken, requestOptions: { retry: { maxAttempts: 3, minTimeoutInMs: 10, maxTimeoutInMs: 50 } } });
  await through(await auth.createTriggerPublicToken("one", { expirationTime: "2h" })).tasks.trigger("one", 1);
  assert.equal((await runs.list({ taskIdentifier: "one" })).data.length, 1);
  await through(await auth.createBatchTriggerPublicToken("two", { expirationTime: "2h" })).tasks.batchTrigger("two", [{ payload: 1 }, { payload: 2 }]);
  assert.equal((await runs.list({ taskIdentifier: "two" })).data.length, 2);

  const client = as(env, await auth.createTriggerPublicToken("three", { expirationTime: "2h" }));
  await rejects(() => client.tasks.trigger("three", 1, { tags: "x".repeat(200) }), 400);
  await rejects(() => client.tasks.trigger("another", 1), 403);
  const ends = await Promise.allSettled(Array.from({ length: 20 }, () => client.tasks.trigger("three", 1)));
  assert.deepEqual(ends.map(({ reason }) => reason?.status).sort(), [...Array(19).fill(422), undefined], "what was refused has used nothing up");
  assert.equal((await runs.list({ taskIdentifier: "three" })).data.length, 1);
});
