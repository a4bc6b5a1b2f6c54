import { openServiceStore } from "./service-store-fixture.ts";
import { serviceStoreContract } from "../../contract/service-store.contract.ts";

serviceStoreContract("postgres", () => openServiceStore("services"));
