import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { env } from "../../src/config/define-migration.ts";
import { loadConfig, parseConfig } from "../../src/config/load-config.ts";
import { child, inserted, stream, table } from "../../src/mapping/rules.ts";
import { BanyanError } from "../../src/model/errors.ts";

const FILE = "/srv/shop/banyan.config.ts";
const orders = table("orders");
const streams = { order: stream(orders, { otherwise: "OrderAmended" }) };
const good = {
  name: "shop",
  source: { kind: "postgres", url: "postgres://user:secret@db:5432/shop" },
  streams,
};

/** The error of a config, which must have one. */
function errorOf(config: unknown, environment: Record<string, string> = {}): BanyanError {
  try {
    parseConfig(config, FILE, environment);
  } catch (error) {
    if (error instanceof BanyanError) return error;
    throw error;
  }
  throw new Error("the config was accepted");
}

describe("a config that is right", () => {
  test("has defaults, and paths from its own folder", () => {
    expect(parseConfig(good, FILE, {})).toMatchObject({
      file: FILE,
      directory: "/srv/shop",
      name: "shop",
      source: { slot: "banyan_shop", publication: "banyan_shop" },
      store: { kind: "embedded", directory: "/srv/shop/.banyan/store" },
      limits: { batchChangesMax: 20_000, lingerMs: 5, idleMs: 1_000 },
    });
    const moved = { ...good, store: { kind: "embedded", directory: "../events" } };
    expect(parseConfig(moved, FILE, {}).store).toEqual({
      kind: "embedded",
      directory: "/srv/events",
    });
  });

  test("keeps the streams as they were made, functions included", () => {
    const where = (): boolean => true;
    const lines = table<{ order_id: string }>("lines");
    const rich = {
      order: stream(orders, {
        children: { lines: child(lines, { order_id: "id" }) },
        events: { OrderPlaced: inserted(orders, { with: [lines], where }) },
        otherwise: "OrderAmended",
        truncate: "events" as const,
      }),
    };
    const loaded = parseConfig({ ...good, streams: rich }, FILE, {}).streams;
    expect(loaded).toEqual(rich);
    expect(loaded["order"]!.events["OrderPlaced"]!.where).toBe(where);
  });

  test("takes secrets from the environment, or what stands in for them", () => {
    const url = "postgres://user:pw@elsewhere/db";
    const of = (reference: unknown, environment: Record<string, string>) =>
      parseConfig({ ...good, source: { kind: "postgres", url: reference } }, FILE, environment)
        .source.url;
    expect(of(env("SHOP_URL"), { SHOP_URL: url })).toBe(url);
    expect(of(env("SHOP_URL", "postgres://localhost/shop"), {})).toBe("postgres://localhost/shop");
    expect(of(env("SHOP_URL", "postgres://localhost/shop"), { SHOP_URL: url })).toBe(url);
    // Set to nothing, as a shell script or a compose file does, is not set.
    expect(of(env("SHOP_URL", "postgres://localhost/shop"), { SHOP_URL: "" })).toBe(
      "postgres://localhost/shop",
    );
  });
});

describe("a config that is wrong", () => {
  test("has all its problems told at once, each with its place, and no secret among them", () => {
    const error = errorOf({
      name: "9 lives",
      source: {
        kind: "postgres",
        url: "mysql://root:hunter2@db/shop",
        slot: "With-Capitals",
        publication: "",
        extra: 1,
      },
      store: { kind: "postgres", url: env("EVENTS_URL") },
      streams: {},
      limits: { batchChangesMax: 0, idleMs: 1, lingerMs: "soon", unknown: 3 },
      strems: {},
    });
    expect(error.code).toBe("CONFIG_INVALID");
    expect(error.message).toContain(FILE);
    for (const part of [
      "at name",
      "at source.url",
      "at source.slot",
      "at source.publication",
      "extra",
      "at store.url",
      "EVENTS_URL is not set",
      "at streams",
      "at least one stream",
      "at limits.batchChangesMax",
      "at limits.idleMs",
      "at limits.lingerMs",
      "unknown",
      "strems",
    ])
      expect(error.message).toContain(part);
    expect(error.message).not.toContain("hunter2");
    expect(JSON.stringify(error.detail)).not.toContain("hunter2");
  });

  test.each([undefined, null, "a text", 7, [], () => good])(
    "is told to be no config: %s",
    (value) => {
      expect(errorOf(value).code).toBe("CONFIG_INVALID");
    },
  );

  test("a stream that no builder made is told apart, wherever it is incomplete", () => {
    const { order } = streams;
    const broken = {
      noEvents: { ...order, events: undefined },
      noChildren: { ...order, children: undefined },
      badRule: { ...order, events: { Placed: { on: "upsert" } } },
      badTruncate: { ...order, truncate: "ignore" },
      badChild: { ...order, children: { lines: { table: { name: "lines" } } } },
      noTable: { ...order, root: "orders" },
      nothing: null,
      noFallback: { ...order, otherwise: "" },
    };
    const { message } = errorOf({ ...good, streams: broken });
    for (const place of [
      "streams.noEvents.events",
      "streams.noChildren.children",
      "streams.badRule.events.Placed",
      "streams.badTruncate.truncate",
      "streams.badChild.children.lines",
      "streams.noTable.root",
      "streams.nothing",
      "streams.noFallback.otherwise",
    ])
      expect(message).toContain(place);
  });

  test("every limit has bounds on both sides", () => {
    const { limits } = parseConfig(good, FILE, {});
    for (const name of Object.keys(limits)) {
      for (const value of [-1, 1e12, 1.5, Number.NaN, null, "5"]) {
        const { message } = errorOf({ ...good, limits: { [name]: value } });
        expect(message).toContain(`at limits.${name}`);
      }
    }
  });
});

describe("a config file", () => {
  const folder = (name: string, text: string) => {
    const directory = mkdtempSync(join(tmpdir(), "banyan-config-"));
    const file = join(directory, name);
    writeFileSync(file, text);
    return { file, [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }) };
  };
  const body = `export default defineMigration({
    name: "shop",
    source: { kind: "postgres", url: "postgres://localhost/shop" },
    streams: { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
  });`;
  const imports = 'import { defineMigration, stream, table } from "banyan";';

  test("is TypeScript that imports from banyan, and is read anew each time", async () => {
    using config = folder(
      "banyan.config.ts",
      `${imports}\n${body.replace("name:", "name: <string>")}`,
    );
    expect((await loadConfig(config.file)).name).toBe("shop");
    writeFileSync(config.file, `${imports}\n${body.replace('"shop",', '"other",')}`);
    expect((await loadConfig(config.file)).name).toBe("other");
  });

  test("that is not there is named, with what to do", async () => {
    const missing = join(tmpdir(), "no-such-folder", "banyan.config.ts");
    await expect(loadConfig(missing)).rejects.toMatchObject({
      code: "CONFIG_NOT_FOUND",
      message: expect.stringContaining(missing) as unknown,
      hint: expect.stringContaining("--config") as unknown,
    });
  });

  test.each([
    ["does not parse", "export default {", "cannot be loaded"],
    ["throws", "throw new Error('no orders today')", "no orders today"],
    ["imports what is not there", "import './nowhere.ts'; export default {}", "cannot be loaded"],
    ["exports nothing", "export const config = {}", "exports no defineMigration({ … }) by default"],
  ])("that %s is told to be wrong, with the file and the reason", async (_, text, reason) => {
    using config = folder("banyan.config.ts", text);
    await expect(loadConfig(config.file)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringContaining(reason) as unknown,
    });
    await expect(loadConfig(config.file)).rejects.toThrow(config.file);
  });
});
