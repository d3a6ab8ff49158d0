import { pciSerial } from "./cards.js";
import { serialCardScenarios } from "./serial-scenarios.js";

serialCardScenarios(pciSerial);
