import { MigrationState, VfioError } from "@vfiokit/core";
import type { HandOverReport } from "../../admin/index.js";
import type { ReceiverDevice, TargetHandOver } from "./device.js";
import type { FrameSocket } from "./frame-socket.js";
import {
  encodeFrame,
  failure,
  HandOverFlags,
  HandOverOutcome,
  HandOverPhase,
  HandOverStep,
  migrationBytes,
  migrationId,
  nameIn,
  PROOF_SIZE,
  VERSION,
  type FrameValue,
} from "./protocol.js";

const NONE = new Uint8Array(16);

/**
 * Serves a connection that wants to finish a hand-over, until it ends. Steps can be repeated, so there is nothing to
 * continue after it breaks.
 * @throws VfioError what the device answers, or how the other side breaks the protocol
 */
export async function serveRecovery(
  frames: FrameSocket,
  device: ReceiverDevice,
  idle_ms: number,
): Promise<void> {
  const handOver = await device.handOver();
  try {
    frames.send("WELCOME", {
      version: VERSION,
      compression: 0,
      window: 0,
      resumeWindow: 0,
      proof: new Uint8Array(PROOF_SIZE),
      request: 0,
      image: 0,
      taken: 0n,
    });
    for (;;) {
      const frame = await frames.read(idle_ms);
      if (!frame || frame.frame === "BYE") break;
      if (frame.frame === "MOVER_ALIVE") continue;
      if (frame.frame !== "HAND_OVER")
        throw new VfioError("EPROTO", `${frame.frame}: no frame for this moment`);
      frames.write(await answer(handOver, frame.value));
      await frames.room(idle_ms);
    }
    frames.end();
  } finally {
    handOver.close();
  }
}

async function answer(
  handOver: TargetHandOver,
  { request, step, migration }: FrameValue<"HAND_OVER">,
): Promise<Uint8Array> {
  try {
    const name = nameIn(HandOverStep, "step", step);
    const id = Buffer.compare(migration, NONE) === 0 ? undefined : migrationId(migration);
    if (name === "status") return encodeReport(request, await handOver.status(id));
    if (id === undefined) throw new VfioError("EINVAL", `${name}: names no hand-over`);
    return encodeReport(request, await handOver.step(name, id));
  } catch (error) {
    return encodeFrame("FAILED", { request, ...failure(error) });
  }
}

function encodeReport(request: number, report: HandOverReport): Uint8Array {
  return encodeFrame("HAND_OVER_REPORT", {
    request,
    phase: HandOverPhase[report.phase],
    outcome: HandOverOutcome[report.outcome ?? "unknown"],
    flags: report.wasReset ? HandOverFlags.WAS_RESET : 0,
    state: MigrationState[report.state],
    generation: BigInt(report.generation),
    instance: Uint8Array.from(Buffer.from(report.instance, "hex")),
    migration: report.id === undefined ? NONE : migrationBytes(report.id),
  });
}
