import { MemoryEventStore } from "../../../connectors/memory/event-store.ts";
import { reverseStoreContract } from "../../contract/reverse-store.contract.ts";

reverseStoreContract("memory", async () => ({
  store: new MemoryEventStore(),
  [Symbol.asyncDispose]: async () => {},
}));
