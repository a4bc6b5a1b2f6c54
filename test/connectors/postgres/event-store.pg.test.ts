import { eventStoreContract } from "../../contract/event-store.contract.ts";
import { openTestStore } from "./event-store-fixture.ts";

eventStoreContract("postgres", () => openTestStore("contract"));
