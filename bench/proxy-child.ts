/** One server of the proxy benchmark in a process of its own: `proxy-child.ts <kind> <upstream port> <port of its successor>`. Prints its port. */
import { writeSync } from "node:fs";
import { createServer, type Server as HttpServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { createProxyServer } from "http-proxy-3";
import { createProxyServer as createHttpxy } from "httpxy";
import { MemoryRolloutState } from "../connectors/memory/rollout-state.ts";
import { startProxy } from "../src/proxy/proxy.ts";
import { Agent } from "node:http";
import { BODY, type ChildKind } from "./proxy-kinds.ts";
import type { ShadowSettings } from "../src/proxy/settings.ts";
import type { Rollout } from "../src/rollout/stage.ts";

const CONNECTIONS_MAX = 512;
/** Of the application that is slow. */
const SLOW_MS = 200;
const [kind, upstreamPort, freshPort] = process.argv.slice(2) as [ChildKind, string, string];
/** The defaults of a config. */
const SHADOW: ShadowSettings = {
  reads: 1,
  noise: 0.02,
  timeoutMs: 5_000,
  connectionsMax: 64,
  bodyBytesMax: 1_048_576,
  headers: [],
  showValues: false,
  except: [],
  normalise: [],
};
const target = `http://127.0.0.1:${upstreamPort}`;

const port = await portOf();
process.once("SIGTERM", () => process.exit(0));
process.stdout.write(`${port}\n`);

async function portOf(): Promise<number> {
  switch (kind) {
    case "upstream":
      return await listen(upstream());
    case "upstream-slow":
      return await listen(upstream("200 OK", BODY, SLOW_MS));
    case "upstream-erring":
      return await listen(upstream("500 Internal Server Error", "no"));
    case "upstream-lying":
      return await listen(upstream("200 OK", BODY.replace("shipped", "placed")));
    case "banyan":
      return await banyan({ stage: "canary", share: 5_000 });
    case "banyan-compared":
      return await banyan({ stage: "shadow", share: 0 }, 1);
    case "banyan-uncompared":
      return await banyan({ stage: "shadow", share: 0 }, 0);
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
function upstream(status = "200 OK", body = BODY, delayMs = 0): ReturnType<typeof createTcpServer> {
  const answer = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
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
      if (answers === "") return;
      if (delayMs === 0) socket.write(answers);
      else setTimeout(() => socket.write(answers), delayMs);
    });
  });
}

/** With what a migration under way has: routes, ids, a share, a log that nobody reads. */
async function banyan(at: Pick<Rollout, "stage" | "share">, reads?: number): Promise<number> {
  const state = new MemoryRolloutState();
  state.put("order", { ...at, salt: "bench", epoch: 1 });
  const to = (port: string) => ({
    url: `http://127.0.0.1:${port}`,
    connectionsMax: CONNECTIONS_MAX,
    connectMsMax: 2_000,
    responseMsMax: 30_000,
    idleMsMax: 300_000,
    healthEveryMs: 5_000,
  });
  const { address, shadow } = await startProxy({
    settings: {
      listen: { host: "127.0.0.1", port: 0 },
      upstreams: { legacy: to(upstreamPort), new: to(freshPort) },
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
      shadow: reads === undefined ? undefined : { ...SHADOW, reads },
    },
    state,
  });
  // How much was compared is told when asked for: a comparison that was dropped costs nothing.
  if (reads === 1) process.on("SIGUSR2", () => writeSync(1, JSON.stringify(shadow!.state.reads)));
  return address.port;
}

async function listen(server: HttpServer | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return (server.address() as AddressInfo).port;
}
