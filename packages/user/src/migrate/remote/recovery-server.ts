import { VfioError } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import type { HandOverReport } from "../../admin/index.js";
import type { ReceiverDevice, TargetHandOver } from "./device.js";
import type { SessionSettings } from "./session.js";
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
  peer: string,
  { idle_ms, report }: SessionSettings,
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
      if (frame.frame === "CLIENT_ALIVE") continue;
      if (frame.frame !== "HAND_OVER")
        throw new VfioError("EPROTO", `${frame.frame}: no frame for this moment`);
      frames.write(
        await answer(handOver, frame.value, (step, migration) => {
          const message = step === "activate" ? "the device runs" : "what was loaded is discarded";
          const event = step === "activate" ? "activated" : "discarded";
          report({ event, level: "info", peer, migration, message: `recovery by ${peer}: ${message}` });
        }),
      );
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
  done: (step: "activate" | "discard", id: string) => void,
): Promise<Uint8Array> {
  try {
    const name = nameIn(HandOverStep, "step", step);
    const id = Buffer.compare(migration, NONE) === 0 ? undefined : migrationId(migration);
    if (name === "status") return encodeReport(request, await handOver.status(id));
    if (id === undefined) throw new VfioError("EINVAL", `${name}: names no hand-over`);
    const report = await handOver.step(name, id);
    done(name, id);
    return encodeReport(request, report);
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
