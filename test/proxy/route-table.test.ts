import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readingsOf } from "../../src/proxy/canonical-path.ts";
import { compileRoutes } from "../../src/proxy/route-table.ts";
import { route } from "./proxy-support.ts";

const TABLE = compileRoutes([
  route(["GET"], "/orders", "read"),
  route(["GET"], "/orders/:id", "read", { path: "id" }),
  route(["GET"], "/orders/latest", "read"),
  route(["PUT"], "/orders/:id/*", "write", { path: "id" }),
  route(["GET"], "/orders/:id/lines/:line", "read", { path: "id" }),
  route(["GET"], "/shop/*", "read"),
]);

/** Where a request leads, as text: several when it depends. */
function places(method: string, path: string): readonly string[] {
  return TABLE.match(method, path).map((match) =>
    match === undefined ? "-" : [match.route.path, ...Object.values(match.params)].join(" "),
  );
}

describe("a route is found", () => {
  test.each([
    ["GET", "/orders", "/orders"],
    ["HEAD", "/orders", "/orders"],
    ["GET", "/orders/", "/orders"],
    ["GET", "/ORDERS/A", "/orders/:id A"],
    ["GET", "/orders/latest", "/orders/latest"],
    ["GET", "/orders/a%20b", "/orders/:id a b"],
    ["GET", "/orders/%C3%A9", "/orders/:id é"],
    ["GET", "/orders/1/lines/2", "/orders/:id/lines/:line 1 2"],
    ["GET", "/orders/latest/lines/2", "/orders/:id/lines/:line latest 2"],
    ["PUT", "/orders/1", "/orders/:id/* 1"],
    ["PUT", "/orders/1/a/b/c", "/orders/:id/* 1"],
    ["GET", "/shop", "/shop/*"],
    ["GET", "/shop/a/b", "/shop/*"],
    ["GET", "/", "-"],
    ["GET", "/order", "-"],
    ["GET", "/orders/1/lines", "-"],
    ["POST", "/orders", "-"],
    ["DELETE", "/orders/1", "-"],
  ])("%s %s: %s", (method, path, place) => expect(places(method, path)).toEqual([place]));
});

describe("a path that servers read in different ways leads to each of the places", () => {
  test.each([
    ["/orders%2f1", ["-", "/orders/:id 1"]],
    ["/x/../orders/1", ["-", "/orders/:id 1"]],
    ["/x/%2E%2E/orders/1", ["-", "/orders/:id 1"]],
    ["/./orders/1", ["-", "/orders/:id 1"]],
    ["//orders/1", ["-", "/orders/:id 1"]],
    ["/orders\\1", ["-", "/orders/:id 1"]],
    ["/orders;a/1", ["-", "/orders/:id 1"]],
    ["/orders/1%00", ["/orders/:id 1%00", "/orders/:id 1\0"]],
    ["/orders/1;2", ["/orders/:id 1", "/orders/:id 1;2"]],
    ["/orders/%2531", ["/orders/:id %2531", "/orders/:id %31", "/orders/:id 1"]],
    ["/orders/latest/..", ["-", "/orders"]],
  ])("%s", (path, all) => {
    const found = places("GET", path);
    for (const place of all) expect(found, place).toContain(place);
  });

  test("in no more than some hundred ways, and at a price that is bounded", () => {
    const worst = "/a/%252e%252e/;b//c%255c%2f..\\\\;/%zz/./".repeat(60).slice(0, 256);
    const before = performance.now();
    const readings = readingsOf(worst);
    expect(performance.now() - before).toBeLessThan(1_000);
    expect(readings!.length).toBeLessThan(1_000);
    // A longer one could be anything.
    expect(readingsOf(`${worst}a`)).toBeUndefined();
    expect(TABLE.match("GET", `/orders${worst}a`)).toEqual([]);
    // But one that has no word of a route is none of ours.
    expect(TABLE.match("GET", `${worst}a`)).toEqual([undefined]);
    expect(readingsOf(`/${"a".repeat(9_000)}`)).toHaveLength(1);
  });
});

/** What an application makes of a path: any order of the steps that servers are known to take. */
const STEPS: readonly ((path: string) => string)[] = [
  (path) => path.replaceAll("\\", "/"),
  (path) => path.replaceAll(/\/{2,}/g, "/"),
  (path) => path.replaceAll(/;[^/]*/g, ""),
  (path) => new URL(`http://h${path.replaceAll("?", "%3F").replaceAll("#", "%23")}`).pathname,
  (path) => path.replaceAll(/%2f/gi, "/"),
];

test("no way in which a server reads a path leads past the route that guards an aggregate", () => {
  const piece = fc.constantFrom(
    ..."/ // %2f %2F \\ %5c . .. %2e %2e%2e ; ;x orders Orders order %6frders 1 2 %31 %2531 x".split(
      " ",
    ),
  );
  let runs = 0;
  fc.assert(
    fc.property(
      fc.array(piece, { minLength: 1, maxLength: 8 }).map((parts) => `/${parts.join("")}`),
      fc.shuffledSubarray([...STEPS]),
      (path, steps) => {
        runs++;
        let read = path;
        for (const step of steps) read = step(read);
        const segments = read.split("/").filter((_, i) => i > 0);
        const [word, id, ...more] = segments.map(decoded);
        const isOrder =
          word?.toLowerCase() === "orders" &&
          id !== undefined &&
          id !== "" &&
          id !== "latest" &&
          more.length === 0;
        if (!isOrder || /[/\\;]|^\.{1,2}$/.test(id)) return;
        // That reading is among those that the table tells of.
        expect(places("GET", path)).toContain(`/orders/:id ${id}`);
      },
    ),
    { numRuns: process.env["BANYAN_TEST_BUDGET"] === "nightly" ? 200_000 : 10_000 },
  );
  process.stdout.write(`${runs} paths\n`);
});

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
