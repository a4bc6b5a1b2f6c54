import { describe, expect, test } from "vitest";
import { env } from "../../src/config/define-migration.ts";
import { parseConfig } from "../../src/config/load-config.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { BanyanError } from "../../src/model/errors.ts";

const FILE = "/srv/shop/banyan.config.ts";
const PROXY = {
  listen: "127.0.0.1:8080",
  admin: { listen: "127.0.0.1:9901" },
  upstreams: { legacy: { url: "http://legacy:3000" }, new: { url: env("NEW_URL") } },
  routes: [
    { method: "GET", path: "/orders/:id", stream: "order", kind: "read", id: { path: "id" } },
    {
      method: ["PUT", "DELETE"],
      path: "/orders/:id",
      stream: "order",
      kind: "write",
      id: { path: "id" },
    },
  ],
};

function configWith(proxy: unknown): unknown {
  return {
    name: "shop",
    source: { kind: "postgres", url: "postgres://db/shop" },
    streams: { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
    proxy,
  };
}

function parse(proxy: unknown) {
  const environment = { NEW_URL: "https://new.example", TOKEN: "0123456789abcdef" };
  return parseConfig(configWith(proxy), FILE, environment, { withProxy: true }).proxy;
}

function problemsOf(change: object): string {
  try {
    parse({ ...PROXY, ...change });
  } catch (error) {
    if (error instanceof BanyanError && error.code === "CONFIG_INVALID") return error.message;
    throw error;
  }
  throw new Error("the config was accepted");
}

test("a proxy has defaults, secrets from the environment, and paths from the config's folder", () => {
  expect(
    parse({ ...PROXY, accessLog: "logs/access.log", trusted: ["10.0.0.0/8", "::1"] }),
  ).toMatchObject({
    listen: { host: "127.0.0.1", port: 8_080 },
    admin: { listen: { host: "127.0.0.1", port: 9_901 } },
    upstreams: {
      legacy: { url: "http://legacy:3000", connectionsMax: 512, responseMsMax: 30_000 },
      new: { url: "https://new.example" },
    },
    routes: [
      { methods: ["GET"], path: "/orders/:id", idForm: "text" },
      { methods: ["PUT", "DELETE"], id: { path: "id" } },
    ],
    trusted: ["10.0.0.0/8", "::1"],
    accessLog: "/srv/shop/logs/access.log",
  });
  expect(parse(undefined)).toBeUndefined();
});

test("shadow traffic has defaults, and rules for places of answers", () => {
  expect(parse(PROXY)!.shadow).toEqual({
    reads: 1,
    noise: 0.02,
    timeoutMs: 5_000,
    connectionsMax: 64,
    bodyBytesMax: 1_048_576,
    headers: [],
    showValues: false,
    except: [],
    normalise: [],
  });
  const rule = {
    path: "/orders/:id",
    ignore: ["lines[].id", "(header etag)"],
    tolerances: { a: 1 },
  };
  expect(parse({ ...PROXY, shadow: { normalise: [rule] } })!.shadow!.normalise).toEqual([
    { ...rule, unordered: [], timestampsWithinMs: {} },
  ]);
});

test("a command that is not the proxy needs none of its secrets, and still tells what is wrong with it", () => {
  const admin = { listen: "[::]:1", token: env("TOKEN") };
  const loaded = parseConfig(configWith({ ...PROXY, admin }), FILE, {});
  expect([loaded.name, loaded.proxy]).toEqual(["shop", undefined]);
  for (const [change, message] of [
    [{ listen: "8080" }, /must be host:port[^]*proxy\.listen/],
    [{ admin: { listen: "[::]:1", token: "short" } }, /proxy\.admin\.token/],
    [{ admin: { listen: "[::]:1" } }, /is needed[^]*proxy\.admin\.token/],
    [{ upstreams: { ...PROXY.upstreams, legacy: { url: "ftp://legacy" } } }, /legacy\.url/],
  ] as const)
    expect(() => parseConfig(configWith({ ...PROXY, ...change }), FILE, {})).toThrow(message);
});

describe("what is wrong with a proxy is told with its place", () => {
  const route = { method: "GET", path: "/orders/:id", stream: "order", kind: "read" };
  const upstreams = (url: string) => ({ upstreams: { ...PROXY.upstreams, legacy: { url } } });
  test.each([
    ["an address that is none", { listen: "8080" }, /must be host:port[^]*proxy\.listen/],
    [
      "an admin plane for all without a token",
      { admin: { listen: "0.0.0.0:1" } },
      /is needed[^]*proxy\.admin\.token/,
    ],
    [
      "a token that can be guessed",
      { admin: { listen: "[::]:1", token: "short" } },
      /proxy\.admin\.token/,
    ],
    [
      "a token that is not set",
      { admin: { listen: "[::]:1", token: env("NOT_SET") } },
      /NOT_SET is not set/,
    ],
    [
      "an upstream with a path",
      upstreams("http://legacy/app"),
      /without a path[^]*upstreams\.legacy\.url/,
    ],
    [
      "an upstream with TLS and no name",
      upstreams("https://10.0.0.1"),
      /https:\/\/name[^]*upstreams\.legacy\.url/,
    ],
    ["an upstream with a password", upstreams("http://u:p@legacy"), /upstreams\.legacy\.url/],
    ["an upstream of another protocol", upstreams("ftp://legacy"), /upstreams\.legacy\.url/],
    [
      "a network that is none",
      { trusted: ["10.0.0.0/33"] },
      /must be an address or a network[^]*trusted/,
    ],
    [
      "a stream that is not mapped",
      { routes: [{ ...route, stream: "basket" }] },
      /none of the streams: order[^]*routes\[0\]\.stream/,
    ],
    ["a share beyond all", { shadow: { reads: 1.1 } }, /shadow\.reads/],
    [
      "a place that there cannot be",
      { shadow: { normalise: [{ ignore: ["$.lines[0]"] }] } },
      /must be a place[^]*shadow\.normalise\[0\]\.ignore\[0\]/,
    ],
    [
      "a tolerance at no place",
      { shadow: { normalise: [{ tolerances: { "a..b": 1 } }] } },
      /shadow\.normalise\[0\]\.tolerances/,
    ],
    [
      "rules for a path that no route has",
      { shadow: { normalise: [{ path: "/baskets" }] } },
      /none of the routes[^]*shadow\.normalise\[0\]\.path/,
    ],
    [
      "a route left out that there is not",
      { shadow: { except: ["/baskets"] } },
      /none of the routes[^]*shadow\.except\[0\]/,
    ],
    [
      "a write without an id",
      { routes: [{ ...route, kind: "write" }] },
      /is needed[^]*routes\[0\]\.id/,
    ],
    [
      "an id that the path lacks",
      { routes: [{ ...route, id: { path: "no" } }] },
      /names :no[^]*routes\[0\]\.id/,
    ],
    [
      "an id in two places",
      { routes: [{ ...route, id: { path: "id", query: "id" } }] },
      /routes\[0\]\.id/,
    ],
    [
      "an id in the body of a GET",
      { routes: [{ ...route, id: { json: "id" } }] },
      /cannot be in a body[^]*routes\[0\]\.id/,
    ],
    [
      "a read that makes something",
      { routes: [{ ...route, created: { json: "id" } }] },
      /is for creations[^]*routes\[0\]\.created/,
    ],
    [
      "a made id in a field without a name",
      { routes: [{ ...route, kind: "create", created: { json: "order..id" } }] },
      /routes\[0\]\.created/,
    ],
    [
      "a path without a slash",
      { routes: [{ ...route, path: "orders" }] },
      /must begin with a slash[^]*routes\[0\]\.path/,
    ],
    [
      "a path with dots",
      { routes: [{ ...route, path: "/a/../b" }] },
      /neither a word nor[^]*routes\[0\]\.path/,
    ],
    [
      "a path with an encoded slash",
      { routes: [{ ...route, path: "/a%2Fb" }] },
      /routes\[0\]\.path/,
    ],
    [
      "a star in the middle",
      { routes: [{ ...route, path: "/a/*/b" }] },
      /at its end only[^]*routes\[0\]\.path/,
    ],
    ["a parameter twice", { routes: [{ ...route, path: "/:a/:a" }] }, /names a parameter twice/],
    [
      "two routes for one request",
      { routes: [route, { ...route, path: "/Orders/:key/" }] },
      /is the GET of route 0 again[^]*routes\[1\]\.path/,
    ],
    ["a key that there is not", { retries: 3 }, /retries/],
  ] as const)("%s", (_, change, message) => expect(problemsOf(change)).toMatch(message));
});
