// A proxy in front of a node that keeps what passes, and can break it.
import { createServer, request } from "node:http";

/**
 * proxy listens until the test ends. rule gets each request, and may return
 *   { cut: true }       the node answers, the client does not hear it
 *   { part: n }         the client hears the head and n bytes of the answer, then the connection is reset
 *   { refuse: true }    the connection ends before the node sees the request
 *   { answer: {status, headers, body} }   in the node's stead
 *   { to: url }         another node gets it
 * or a promise of one of these, or nothing; it may change the path. `seen` has the requests in their order, with their answers.
 */
export async function proxy(t, target, rule = () => undefined) {
  const seen = [];
  const server = createServer((req, res) => {
    const parts = [];
    req.on("data", (part) => parts.push(part));
    req.on("end", async () => {
      const body = Buffer.concat(parts);
      const exchange = { method: req.method, path: req.url, headers: req.headers, body: body.toString(), count: seen.length };
      seen.push(exchange);
      const fate = (await rule(exchange)) ?? {};
      const to = new URL(fate.to ?? target);
      if (fate.refuse) return res.socket.destroy();
      if (fate.answer) {
        res.writeHead(fate.answer.status, { "content-type": "application/json", ...fate.answer.headers });
        return res.end(fate.answer.body ?? "{}");
      }
      const onward = request({ host: to.hostname, port: to.port, method: req.method, path: exchange.path, headers: req.headers }, (back) => {
        const text = [];
        back.on("data", (part) => text.push(part));
        back.on("error", () => res.socket.destroy());
        back.on("end", () => {
          exchange.answer = { status: back.statusCode, headers: back.headers, body: Buffer.concat(text).toString() };
          if (fate.cut) return res.socket.destroy();
          res.writeHead(back.statusCode, back.headers);
          if (fate.part === undefined) return res.end(Buffer.concat(text));
          res.flushHeaders();
          res.write(Buffer.concat(text).subarray(0, fate.part), () => res.socket.resetAndDestroy());
        });
      });
      onward.on("error", () => res.socket.destroy());
      onward.end(body);
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  t.after(() => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  });
  return { url: `http://127.0.0.1:${server.address().port}`, seen };
}
