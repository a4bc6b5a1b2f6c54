import { MemoryEventStore } from "../../../connectors/memory/event-store.ts";
import { dualStoreContract } from "../../contract/dual-store.contract.ts";

dualStoreContract("memory", async () => {
  const store = new MemoryEventStore();
  return {
    store,
    note: async (pipeline, writes) => store.dual.note(pipeline, writes),
    propose: async (pipeline, id, proposal) => store.dual.propose(pipeline, id, proposal),
    [Symbol.asyncDispose]: async () => {},
  };
});
