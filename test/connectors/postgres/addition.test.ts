import { expect, test } from "vitest";
import { requireWholeStream } from "../../../connectors/postgres/addition.ts";
import type { ServerFacts } from "../../../connectors/postgres/server-facts.ts";

const serverOf = (version: number): ServerFacts =>
  ({ version, versionText: `${Math.floor(version / 10_000)}.${version % 10_000}` }) as ServerFacts;

test.each([140_018, 150_013, 160_009, 170_005, 170_011, 180_000, 190_002])(
  "a table may join on server %i",
  (version) => {
    expect(() => requireWholeStream(serverOf(version))).not.toThrow();
  },
);

test.each([
  [130_022, "a newer major release"],
  [140_017, "14.18 or later"],
  [150_012, "15.13 or later"],
  [160_000, "16.9 or later"],
  [170_004, "17.5 or later"],
])("server %i could lose its changes, and is to become %s", (version, enough) => {
  expect(() => requireWholeStream(serverOf(version))).toThrow(
    expect.objectContaining({
      code: "SOURCE_NOT_READY",
      hint: expect.stringContaining(`Update the server to ${enough};`) as unknown,
    }),
  );
});
