// A process that triggers when it is told to: each line on stdin is the JSON of
// {url, key, task, count, options}, and is answered with a line, the handles.
import { createInterface } from "node:readline";

import { TriggerClient } from "@trigger.dev/sdk";

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const { url, key, task, count, options } = JSON.parse(line);
  const client = new TriggerClient({ baseURL: url, accessToken: key });
  const handles = await Promise.all(Array.from({ length: count }, (_, i) =>
    client.tasks.trigger(task, { from: process.pid, i }, options)));
  console.log(JSON.stringify(handles.map(({ id, isCached }) => ({ id, isCached }))));
}
