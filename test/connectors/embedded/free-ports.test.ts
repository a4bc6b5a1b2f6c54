import { expect, test } from "vitest";
import { freePorts } from "../../../connectors/embedded/free-ports.ts";

test("ports that are asked for together are no two alike", async () => {
  const ports = await freePorts(400);
  expect(new Set(ports).size).toBe(400);
});
