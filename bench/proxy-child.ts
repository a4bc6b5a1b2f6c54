/** One server of the proxy benchmark in a process of its own: `proxy-child.ts <kind> <upstream port>`. Prints its port. */
import { createServer, type Server as HttpServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { createProxyServer } from "http-proxy-3";
import { createProxyServer as createHttpxy } from "httpxy";
import { MemoryRolloutState } from "../connectors/memory/rollout-state.ts";
import { startProxy } from "../src/proxy/proxy.ts";
import { Agent } from "node:http";
import { BODY, type ProxyKind } from "./proxy-kinds.ts";

const CONNECTIONS_MAX = 512;
const [kind, upstreamPort] = process.argv.slice(2) as [ProxyKind | "upstream", string];
const target = `http://127.0.0.1:${upstreamPort}`;

process.stdout.write(`${await portOf()}\n`);
process.once("SIGTERM", () => process.exit(0));

async function portOf(): Promise<number> {
  switch (kind) {
    case "upstream":
      return await listen(upstream());
    case "banyan":
      return await banyan();
    case "http-proxy-3": {
      const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });
      const proxy = createProxyServer({ target, agent, xfwd: true });
      proxy.on("error", (_error, _request, response) => void response.end());
      return await listen(createServer((request, response) => proxy.web(request, response)));
    }
    case "httpxy": {
      const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });
      const proxy = createHttpxy({ target, agent, xfwd: true });
      return await listen(createServer((request, response) => void proxy.web(request, response)));
    }
    case "nginx":
      throw new Error("nginx is no child of this kind");
  }
}

/** Answers as fast as a process of Node can, so that it is not what is measured. */
function upstream(): ReturnType<typeof createTcpServer> {
  const answer = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
  return createTcpServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    let rest = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      rest += text;
      let answers = "";
      for (let end = rest.indexOf("\r\n\r\n"); end !== -1; end = rest.indexOf("\r\n\r\n")) {
        rest = rest.slice(end + 4);
        answers += answer;
      }
      if (answers !== "") socket.write(answers);
    });
  });
}

/** With what a migration under way has: routes, ids, a share, a log that nobody reads. */
async function banyan(): Promise<number> {
  const state = new MemoryRolloutState();
  state.put("order", { stage: "canary", share: 5_000, salt: "bench", epoch: 1 });
  const to = {
    url: target,
    connectionsMax: CONNECTIONS_MAX,
    connectMsMax: 2_000,
    responseMsMax: 30_000,
    idleMsMax: 300_000,
    healthEveryMs: 5_000,
  };
  const { address } = await startProxy({
    settings: {
      listen: { host: "127.0.0.1", port: 0 },
      upstreams: { legacy: to, new: to },
      routes: [
        {
          methods: ["GET"],
          path: "/orders/:id",
          stream: "order",
          kind: "read",
          id: { path: "id" },
          idForm: "integer",
        },
        {
          methods: ["PUT"],
          path: "/orders/:id",
          stream: "order",
          kind: "write",
          id: { path: "id" },
          idForm: "integer",
        },
      ],
      trusted: [],
      accessLog: process.env["BENCH_ACCESS_LOG"],
    },
    state,
  });
  return address.port;
}

async function listen(server: HttpServer | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return (server.address() as AddressInfo).port;
}
