import { isIP } from "node:net";
import { z } from "zod";
import { isLoopback, parseAddress, type Address } from "../proxy/listen-address.ts";
import { parseNetwork } from "../proxy/forwarded-headers.ts";
import { hasParameter, problemOfPattern, shapeOf } from "../proxy/route-table.ts";
import type { ProxySettings } from "../proxy/settings.ts";
import { isPlace } from "../verify/answer-place.ts";

/** Longest list of routes. */
const ROUTES_MAX = 1_000;
const TOKEN_LENGTH_MIN = 16;
/** Places of one normaliser. */
const PLACES_MAX = 200;

/** The shape of `proxy` in a config. @param secret a text, or a reference to the environment */
export function proxySchema(secret: z.ZodType<string>) {
  return z
    .strictObject({
      listen: addressSchema,
      admin: z
        .strictObject({
          listen: addressSchema,
          token: secret.pipe(z.string().min(TOKEN_LENGTH_MIN)).optional(),
        })
        .refine(({ listen, token }) => token !== undefined || isLoopback(listen.host), {
          path: ["token"],
          error: 'is needed on an address that others can reach: env("BANYAN_ADMIN_TOKEN")',
        })
        .optional(),
      upstreams: z.strictObject({ legacy: upstreamSchema(secret), new: upstreamSchema(secret) }),
      routes: z.array(routeSchema).max(ROUTES_MAX).superRefine(refuseDoubles),
      trusted: z
        .array(z.string().refine((text) => parseNetwork(text) !== undefined, NETWORK))
        .default([]),
      accessLog: z.string().min(1).optional(),
      shadow: shadowSchema.prefault({}),
    })
    .superRefine(({ routes, shadow }, context) => {
      for (const { path, place } of pathsOf(shadow)) {
        if (path === undefined || routes.some((one) => one.path === path)) continue;
        context.addIssue({
          code: "custom",
          path: ["shadow", ...place],
          message: "is the path of none of the routes",
        });
      }
    });
}

export type ParsedProxy = z.output<ReturnType<typeof proxySchema>>;

/** @param resolve makes a path from the folder of the config */
export function proxySettings(
  parsed: ParsedProxy,
  resolve: (path: string) => string,
): ProxySettings {
  const { routes, accessLog, ...rest } = parsed;
  return {
    ...rest,
    routes: routes.map(({ method, ...route }) => ({ ...route, methods: listOf(method) })),
    accessLog: accessLog && resolve(accessLog),
  };
}

const NETWORK = "must be an address or a network, as 10.0.0.0/8";

const addressSchema = z.string().transform((text, context): Address => {
  const address = parseAddress(text);
  if (address !== undefined) return address;
  context.addIssue("must be host:port, as 127.0.0.1:8080 or [::1]:8080");
  return z.NEVER;
});

function upstreamSchema(secret: z.ZodType<string>) {
  return z.strictObject({
    url: secret.refine(isOrigin, "must be http://host:port or https://name:port, without a path"),
    connectionsMax: z.int().min(1).max(10_000).default(512),
    connectMsMax: z.int().min(10).max(60_000).default(2_000),
    responseMsMax: z.int().min(10).max(3_600_000).default(30_000),
    idleMsMax: z.int().min(10).max(86_400_000).default(300_000),
    healthPath: z
      .string()
      .regex(/^\/[!-~]*$/, "must be a path")
      .optional(),
    healthEveryMs: z.int().min(50).max(600_000).default(5_000),
  });
}

const METHOD = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const NAME = z.string().min(1).max(100);
const HEADER_NAME = NAME.regex(/^[\w-]+$/);
const FIELD = NAME.regex(/^[^.]+(?:\.[^.]+)*$/, "must be a name, or names with dots between");

