import { MemoryEventStore } from "../../../connectors/memory/event-store.ts";
import { parityStoreContract } from "../../contract/parity-store.contract.ts";

parityStoreContract("memory", async () => ({
  store: new MemoryEventStore(),
  [Symbol.asyncDispose]: async () => {},
}));
