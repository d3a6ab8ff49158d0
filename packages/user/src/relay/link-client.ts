import { capabilityDefaults } from "../wire/index.js";
import { ClientMigration } from "../client/migration.js";
import type { MigratingClient } from "../migrate/local-end.js";
import type { ServerLink } from "./server-link.js";

/** A link as the migration client uses a client. The relay ends its links itself: `close` does nothing. */
export function clientOf(link: ServerLink): MigratingClient {
  const { max_data_xfer_size } = link.capabilities;
  return {
    migration: new ClientMigration({
      command: (command, payload) => link.call(command, payload),
      maxTransfer: () => max_data_xfer_size ?? capabilityDefaults.max_data_xfer_size,
    }),
    async regionRead(region, offset, into) {
      const request = { region, offset: BigInt(offset), count: into.length };
      const { data } = await link.call("REGION_READ", request);
      into.set(data.subarray(0, into.length));
      return data.length;
    },
    async reset() {
      await link.call("DEVICE_RESET", {});
    },
    close: () => undefined,
  };
}
