// The context of a running task, as a worker of the SDK sets it up.
import { apiClientManager, runMetadata, taskContext } from "@trigger.dev/core/v3";
import { StandardMetadataManager } from "@trigger.dev/core/v3/workers";
import { auth } from "@trigger.dev/sdk";

// The SDK takes one manager for the life of its process.
const manager = new StandardMetadataManager();
runMetadata.setGlobalManager(manager);

/** inside calls body as the task of a run would. One at a time: the context is the process's. */
export async function inside(env, run, body, url = env.url) {
  taskContext.setGlobalTaskContext({
    ctx: {
      run: { id: run, tags: [], isTest: false, createdAt: new Date(), startedAt: new Date(), version: "20260101.1" },
      attempt: { number: 1, startedAt: new Date() }, task: { id: "parent", filePath: "parent.ts" },
      queue: { id: "queue_1", name: "task/parent" }, environment: { id: env.id, slug: "prod", type: "PRODUCTION" },
      organization: { id: "org_1", slug: "org", name: "org" }, project: { id: "proj_1", ref: "proj_1", slug: "p", name: "p" },
    },
    worker: { id: "worker_1", version: "20260101.1", contentHash: "x" }, isWarmStart: false,
  });
  try {
    return await auth.withAuth({ baseURL: url, accessToken: env.key }, async () => {
      manager.reset();
      Object.assign(manager, { apiClient: apiClientManager.clientOrThrow(), runId: run });
      return body();
    });
  } finally {
    taskContext.setGlobalTaskContext(undefined);
  }
}
