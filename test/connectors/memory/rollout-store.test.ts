import { MemoryRolloutStore } from "../../../connectors/memory/rollout-store.ts";
import type { ProxyNote } from "../../../src/rollout/rollout-store.ts";
import { rolloutStoreContract } from "../../contract/rollout-store.contract.ts";

rolloutStoreContract("memory", () => {
  const store = new MemoryRolloutStore();
  const proxies: ProxyNote[] = [];
  return Promise.resolve({
    store,
    endHold: (type, epoch) => Promise.resolve(store.endHold(type, epoch)),
    putProxy: (type, instance, epoch, ageMs) => {
      proxies.push({ instance, place: "test", epoch, knows: epoch, ageMs });
      return Promise.resolve(store.putProxies(type, proxies));
    },
    [Symbol.asyncDispose]: () => store.close(),
  });
});
