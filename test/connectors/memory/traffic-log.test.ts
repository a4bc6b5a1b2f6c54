import { MemoryTrafficLog } from "../../../connectors/memory/traffic-log.ts";
import { trafficLogContract } from "../../contract/traffic-log.contract.ts";

trafficLogContract("memory", () => {
  const log = new MemoryTrafficLog();
  return Promise.resolve({
    log,
    rows: (instance) => Promise.resolve(log.rowsOf(instance)),
    [Symbol.asyncDispose]: () => log.close(),
  });
});
