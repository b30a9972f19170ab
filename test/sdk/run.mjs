// Starts nodes on temporary data folders, runs the suite against them, and stops
// them. Called by `make test-sdk`, which builds the node before:
//
//   node run.mjs [file ...]      all of suite/ unless files are named
//   node run.mjs --record        record.mjs instead
//
// The suite gets its nodes as JSON in SDK_TEST_NODES:
//
//   flow   two nodes on one Redis and one Postgres, which drain
//   still  one node on stores of its own, which does not: what it mollifies
//          stays in the buffer
//
// The exit status is that of the suite; 1 also if a node logged an error, for
// nothing that a client does may be an error of the node.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const binary = resolve(process.env.SDK_TEST_BINARY ?? join(here, "../../bin/node"));
const ready = "mollifier is ready at";

// clean is the environment without what would configure a node or the SDK.
const clean = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(MOLLIFIER|TRIGGER)_/.test(name)),
);

class Node {
  log = "";

  constructor(data, flags, variables = {}) {
    this.data = data;
    this.process = spawn(binary, ["-data", data, "-listen", "127.0.0.1:0", ...flags], {
      env: { ...clean, ...variables }, stdio: ["ignore", "pipe", "pipe"],
    });
    this.ended = once(this.process, "exit");
    this.started = new Promise((started, failed) => {
      let out = "";
      this.process.stdout.on("data", (text) => {
        out += text;
        if (out.includes(ready)) started();
      });
      this.process.stderr.on("data", (text) => (this.log += text));
      this.process.on("error", failed);
      this.process.on("exit", (code) => failed(new Error(`a node ended with ${code} before it was ready:\n${this.log}`)));
    });
  }

  async info() {
    const { http, admin, admin_token, redis, postgres } = JSON.parse(await readFile(join(this.data, "stack.json"), "utf8"));
    return { url: http, admin, adminToken: admin_token, data: this.data, redis: redis.url, postgres: postgres.url };
  }

  async stop() {
    this.process.kill("SIGTERM");
    await this.ended;
  }
}

async function main(args) {
  const folder = await mkdtemp(join(tmpdir(), "mollifier-sdk-"));
  await chmod(folder, 0o711); // Postgres may run as another user, who has to pass
  const nodes = [];
  const start = (name, flags, variables) => {
    const node = new Node(join(folder, name), flags, variables);
    nodes.push(node);
    return node;
  };
  let suite;
  const stop = () => suite?.kill("SIGTERM");
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    const flow = start("flow", []);
    const still = start("still", ["-drain=false"]);
    await Promise.all([flow.started, still.started]);
    const first = await flow.info();
    const second = start("flow2", ["-secret-key-file", join(first.data, "secret.key")],
      { MOLLIFIER_REDIS: first.redis, MOLLIFIER_POSTGRES: first.postgres });
    await second.started;
    const info = { binary, flow: [first, await second.info()], still: [await still.info()] };
    suite = spawn(process.execPath, args, {
      cwd: here, env: { ...clean, SDK_TEST_NODES: JSON.stringify(info) }, stdio: "inherit",
    });
    const [code] = await once(suite, "exit");
    let failed = code !== 0;
    for (const node of nodes) {
      const errors = node.log.split("\n").filter((line) => line.includes("level=ERROR"));
      if (errors.length > 0) {
        console.error(`a node logged errors:\n${errors.slice(0, 20).join("\n")}`);
        failed = true;
      }
    }
    return failed ? 1 : 0;
  } finally {
    // A node on others' stores stops before them.
    for (const node of nodes.reverse()) await node.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const suite = async () => (await readdir(join(here, "suite"))).filter((name) => name.endsWith(".test.mjs")).map((name) => join("suite", name));

const named = process.argv.slice(2);
process.exitCode = await main(named[0] === "--record"
  ? ["record.mjs"]
  : ["--test", "--test-reporter=spec", "--test-concurrency=3", ...(named.length > 0 ? named : await suite())]);
