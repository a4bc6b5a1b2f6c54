import { MemoryRolloutState } from "../../../connectors/memory/rollout-state.ts";
import { rolloutStateContract } from "../../contract/rollout-state.contract.ts";

rolloutStateContract("memory", () => {
  const state = new MemoryRolloutState();
  return Promise.resolve({
    state,
    put: (type, rollout) => Promise.resolve(state.put(type, rollout)),
    acknowledged: (instance) => Promise.resolve(state.acknowledged(instance) ?? new Map()),
    addStream: (stream) => Promise.resolve(state.addStream(stream)),
    [Symbol.asyncDispose]: () => state.close(),
  });
});
