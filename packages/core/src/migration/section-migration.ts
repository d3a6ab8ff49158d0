import { VfioError } from "../errno.js";
import { MigrationFlags, MigrationState, migrationStateName } from "./fsm.js";
import type { Generation } from "./machine.js";
import type { MigrationOps } from "./ops.js";
import type { StateSections } from "./sections.js";
import { DataSession } from "./session.js";

/** What a migration does to the function itself. */
export interface MigratingDevice extends Generation {
  stopFunction(): void;
  runFunction(): void;
}

/** Migration of a device that declares its state as sections: what `PciDevice` uses. */
export class SectionMigration implements MigrationOps {
  readonly flags = MigrationFlags.STOP_COPY;

  constructor(
    private readonly device: MigratingDevice,
    private readonly identity: { readonly id: { readonly vendor: number; readonly device: number } },
    private readonly state: StateSections,
  ) {}

  migrationSetState(from: MigrationState, to: MigrationState): DataSession | undefined {
    void this.identity;
    void this.state;
    if (to === MigrationState.STOP && from === MigrationState.RUNNING) this.device.stopFunction();
    if (to === MigrationState.RUNNING) this.device.runFunction();
    if (to === MigrationState.STOP_COPY || to === MigrationState.RESUMING) {
      throw new VfioError("EINVAL", `${migrationStateName(to)}: streams come with the next commit`);
    }
    return undefined;
  }

  migrationGetDataSize(): number {
    return 0;
  }

  migrationResetState(): void {
    this.device.runFunction();
  }
}
