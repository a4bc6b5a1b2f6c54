import { openTestStore } from "./event-store-fixture.ts";
import { reverseStoreContract } from "../../contract/reverse-store.contract.ts";

reverseStoreContract("Postgres", () => openTestStore("reverse_store"));
