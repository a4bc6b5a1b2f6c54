import { MemoryEventStore } from "../../../connectors/memory/event-store.ts";
import { eventStoreContract } from "../../contract/event-store.contract.ts";

eventStoreContract("memory", async () => ({
  store: new MemoryEventStore(),
  [Symbol.asyncDispose]: async () => {},
}));
