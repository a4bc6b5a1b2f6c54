import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { BanyanError, openAggregates, requestContext } from "banyan";
import { streams } from "./streams.ts";

/**
 * A service on node:http: `GET /tickets/:id` and `POST /tickets/:id/solve`.
 *
 * @param storeUrl of the event store
 */
export async function plainTicketService(storeUrl: string): Promise<Server> {
  const store = await openAggregates({ store: storeUrl, pipeline: "helpdesk", streams });
  const tickets = store.aggregates("ticket");
  const { TicketSolved } = tickets.events;

  const handle = async ({ method, url, headers }: IncomingMessage): Promise<Answer> => {
    const [, id, verb] = /^\/tickets\/(\d+)(?:\/(solve))?$/.exec(url ?? "") ?? [];
    if (id === undefined) return { status: 404, body: { error: "not found" } };
    if (method === "GET" && verb === undefined) {
      const { state } = await tickets.load(id);
      return { status: state === undefined ? 404 : 200, body: state ?? { error: "not found" } };
    }
    if (method !== "POST" || verb === undefined) return { status: 405, body: { error: "no" } };
    const { state } = await tickets.execute(requestContext(headers), id, (ticket) => {
      if (ticket === undefined) throw new NotFound();
      return ticket.status === "solved" ? [] : [TicketSolved()];
    });
    return { status: 200, body: state };
  };

  const server = createServer((request, response) => {
    handle(request)
      .catch(failed)
      .then((answer) => send(response, answer))
      .catch(() => response.destroy());
  });
  server.once("close", () => void store.close());
  return server;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

class NotFound extends Error {}

function failed(error: unknown): Answer {
  if (error instanceof NotFound) return { status: 404, body: { error: "not found" } };
  const willPass = error instanceof BanyanError && error.recovery === "retry";
  return { status: willPass ? 503 : 500, body: { error: "not now" } };
}

function send(response: ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, {
    "content-type": "application/json",
    ...(status === 503 && { "retry-after": "1" }),
  });
  response.end(JSON.stringify(body));
}
