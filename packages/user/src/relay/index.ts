/** Between a vfio-user client that cannot migrate and its server. */

export { Relay, type RelayOptions } from "./relay.js";
