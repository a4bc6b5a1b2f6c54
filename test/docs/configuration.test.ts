import { expect, test } from "vitest";
import { z } from "zod";
import { page, section, tableRows } from "./markdown.ts";
import { configSchema, parseConfig } from "../../src/config/load-config.ts";
import { stream, table } from "../../src/mapping/rules.ts";

/** The parts of a JSON schema that the page tells. */
interface Schema {
  readonly type?: string;
  readonly const?: string;
  readonly default?: unknown;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly oneOf?: readonly Schema[];
}

interface Key {
  readonly fallback: string;
  readonly bounds: string;
}

test("the page lists every key with its default and its bounds, and no other", () => {
  const schema = z.toJSONSchema(configSchema({}), {
    io: "input",
    unrepresentable: "any",
  }) as Schema;
  const program = Object.fromEntries(keysOf("", schema));
  const rows = tableRows(section(page("docs/2-configuration.md"), "Keys").body);
  const documented = Object.fromEntries(
    rows.map(([key, , fallback, bounds]) => [
      plain(key!),
      { fallback: plain(fallback!), bounds: plain(bounds!) },
    ]),
  );
  expect(documented).toEqual(program);
});

test("slot and publication have the defaults that the page names", () => {
  const streams = { order: stream(table("orders"), { otherwise: "OrderAmended" }) };
  const config = { name: "Shop", source: { kind: "postgres", url: "postgres://h/d" }, streams };
  expect(parseConfig(config, "/x/banyan.config.ts", {}).source).toMatchObject({
    slot: "banyan_shop",
    publication: "banyan_shop",
  });
});

function keysOf(prefix: string, schema: Schema): [string, Key][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]): [string, Key][] => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    if (property.properties !== undefined) return keysOf(path, property);
    if (property.oneOf === undefined) {
      const required = schema.required?.includes(name) === true;
      return [
        [path, { fallback: defaultOf(path, property, required), bounds: boundsOf(property) }],
      ];
    }
    // One key decides which of the others there are; its default stands beside them all.
    const chosen = property.default as Readonly<Record<string, unknown>>;
    const all = property.oneOf.flatMap((one) => keysOf(path, one));
    return all.map(([key, value]): [string, Key] => {
      const own = chosen[key.slice(path.length + 1)];
      return [key, own === undefined ? value : { ...value, fallback: JSON.stringify(own) }];
    });
  });
}

function defaultOf(path: string, { default: value }: Schema, required: boolean): string {
  if (required) return "required";
  if (value !== undefined) return JSON.stringify(value);
  // Made from the name when the config is loaded.
  return path.startsWith("source.") ? "banyan_<name>" : "none";
}

function boundsOf(schema: Schema): string {
  const { pattern, minLength, maxLength, minimum, maximum } = schema;
  if (pattern !== undefined) return pattern;
  if (minimum !== undefined) return `${minimum} to ${maximum}`;
  if (maxLength !== undefined) return `${minLength} to ${maxLength} characters`;
  return minLength === undefined ? "" : `at least ${minLength} character`;
}

function plain(cell: string): string {
  return cell.replaceAll("`", "");
}
