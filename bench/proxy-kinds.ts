/** Who is measured in turn. */
export const PROXY_KINDS = ["banyan", "httpxy", "http-proxy-3", "nginx"] as const;

export type ProxyKind = (typeof PROXY_KINDS)[number];

/** What proxy-child.ts can be. */
export type ChildKind =
  | ProxyKind
  | "upstream"
  | "upstream-slow"
  | "upstream-erring"
  | "upstream-lying"
  | "banyan-compared"
  | "banyan-uncompared";

/** What every request is answered with; every answer is compared with it. */
export const BODY = JSON.stringify({
  id: "4711",
  status: "shipped",
  customer: { id: "42", name: "Ada Lovelace" },
  lines: [{ sku: "a-1", quantity: 2, amount: "19.90" }],
});
