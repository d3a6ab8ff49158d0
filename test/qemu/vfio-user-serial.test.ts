import { vfioUserSerial } from "./cards.js";
import { serialCardScenarios } from "./serial-scenarios.js";

serialCardScenarios(vfioUserSerial);
