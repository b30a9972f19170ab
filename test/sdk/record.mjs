// Records what the SDK sends and what the node answers, as recorded/*.json: one file
// for each call of the SDK. Called by `make record-sdk`; a test of cmd/node replays
// them. Keys, ids, times, host and signatures are made up, so that a recording differs
// from the last one only where the wire does.
//
//   {call, exchanges: [{request: {method, path, headers, body | body_ndjson | body_repeat},
//                       response: {status, headers, body}}]}
//
// A body that is JSON stands there as its value, any other as its text.
import { mkdir, rm, writeFile } from "node:fs/promises";

import { apiClientManager, taskContext } from "@trigger.dev/core/v3";
import { TriggerClient, auth, idempotencyKeys, runs, tags, tasks } from "@trigger.dev/sdk";
import { environment, served } from "./lib/nodes.mjs";
import { proxy } from "./lib/proxy.mjs";

const folder = new URL("./recorded/", import.meta.url);
const madeUp = "tr_prod_EXAMPLEexampleEXAMPLE000";
const kept = /^(content-type|retry-after|x-should-retry|x-trigger-jwt|x-trigger-jwt-claims|electric-)/;

const cleanups = [];
const context = { after: (f) => cleanups.push(f) };
const env = await environment({ force: "pass" });
const p = await proxy(context, env.url);
const config = { baseURL: p.url, accessToken: env.key };
const client = new TriggerClient(config);

// numbered replaces what is new in each recording by what is the same in all.
const numbers = new Map();
const numbered = (kind, width) => (text) => {
  if (!numbers.has(text)) numbers.set(text, `${kind}${String(numbers.size + 1).padStart(width, "0")}`);
  return numbers.get(text);
};
// Inside a task a key is hashed with the run's id.
let within = false;
const inTask = (text) => (within ? '"idempotencyKey":"'.padEnd(82, "0") + '"' : text);
const began = Date.now();
const day = 86_400_000;

/** clean replaces what belongs to the machine, the environment and the time of the recording. */
const clean = (text) => text
  .replaceAll(env.key, madeUp).replaceAll(env.id, "env_example")
  .replaceAll(p.url, "http://127.0.0.1:PORT").replaceAll(env.url, "http://127.0.0.1:PORT")
  .replaceAll(new URL(p.url).host, "127.0.0.1:PORT").replaceAll(new URL(env.url).host, "127.0.0.1:PORT")
  .replace(/(eyJ[\w-]+)\.(eyJ[\w-]+)\.[\w-]+/g, (_, head, body) => {
    const claims = { ...JSON.parse(clean(Buffer.from(body, "base64url").toString())), iat: 0, exp: 3600 };
    return `${head}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.SIGNATURE`;
  })
  .replace(/\brun_[0-9a-z]{28}\b/g, numbered("run_", 28))
  .replace(/\bbatch_[0-9a-z]{16,}\b/g, numbered("batch_", 28))
  .replace(/\bpacket_[0-9a-z]{21}\b/g, numbered("packet_", 21))
  .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b/g, numbered("00000000-0000-4000-8000-", 12))
  .replace(/"idempotencyKey":"[0-9a-f]{64}"/g, inTask)
  .replace(/urn:mollifier:request:\w+/g, "urn:mollifier:request:example")
  .replace(/\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (at) => (Math.abs(Date.parse(at) - began) < day ? "2026-01-02T03:04:05.678Z" : at));

function body(text) {
  if (text === "") return null;
  try {
    return JSON.parse(clean(text));
  } catch {
    return clean(text);
  }
}

function exchange({ method, path, headers, body: sent, answer }) {
  const request = { method, path: clean(path), headers: Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, clean(String(v))])) };
  if (headers["content-type"] === "application/x-ndjson") {
    request.body_ndjson = sent.split("\n").filter(Boolean).map((line) => JSON.parse(clean(line)));
  } else if (sent.length > 10_000 && new Set(sent).size === 1) {
    request.body_repeat = { text: sent[0], times: sent.length };
  } else request.body = body(sent);
  const response = {
    status: answer.status,
    headers: Object.fromEntries(Object.entries(answer.headers).filter(([k]) => kept.test(k)).map(([k, v]) => [k, clean(String(v))])),
    body: body(answer.body),
  };
  return { request, response };
}

