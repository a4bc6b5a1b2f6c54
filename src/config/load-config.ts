import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createJiti } from "jiti";
import { z } from "zod";
import type { EnvironmentReference } from "./define-migration.ts";
import { dualSchema, refuseUnknownRoles } from "./dual-schema.ts";
import { proxySchema, proxySettings } from "./proxy-schema.ts";
import { rolloutSchema } from "./rollout-schema.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { BanyanError } from "../model/errors.ts";
import type { PaceLimits } from "../pipeline/chunk-pace.ts";
import type { TailLimits } from "../pipeline/tail.ts";
import type { ProxySettings, RouteSettings } from "../proxy/settings.ts";
import type { RolloutSettings } from "../rollout/settings.ts";
import type { DualSettings } from "../verify/dual/settings.ts";

/** A config as the rest of the program sees it: checked, with defaults, secrets resolved. */
export interface LoadedConfig {
  readonly file: string;
  /** Folder of the config file; relative paths in it are meant from there. */
  readonly directory: string;
  readonly name: string;
  readonly source: {
    readonly kind: "postgres";
    readonly url: string;
    readonly slot: string;
    readonly publication: string;
  };
  readonly store:
    | { readonly kind: "embedded"; readonly directory: string }
    | { readonly kind: "postgres"; readonly url: string };
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly limits: TailLimits & PaceLimits;
  /** The way back into the legacy rows. Undefined when it was not asked for. */
  readonly reverse: { readonly url: string } | undefined;
  /** Undefined also when it was not asked for. */
  readonly proxy: ProxySettings | undefined;
  readonly dual: DualSettings;
  /** Of the proxy, also when nothing else of it was asked for; none without a proxy. */
  readonly routes: readonly RouteSettings[];
  readonly rollout: RolloutSettings;
}

export interface LoadOptions {
  /**
   * Whether the proxy is wanted, with its secrets. Its shape is checked in any case; who runs another command
   * need not have what only the proxy needs.
   */
  readonly withProxy?: boolean;
  /** Likewise for the way back into the legacy rows, whose role may write. */
  readonly withReverse?: boolean;
}

export const CONFIG_NAMES = ["banyan.config.ts", "banyan.config.mjs", "banyan.config.js"] as const;

/**
 * Loads a config file.
 *
 * @param path as given by `--config`; undefined looks for `banyan.config.ts` in the working folder
 * @throws BanyanError `CONFIG_NOT_FOUND` · `CONFIG_INVALID` listing every problem with its path
 */
export async function loadConfig(
  path: string | undefined,
  options: LoadOptions = {},
): Promise<LoadedConfig> {
  const file = findConfig(path);
  const self = fileURLToPath(import.meta.url);
  const index = resolve(dirname(self), self.endsWith(".ts") ? "../index.ts" : "../index.js");
  let exported: unknown;
  try {
    // A config imports from "banyan"; that is always this very program, wherever it is installed.
    const jiti = createJiti(import.meta.url, { alias: { banyan: index }, moduleCache: false });
    exported = await jiti.import(file, { default: true });
  } catch (cause) {
    throw new BanyanError("CONFIG_INVALID", `${file} cannot be loaded: ${reasonOf(cause, file)}`, {
      cause,
      hint: "Correct the file; it must export a defineMigration({ … }) by default",
    });
  }
  // Without a default export the loader gives all that there is.
  if (!isRecord(exported) || REQUIRED.every((key) => !(key in exported))) {
    throw new BanyanError(
      "CONFIG_INVALID",
      `${file} exports no defineMigration({ … }) by default`,
      {
        hint: "Begin it with: export default defineMigration({",
      },
    );
  }
  return parseConfig(exported, file, process.env, options);
}

const REQUIRED = ["name", "source", "streams"];

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** What the loader says, without its own files; and where in the config, when it only knows what. */
function reasonOf(cause: unknown, file: string): string {
  if (!(cause instanceof Error)) return String(cause);
  const message = cause.message.split("\nRequire stack:")[0]!;
  // The place of an import is not that in the file. A syntax error has its place in the message.
  if ("code" in cause || message.includes(dirname(file))) return message;
  const place = (cause.stack ?? "")
    .split("\n")
    .map((line) => /(\/[^()]+:\d+:\d+)\)?$/.exec(line)?.[1])
    .find((at) => at?.startsWith(dirname(file)) === true && !at.includes("/node_modules/"));
  return place === undefined ? message : `${message} (${place})`;
}

/** @throws BanyanError `CONFIG_INVALID` */
export function parseConfig(
  exported: unknown,
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
  { withProxy = false, withReverse = false }: LoadOptions = {},
): LoadedConfig {
  const parsed = configSchema(environment, withProxy, withReverse).safeParse(exported);
  if (!parsed.success) {
    throw new BanyanError("CONFIG_INVALID", `${file}:\n${z.prettifyError(parsed.error)}`, {
      hint: "See docs/2-configuration.md",
    });
  }
  const { name, source, store, streams, limits, proxy, dual, reverse, rollout } = parsed.data;
  const directory = dirname(file);
  const settings =
    proxy === undefined ? undefined : proxySettings(proxy, (path) => resolve(directory, path));
  return {
    file,
    directory,
    name,
    source: {
      ...source,
      slot: source.slot ?? `banyan_${name.toLowerCase()}`,
      publication: source.publication ?? `banyan_${name.toLowerCase()}`,
    },
    store:
      store.kind === "embedded"
        ? { kind: "embedded", directory: resolve(directory, store.directory) }
        : store,
    streams: streams as unknown as Readonly<Record<string, StreamRef>>,
    limits,
    reverse: withReverse ? { url: reverse?.url ?? source.url } : undefined,
    proxy: withProxy ? settings : undefined,
    routes: settings?.routes ?? [],
    rollout,
    dual,
  };
}

