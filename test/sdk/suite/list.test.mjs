// Lists: filters, order, pages, also while a storm is on.
import { test } from "node:test";
import assert from "node:assert/strict";

import { environment, everywhere, rejects, until } from "../lib/nodes.mjs";

const ids = (page) => page.data.map((run) => run.id);

everywhere("filters, alone and together", async (t, env) => {
  const make = async (task, options = {}) => (await env.client.tasks.trigger(task, 1, options)).id;
  const start = new Date();
  const mail = await make("mail", { tags: ["a", "b"], queue: "bulk", machine: "micro", region: "eu", version: "20260101.1" });
  const later = await make("mail", { tags: ["b"], delay: "1h" });
  const bill = await make("folder/bill", { tags: ["ü🙂"], machine: "large-2x", region: "us" });
  const gone = await make("bill", { tags: ["a"] });
  await env.client.runs.cancel(gone);
  const mine = [gone, bill, later, mail];
  const cases = [
    [{ taskIdentifier: "mail" }, [later, mail]],
    [{ taskIdentifier: ["mail", "folder/bill"] }, [bill, later, mail]],
    [{ taskIdentifier: "nothing" }, []],
    [{ status: "DELAYED" }, [later]],
    [{ status: ["QUEUED", "CANCELED"], taskIdentifier: ["mail", "bill", "folder/bill"] }, [gone, bill, mail]],
    [{ status: "COMPLETED" }, []],
    [{ tag: "b" }, [later, mail]],
    [{ tag: ["a", "ü🙂"] }, [gone, bill, mail]],
    [{ tag: "b", status: "QUEUED" }, [mail]],
    [{ queue: { type: "custom", name: "bulk" } }, [mail]],
    [{ queue: { type: "task", name: "bill" } }, [gone]],
    [{ queue: { type: "task", name: "folder/bill" } }, [bill]],
    [{ queue: { type: "custom", name: "b u l k!" } }, [mail]],
    [{ queue: [{ type: "task", name: "bill" }, { type: "custom", name: "bulk" }] }, [gone, mail]],
    [{ machine: ["micro", "large-2x"] }, [bill, mail]],
    [{ region: "eu" }, [mail]],
    [{ version: "20260101.1" }, [mail]],
    [{ isTest: true }, []],
    [{ isTest: false, tag: "b" }, [later, mail]],
    [{ from: start, taskIdentifier: ["mail", "bill"] }, [gone, later, mail]],
    [{ to: new Date(start - 60_000) }, []],
    [{ period: "1d", tag: "a" }, [gone, mail]],
    [{ from: new Date(start - 60_000), to: new Date(Date.now() + 60_000), status: "DELAYED", tag: "b", taskIdentifier: "mail" }, [later]],
  ];
  for (const [filter, wanted] of cases) {
    assert.deepEqual(ids(await env.client.runs.list(filter)), wanted, JSON.stringify(filter));
  }
  assert.deepEqual(ids(await env.client.runs.list()), [...mine, env.probe], "the newest first");
  const [item] = (await env.client.runs.list({ tag: "ü🙂" })).data;
  assert.equal(item.env.id, env.id);
  assert.equal(item.env.name, "prod");
  assert.equal(item.payload, undefined);
  assert.equal(item.isQueued, true);
});

everywhere("filters for what the SDK does not set itself", async (t, env) => {
  const mine = (await env.trigger("bulk", { options: { bulkActionId: "bulk_1", tags: ["b"] } })).id;
  await env.trigger("bulk", { options: { bulkActionId: "bulk_2", tags: ["b"] } });
  await env.trigger("bulk", {});
  assert.deepEqual(ids(await env.client.runs.list({ bulkAction: "bulk_1" })), [mine]);
  assert.deepEqual(ids(await env.client.runs.list({ bulkAction: "bulk_1", tag: "b", status: "QUEUED" })), [mine]);
  assert.deepEqual(ids(await env.client.runs.list({ bulkAction: "bulk_1", tag: "c" })), []);
  assert.deepEqual(ids(await env.client.runs.list({ bulkAction: "bulk_" })), [], "an id is no prefix");
  assert.deepEqual(ids(await env.client.runs.list({ schedule: "sched_1" })), [], "no run has a schedule");
  assert.equal((await env.client.runs.retrieve(mine)).schedule, undefined);
});