let number = 0;
async function record(name, call, act) {
  const from = p.seen.length;
  const result = await act().catch((error) => error);
  const exchanges = p.seen.slice(from).filter((e) => e.answer).map(exchange);
  const file = `${String(++number).padStart(2, "0")}-${name}.json`;
  await writeFile(new URL(file, folder), JSON.stringify({ sdk: "@trigger.dev/sdk 4.8.3", call, exchanges }, null, 2) + "\n");
  within = false;
  return result;
}

const inside = (run, act) => {
  within = true;
  taskContext.setGlobalTaskContext({
    ctx: { run: { id: run, tags: [], isTest: false }, attempt: { number: 1 }, task: { id: "parent", filePath: "parent.ts" }, queue: { id: "queue_1", name: "task/parent" },
      environment: { id: "env_example", slug: "prod", type: "PRODUCTION" }, organization: { id: "org_1", slug: "o", name: "o" }, project: { id: "proj_1", ref: "proj_1", slug: "p", name: "p" } },
    worker: { id: "worker_1", version: "20260101.1" }, isWarmStart: false,
  });
  return auth.withAuth(config, act).finally(() => taskContext.setGlobalTaskContext(undefined));
};
const low = (act) => auth.withAuth(config, () => act(apiClientManager.clientOrThrow()));

await rm(folder, { recursive: true, force: true });
await mkdir(folder);
const T = "send-email";
await record("trigger", "tasks.trigger, an object", () => client.tasks.trigger(T, { to: "a@b.c" }));
await record("trigger-text", "tasks.trigger, a text", () => client.tasks.trigger(T, "just text"));
await record("trigger-nothing", "tasks.trigger, no payload", () => client.tasks.trigger(T));
await record("trigger-rich", "tasks.trigger, a date, a bigint, a set, a map", () =>
  client.tasks.trigger(T, { at: new Date("2026-01-02T03:04:05.678Z"), n: 12345678901234567890n, s: new Set([1]), m: new Map([["k", undefined]]) }));
