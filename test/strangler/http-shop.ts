import type { OrderInput, OrderShop } from "./order-history.ts";

const ANSWER_MS_MAX = 30_000;
/** What legacy and the new shop have at once, and in plenty. */
const SKU = "SKU-00001";

/** The shop over HTTP, at the address of a proxy. */
export function httpShop(url: string): OrderShop {
  return {
    async place(quantity) {
      const body = { customerId: "1", lines: [{ sku: SKU, quantity }] };
      const { status, json } = await send(url, "POST", "/orders", body);
      if (status !== 200) throw new Error(`no order was placed: ${status}`);
      return (json as { id: string }).id;
    },
    async ask(id, input) {
      const [method, path, body] = requestOf(id, input);
      const { status, json } = await send(url, method, path, body);
      if (status === 404) return "gone";
      if (status === 409) return "refused";
      if (status !== 200) return undefined;
      return input.act === "read" ? shown(json as Shown) : "ok";
    },
  };
}

interface Shown {
  readonly status: string;
  readonly lines: readonly { readonly quantity: number }[];
}

function shown({ status, lines }: Shown): string {
  return `${status} ${lines.map(({ quantity }) => quantity).join("+")}`;
}

function requestOf(
  id: string,
  input: OrderInput,
): readonly [method: string, path: string, body?: unknown] {
  const path = `/orders/${id}`;
  switch (input.act) {
    case "read":
      return ["GET", path];
    case "amend":
      return ["PUT", path, { lines: [{ sku: SKU, quantity: input.quantity }] }];
    case "delete":
      return ["DELETE", path];
    case "pay":
      return ["POST", `${path}/pay`, { cardWorks: true }];
    case "ship":
      return ["POST", `${path}/ship`, { carrier: "post", parcelsG: [100] }];
    default:
      return ["POST", `${path}/${input.act}`];
  }
}

async function send(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; json: unknown }> {
  const response = await fetch(`${url}${path}`, {
    method,
    ...(body !== undefined && {
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") === true;
  return { status: response.status, json: isJson ? (JSON.parse(text) as unknown) : text };
}
