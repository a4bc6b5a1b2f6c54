import { MemoryRolloutState } from "../../../connectors/memory/rollout-state.ts";
import { rolloutStateContract } from "../../contract/rollout-state.contract.ts";

rolloutStateContract("memory", () => {
  const state = new MemoryRolloutState();
  return Promise.resolve({
    state,
    put: (type, rollout) => Promise.resolve(state.put(type, rollout)),
    [Symbol.asyncDispose]: () => state.close(),
  });
});
