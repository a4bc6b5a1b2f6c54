import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serverUser } from "../../../connectors/embedded/server-user.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { connect, disconnect } from "../../../connectors/postgres/session.ts";
import { openPostgresSource } from "../../../connectors/postgres/source.ts";
import { BanyanError } from "../../../src/model/errors.ts";
import { follow, readAll, transactions } from "../../contract/change-source.contract.ts";
import { batchOf, streamOf, tailing } from "../../contract/event-batches.ts";
import { startTestServer, type TestServer } from "../../support/faults-server.ts";

/** TLS by the names that libpq has for it, on a server with a certificate for `localhost`. */

const TLS = join(import.meta.dirname, "../../support/tls");
const AUTHORITY = join(TLS, "ca.crt");
/** Not the one that signed the server's certificate. */
const ANOTHER = join(TLS, "server.crt");

let server: TestServer;
let folder: string;
let base: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "banyan-tls-"));
  chmodSync(folder, 0o755);
  const user = serverUser();
  for (const [name, mode] of [
    ["server.crt", 0o644],
    ["server.key", 0o600],
  ] as const) {
    const path = join(folder, name);
    copyFileSync(join(TLS, name), path);
    chmodSync(path, mode);
    // The server takes a key from nobody else.
    if (user !== undefined) chownSync(path, user.uid, user.gid);
  }
  server = await startTestServer(tlsFlags("on"));
  base = (await server.createDatabase("shop")).url;
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function tlsFlags(ssl: "on" | "off"): readonly string[] {
  const files = [
    "-c",
    `ssl_cert_file=${join(folder, "server.crt")}`,
    "-c",
    `ssl_key_file=${join(folder, "server.key")}`,
  ];
  return ["-c", "wal_level=logical", "-c", `ssl=${ssl}`, ...files];
}

function urlOf(host: string, parameters: Readonly<Record<string, string>>): string {
  const url = new URL(base);
  url.hostname = host;
  url.search = new URLSearchParams(parameters).toString();
  return url.href;
}

/** How a source connects with this URL, by TLS or in plain, and whether a store does; or the code of the refusal. */
async function outcomes(url: string): Promise<readonly [string, string]> {
  const asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  const source = connect({ url, applicationName: "test" }).then(
    async (client) => {
      const { rows } = await client.query<{ ssl: boolean }>(asked);
      await disconnect(client);
      return rows[0]!.ssl ? "tls" : "plain";
    },
    (error: unknown) => (error as BanyanError).code,
  );
  const store = openPostgresEventStore({ url }).then(
    async (opened) => {
      await opened.close();
      return "open";
    },
    (error: unknown) => (error as BanyanError).code,
  );
  return [await source, await store];
}

const REFUSED = ["SOURCE_REFUSED", "STORE_REFUSED"] as const;

describe("a server that offers TLS", () => {
  test.each([
    ["127.0.0.1", { sslmode: "disable" }, ["plain", "open"]],
    ["127.0.0.1", { sslmode: "allow" }, ["tls", "open"]],
    ["127.0.0.1", { sslmode: "prefer" }, ["tls", "open"]],
    ["127.0.0.1", { sslmode: "require" }, ["tls", "open"]],
    ["127.0.0.1", { sslmode: "verify-ca", sslrootcert: AUTHORITY }, ["tls", "open"]],
    ["127.0.0.1", { sslmode: "verify-ca", sslrootcert: ANOTHER }, REFUSED],
    ["127.0.0.1", { sslmode: "verify-full", sslrootcert: AUTHORITY }, REFUSED],
    ["localhost", { sslmode: "verify-full", sslrootcert: AUTHORITY }, ["tls", "open"]],
    ["localhost", { sslmode: "verify-full" }, REFUSED],
    ["localhost", { sslmode: "verify-full", sslrootcert: "/nowhere/ca.crt" }, REFUSED],
  ] as const)("at %s with %j: %j", async (host, parameters, expected) => {
    expect(await outcomes(urlOf(host, parameters))).toEqual(expected);
  });

  test("a refusal says what to look at, and never the password", async () => {
    const url = urlOf("127.0.0.1", { sslmode: "verify-full", sslrootcert: AUTHORITY });
    const error: unknown = await connect({ url, applicationName: "test" }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(BanyanError);
    expect((error as BanyanError).hint).toContain("sslrootcert");
    expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain(
      new URL(url).password,
    );
  });

  test("the log, the copies of both ways and the feedback go through it", async () => {
    const url = urlOf("localhost", { sslmode: "verify-full", sslrootcert: AUTHORITY });
    const client = await connect({ url, applicationName: "test" });
    await client.query(
      "CREATE TABLE public.item (id int PRIMARY KEY, name text); CREATE PUBLICATION p FOR TABLE public.item",
    );
    await client.query(
      "INSERT INTO public.item SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) i",
    );
    const source = openPostgresSource({ url, slot: "s", publication: "p" });
    const snapshot = await source.openBaseline(
      { tables: [{ name: "item" }] },
      new AbortController().signal,
    );
    expect(await readAll(snapshot, snapshot.tables[0]!)).toHaveLength(5_000);
    await snapshot.close();
    await client.query("UPDATE public.item SET name = 'changed'");
    const { parts } = await follow(source, snapshot.position, transactions(1));
    expect(parts.flatMap(({ changes }) => changes)).toHaveLength(5_000);
    await source.close();
    await disconnect(client);

    const store = await openPostgresEventStore({ url });
    await store.migrate();
    const writer = await store.openCapture("shop", "test://source");
    const events = Array.from({ length: 5_000 }, (_, i) => ({
      stream: "order-1",
      version: i + 1,
      data: { i },
    }));
    await writer.stage({ events: batchOf(events) });
    await writer.commit(tailing(1));
    await writer.close();
    expect(await streamOf(store, "order-1")).toHaveLength(5_000);
    let read = 0;
    for await (const group of store.readStreamType("order", new AbortController().signal))
      read += group.length;
    expect(read).toBe(5_000);
    await store.close();
  });
});

describe("a server that offers none", () => {
  beforeAll(async () => {
    await server.stop("fast");
    await server.start(tlsFlags("off"));
  });

  test.each([
    [{ sslmode: "prefer" }, ["plain", "open"]],
    [{ sslmode: "allow" }, ["plain", "open"]],
    [{ sslmode: "require" }, REFUSED],
    [{ sslmode: "verify-full", sslrootcert: AUTHORITY }, REFUSED],
  ] as const)("with %j: %j", async (parameters, expected) => {
    expect(await outcomes(urlOf("localhost", parameters))).toEqual(expected);
  });
});