function findConfig(path: string | undefined): string {
  const candidates = path === undefined ? CONFIG_NAMES : [path];
  const isFile = (name: string): boolean =>
    statSync(name, { throwIfNoEntry: false })?.isFile() === true;
  const found = candidates.map((name) => resolve(name)).find(isFile);
  if (found !== undefined) return found;
  throw new BanyanError(
    "CONFIG_NOT_FOUND",
    path === undefined
      ? `there is no ${CONFIG_NAMES[0]} in ${process.cwd()}`
      : `there is no file ${resolve(path)}`,
    { hint: "Name the config with --config FILE, or write one: see docs/1-getting-started.md" },
  );
}

/**
 * The shape of a config.
 *
 * @param environment where `env()` looks
 * @param withProxy whether it looks there for the proxy too
 * @param withReverse whether it looks there for the way back too
 */
export function configSchema(
  environment: Readonly<Record<string, string | undefined>>,
  withProxy = true,
  withReverse = true,
) {
  const written = z.union([
    z.string(),
    z.strictObject({ env: z.string().min(1), fallback: z.string().optional() }),
  ]);
  const secret = written.transform((value, context) =>
    resolveSecret(value, environment, context.issues),
  );
  const unread = written.transform((value) => (typeof value === "string" ? value : UNREAD));
  const postgresUrl = secret.pipe(
    z.url({
      protocol: /^postgres(ql)?$/,
      error: "must be a URL like postgres://user@host:5432/database",
    }),
  );
  const identifier = z
    .string()
    .regex(/^[a-z0-9_]{1,63}$/, "must be 1 to 63 lower-case letters, digits and underscores");
  return z
    .strictObject({
      name: z
        .string()
        .regex(
          /^[a-zA-Z][a-zA-Z0-9_]{0,39}$/,
          "must be a letter, then up to 39 letters, digits and underscores",
        ),
      source: z.strictObject({
        kind: z.literal("postgres"),
        url: postgresUrl,
        slot: identifier.optional(),
        publication: z.string().min(1).max(63).optional(),
      }),
      store: z
        .discriminatedUnion("kind", [
          z.strictObject({
            kind: z.literal("embedded"),
            directory: z.string().min(1).default(".banyan/store"),
          }),
          z.strictObject({ kind: z.literal("postgres"), url: postgresUrl }),
        ])
        .prefault({ kind: "embedded" }),
      streams: z
        .record(z.string(), streamSchema)
        .refine((streams) => Object.keys(streams).length > 0, "must name at least one stream"),
      limits: z
        .strictObject({
          batchChangesMax: z.int().min(1).max(100_000).default(20_000),
          batchBytesMax: z
            .int()
            .min(65_536)
            .max(1_073_741_824)
            .default(16 * 1024 * 1024),
          lingerMs: z.int().min(0).max(10_000).default(5),
          transactionChangesMax: z.int().min(1).max(1_000_000).default(50_000),
          transactionBytesMax: z
            .int()
            .min(65_536)
            .max(1_073_741_824)
            .default(32 * 1024 * 1024),
          idleMs: z.int().min(50).max(60_000).default(1_000),
          baselineChunkRowsMax: z.int().min(1).max(1_000_000).default(100_000),
          baselineSessionsMax: z.int().min(1).max(100_000).default(50),
          baselineLagSecondsMax: z.int().min(1).max(86_400).default(60),
          baselineSlowdownMax: z.number().min(0.01).max(1).default(0.1),
        })
        .prefault({}),
      reverse: z.strictObject({ url: withReverse ? postgresUrl : unread }).optional(),
      proxy: proxySchema(withProxy ? secret : unread).optional(),
      dual: dualSchema.prefault({}),
      rollout: rolloutSchema,
    })
    .superRefine(({ streams, proxy, dual }, context) => {
      refuseUnknownRoles(dual, streams, context);
      for (const [at, { stream }] of (proxy?.routes ?? []).entries()) {
        if (Object.hasOwn(streams, stream)) continue;
        const message = `is none of the streams: ${Object.keys(streams).join(", ")}`;
        context.addIssue({ code: "custom", path: ["proxy", "routes", at, "stream"], message });
      }
    });
}

/** Stands for a secret of the proxy that nobody reads: good for an upstream and for a token. */
const UNREAD = "http://not-read.invalid";

const tableSchema = z.looseObject({ name: z.string().min(1) });

/** What `stream(…)` makes; the mapping checks what it says. */
const streamSchema = z.looseObject({
  root: tableSchema,
  children: z.record(
    z.string(),
    z.looseObject({ table: tableSchema, parent: z.record(z.string(), z.string()) }),
  ),
  events: z.record(
    z.string(),
    z.looseObject({ on: z.enum(["insert", "update", "delete"]), table: tableSchema }),
  ),
  otherwise: z.string().min(1),
  truncate: z.enum(["refuse", "events"]),
});

function resolveSecret(
  value: string | { env: string; fallback?: string | undefined } | EnvironmentReference,
  environment: Readonly<Record<string, string | undefined>>,
  issues: z.core.$ZodRawIssue[],
): string {
  if (typeof value === "string") return value;
  // Set to nothing, as a compose file does, is not set.
  const found = environment[value.env] || value.fallback;
  if (found !== undefined && found !== "") return found;
  issues.push({
    code: "custom",
    message: `the environment variable ${value.env} is not set`,
    input: value,
  });
  return "postgres://missing/";
}
