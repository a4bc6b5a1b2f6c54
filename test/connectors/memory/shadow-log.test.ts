import { MemoryShadowLog } from "../../../connectors/memory/shadow-log.ts";
import { shadowLogContract } from "../../contract/shadow-log.contract.ts";

shadowLogContract("memory", () => {
  const log = new MemoryShadowLog();
  return Promise.resolve({
    log,
    writes: () => Promise.resolve(log.writes),
    samples: () => Promise.resolve(log.samples),
    [Symbol.asyncDispose]: () => log.close(),
  });
});