const routeSchema = z
  .strictObject({
    method: z.union([METHOD, z.array(METHOD).min(1)]),
    path: z.string().superRefine((path, context) => {
      const problem = problemOfPattern(path);
      if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
    }),
    stream: z.string().min(1),
    kind: z.enum(["read", "write", "create"]),
    id: z
      .union([
        z.strictObject({ path: NAME }),
        z.strictObject({ query: NAME }),
        z.strictObject({ header: HEADER_NAME }),
        z.strictObject({ json: FIELD }),
      ])
      .optional(),
    idForm: z.enum(["text", "integer", "uuid", "key"]).default("text"),
    created: z
      .union([z.strictObject({ json: FIELD }), z.strictObject({ header: HEADER_NAME })])
      .optional(),
  })
  .superRefine(({ path, kind, id, method, created }, context) => {
    const add = (place: string, message: string): void => {
      context.addIssue({ code: "custom", path: [place], message });
    };
    if (created !== undefined && kind !== "create")
      add("created", "is for creations: nothing is made by any other kind");
    if (id === undefined) {
      if (kind === "write") add("id", "is needed: a write must say which aggregate it is about");
    } else if ("path" in id) {
      if (!hasParameter(path, id.path))
        add("id", `names :${id.path}, which the path does not have`);
    } else if ("json" in id && listOf(method).some((name) => name === "GET" || name === "HEAD")) {
      add("id", "cannot be in a body that GET and HEAD do not have");
    }
  });

const placeSchema = z
  .string()
  .max(500)
  .refine(isPlace, "must be a place in an answer, as lines[].id or (header etag)");

const normaliserSchema = z.strictObject({
  path: z.string().optional(),
  ignore: z.array(placeSchema).max(PLACES_MAX).default([]),
  unordered: z.array(placeSchema).max(PLACES_MAX).default([]),
  tolerances: z.record(placeSchema, z.number().min(0)).default({}),
  timestampsWithinMs: z.record(placeSchema, z.number().min(0).max(86_400_000)).default({}),
});

const shadowSchema = z.strictObject({
  reads: z.number().min(0).max(1).default(1),
  noise: z.number().min(0).max(1).default(0.02),
  timeoutMs: z.int().min(10).max(60_000).default(5_000),
  connectionsMax: z.int().min(1).max(1_000).default(64),
  bodyBytesMax: z.int().min(1_024).max(16_777_216).default(1_048_576),
  headers: z
    .array(NAME.regex(/^[\w-]+$/))
    .max(100)
    .default([]),
  showValues: z.boolean().default(false),
  except: z.array(z.string()).max(ROUTES_MAX).default([]),
  normalise: z.array(normaliserSchema).max(ROUTES_MAX).default([]),
});

function pathsOf({ except, normalise }: z.output<typeof shadowSchema>): readonly {
  readonly path: string | undefined;
  readonly place: readonly (string | number)[];
}[] {
  return [
    ...except.map((path, at) => ({ path, place: ["except", at] })),
    ...normalise.map(({ path }, at) => ({ path, place: ["normalise", at, "path"] })),
  ];
}

/** Two routes for the same requests: which of them counts would depend on their order. */
function refuseDoubles(
  routes: readonly { readonly method: string | readonly string[]; readonly path: string }[],
  context: z.core.$RefinementCtx,
): void {
  const seen = new Map<string, number>();
  for (const [at, { method, path }] of routes.entries()) {
    for (const name of listOf(method)) {
      const key = `${name} ${shapeOf(path)}`;
      const before = seen.get(key);
      if (before === undefined) seen.set(key, at);
      else
        context.addIssue({
          code: "custom",
          path: [at, "path"],
          message: `is the ${name} of route ${before} again`,
        });
    }
  }
}

function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname, search, hash, username, password } = new URL(text);
  const isBare =
    pathname === "/" && search === "" && hash === "" && username === "" && password === "";
  // A certificate is asked for by name.
  const isNamed = protocol === "https:" && isIP(hostname.replaceAll(/[[\]]/g, "")) === 0;
  return isBare && (protocol === "http:" || isNamed);
}

function listOf(method: string | readonly string[]): readonly string[] {
  return typeof method === "string" ? [method] : method;
}
