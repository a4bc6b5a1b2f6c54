import { MemoryEventStore } from "../../../connectors/memory/event-store.ts";
import { serviceStoreContract } from "../../contract/service-store.contract.ts";

serviceStoreContract("memory", async () => {
  const store = new MemoryEventStore();
  let epoch = 0;
  return {
    store,
    async moveTo(stage, share = 0) {
      store.services.put("shop", "order", { stage, share, salt: "s", epoch: ++epoch });
    },
    async reserve(name, ids) {
      for (const { id, bucket } of ids) store.services.reserve("shop", name, id, bucket);
    },
    proposals: async () => store.dual.proposals,
    [Symbol.asyncDispose]: async () => {},
  };
});