await record("trigger-names", "tasks.trigger, a name that is encoded", () => client.tasks.trigger("folder/my task ü", 1));
await record("trigger-key", "tasks.trigger with a key, twice", async () => {
  await client.tasks.trigger(T, 1, { idempotencyKey: "order-42" });
  await client.tasks.trigger(T, 2, { idempotencyKey: await idempotencyKeys.create(["order", "42"], { scope: "global" }) });
});
const all = await record("trigger-options", "tasks.trigger with every option", () => client.tasks.trigger(T, { to: "a@b.c" }, {
  idempotencyKey: "all", idempotencyKeyTTL: "1h", delay: "10m", ttl: "2h", tags: ["user:1", "org:2"], queue: "emails", concurrencyKey: "user-1",
  maxAttempts: 3, maxDuration: 60, machine: "small-2x", metadata: { plan: "pro" }, priority: 10, region: "us-east-1", version: "20260101.1",
}));
await record("trigger-debounce", "tasks.trigger, debounced, twice", async () => {
  const options = { debounce: { key: "d1", delay: "30s", mode: "trailing", maxDelay: "5m" } };
  await client.tasks.trigger(T, 1, options);
  await client.tasks.trigger(T, 2, options);
});
await record("retrieve", "runs.retrieve of a delayed run", () => client.runs.retrieve(all.id));
await record("retrieve-missing", "runs.retrieve of no run", () => client.runs.retrieve("run_unknown"));
await record("list", "runs.list with filters", () => client.runs.list({
  status: ["QUEUED", "DELAYED"], taskIdentifier: [T, "b"], tag: ["user:1"], from: new Date("2026-01-01"), to: new Date("2100-01-01"), limit: 10,
  queue: { type: "custom", name: "emails" }, machine: "small-2x", isTest: false, region: "us-east-1", version: "20260101.1",
}));
await record("list-pages", "runs.list, paged through", async () => { for await (const _ of client.runs.list({ limit: 3 })); });
await record("reschedule", "runs.reschedule, a duration and a date", async () => {
  await client.runs.reschedule(all.id, { delay: "20m" });
  await client.runs.reschedule(all.id, { delay: new Date("2099-01-02T03:04:05.678Z") });
});
await record("replay", "runs.replay", () => client.runs.replay(all.id));
await record("replay-overrides", "runs.replay with overrides", () => client.runs.replay(all.id, { payload: { to: "d@e.f" }, tags: ["again"], queue: "other" }));
await record("cancel", "runs.cancel, twice", async () => {
  await client.runs.cancel(all.id);
  await client.runs.cancel(all.id);
});
await record("reset", "idempotencyKeys.reset, twice", () => auth.withAuth(config, async () => {
  const key = await idempotencyKeys.create("order-42", { scope: "global" });
  await idempotencyKeys.reset(T, key);
  await idempotencyKeys.reset(T, key);
}));
await record("error-400", "a ttl below 0", () => client.tasks.trigger(T, 1, { ttl: -1 }));
await record("error-401", "a wrong key", () => new TriggerClient({ ...config, accessToken: "tr_prod_wrongwrongwrongwrongwron" }).tasks.trigger(T, 1));
await record("error-422", "eleven tags", () => client.tasks.trigger(T, 1, { tags: Array.from({ length: 11 }, (_, i) => `t${i}`) }));
const parent = await record("parent", "tasks.trigger, the parent of the next", () => client.tasks.trigger("parent", 1));
await record("inside-trigger", "tasks.trigger inside a task", () => inside(parent.id, () => tasks.trigger("child", 1, { idempotencyKey: "once" })));
await record("inside-wait", "the trigger of triggerAndWait", () => inside(parent.id, () => tasks.triggerAndWait("child", 1).catch(() => undefined)));
await record("inside-tags", "tags.add inside a task", () => inside(parent.id, () => tags.add(["t1", "t2"])));
await record("metadata", "the flush of metadata", () => low((c) => c.updateRunMetadata(parent.id, {
  operations: [{ type: "set", key: "progress", value: 0.5 }, { type: "append", key: "log", value: "a" }, { type: "increment", key: "n", value: 2 }], parentOperations: [], rootOperations: [],
})));
if (!(await served("/api/v3/batches"))) {
  const batch = await record("batch", "tasks.batchTrigger", () => client.tasks.batchTrigger(T, [{ payload: { i: 0 } }, { payload: "text", options: { delay: "1m", tags: ["t"], idempotencyKey: "k1" } }]));
  await record("batch-retrieve", "batch.retrieve", () => client.batch.retrieve(batch.batchId));
  await record("batch-several", "batch.trigger", () => client.batch.trigger([{ id: "a", payload: 1 }, { id: "b", payload: 2 }]));
  await record("batch-key", "tasks.batchTrigger with a key, twice", async () => {
    const key = await idempotencyKeys.create("nightly", { scope: "global" });
    for (let i = 0; i < 2; i++) await client.tasks.batchTrigger(T, [{ payload: 1 }], { idempotencyKey: key });
  });
  await record("inside-batch", "tasks.batchTrigger inside a task", () => inside(parent.id, () => tasks.batchTrigger("child", [{ payload: 1 }])));
}
if (!(await served("/api/v1/auth/jwt/claims"))) {
  await record("token", "a public token that reads a run", async () => {
    const token = await client.auth.createPublicToken({ scopes: { read: { runs: [parent.id] } } });
    await auth.withAuth({ baseURL: p.url, accessToken: token }, () => runs.retrieve(parent.id));
  });
  await record("token-trigger", "a one-time token, twice", async () => {
    const token = await client.auth.createTriggerPublicToken(T);
    await auth.withAuth({ baseURL: p.url, accessToken: token }, async () => {
      await tasks.trigger(T, 1);
      await tasks.trigger(T, 1).catch(() => undefined);
    });
  });
}
if (!(await served("/api/v2/packets/trigger%2Fpacket_1%2Fpayload.json", "PUT"))) {
  await record("offload", "tasks.trigger, 150,000 bytes", () => client.tasks.trigger(T, "x".repeat(150_000)));
}
for (const f of cleanups) await f();
process.exit(0);