everywhere("pages, forwards and backwards", async (t, env) => {
  const made = [];
  for (let i = 0; i < 23; i++) made.unshift((await env.client.tasks.trigger("page", i)).id);
  const query = { taskIdentifier: "page", limit: 5 };
  let page = await env.client.runs.list(query);
  assert.equal(page.pagination.previous, undefined);
  const seen = [...ids(page)];
  while (page.hasNextPage()) {
    page = await page.getNextPage();
    seen.push(...ids(page));
  }
  assert.deepEqual(seen, made);
  assert.equal(page.pagination.next, undefined);
  assert.deepEqual(ids(page), made.slice(20));
  const back = [];
  while (page.hasPreviousPage()) {
    page = await page.getPreviousPage();
    back.unshift(...ids(page));
  }
  assert.deepEqual(back, made.slice(0, 20));
  const auto = [];
  for await (const run of env.client.runs.list(query)) auto.push(run.id);
  assert.deepEqual(auto, made);
  assert.deepEqual(ids(await env.client.runs.list({ limit: 3, after: made[4], taskIdentifier: "page" })), made.slice(5, 8));
  assert.deepEqual(ids(await env.client.runs.list({ limit: 3, before: made[4], taskIdentifier: "page" })), made.slice(1, 4));
});

everywhere("back and forth in a list that grows", async (t, env) => {
  const make = async (n) => {
    const made = [];
    for (let i = 0; i < n; i++) made.unshift((await env.client.tasks.trigger("p", i)).id);
    return made;
  };
  const old = await make(10);
  let page = await env.client.runs.list({ taskIdentifier: "p", limit: 4 });
  assert.deepEqual(ids(page), old.slice(0, 4));
  const all = [...(await make(6)), ...old];
  const steps = [["Next", 10], ["Previous", 6], ["Previous", 2], ["Previous", 0, 2], ["Next", 2], ["Next", 6], ["Previous", 2], ["Next", 6], ["Next", 10], ["Next", 14]];
  for (const [i, [step, from, to = from + 4]] of steps.entries()) {
    page = await page[`get${step}Page`]();
    assert.deepEqual(ids(page), all.slice(from, to), `step ${i}`);
  }
  assert.equal(page.hasNextPage(), false);
});

test("auto-paging while a storm is on sees every run once", async () => {
  const env = await environment(); // the gate as configured: some pass, the rest is mollified
  const before = await Promise.all(Array.from({ length: 150 }, (_, i) => env.client.tasks.trigger("before", i, { tags: "before" })));
  let on = true;
  const storm = Promise.all(Array.from({ length: 8 }, async () => {
    const made = [];
    while (on) made.push((await env.client.tasks.trigger("storm", 1, { tags: "storm" })).id);
    return made;
  }));
  for (let round = 0; round < 3; round++) {
    const seen = [];
    for await (const run of env.client.runs.list({ tag: "before", limit: 20 })) seen.push(run.id);
    assert.equal(seen.length, new Set(seen).size, "no run comes twice");
    assert.deepEqual([...seen].sort(), before.map((h) => h.id).sort());
  }
  on = false;
  const made = (await storm).flat();
  const { promises, ...stats } = await (await fetch(`${env.admin}/admin/v1/stats`)).json();
  assert.ok(stats.gate, "stats are there");
  const all = [];
  for await (const run of env.client.runs.list({ tag: "storm", limit: 100 })) all.push(run.id);
  assert.deepEqual(all.sort(), made.sort(), "the storm is all there, the moment it is over");
});

test("queries that make no sense are refused", async () => {
  const env = await environment();
  await env.trigger("t");
  for (const query of [
    "filter[status]=SLEEPING", "filter[status]=PENDING", "page[size]=0", "page[size]=101", "page[size]=ten", "page[size]=-1", "filter[machine]=huge",
    "filter[isTest]=maybe", "filter[tag]=\u0000", "filter[queue]=a,\u0000", "filter[createdAt][from]=yesterday", "filter[createdAt][period]=long", "page[after]=%20",
  ]) {
    const answer = await env.json(`/api/v1/runs?${encodeURI(query)}`, {}, 400);
    assert.equal(typeof answer.error, "string", query);
  }
  await rejects(() => env.client.runs.list({ limit: 1000 }), 400, "BadRequestError");
  await env.json("/api/v1/runs?filter%5Bunknown%5D=1&x=2");
  await env.json("/api/v1/runs?page%5Bsize%5D=");
});
