import { VfioError } from "@vfiokit/core";
import type { HandOverReport } from "../../admin/index.js";
import { BrokenConnection } from "./frame-socket.js";
import { hostAndPort, parseRemoteUrl } from "./address.js";
import type { TargetHandOver } from "./device.js";
import { explainRead, newHello, openLink, type Link } from "./link.js";
import {
  countOf,
  failureOf,
  HandOverFlags,
  HandOverOutcome,
  HandOverPhase,
  HandOverStep,
  migrationBytes,
  migrationId,
  nameIn,
  Purpose,
  stateOf,
  type FrameValue,
} from "./protocol.js";
import type { RemoteTargetOptions } from "./target-options.js";
import { defaultTiming } from "./timing.js";

/** The part of a device behind a receiver in a hand-over. One step at a time. */
export type RemoteHandOver = TargetHandOver;

/**
 * To finish a hand-over to a device behind a receiver.
 * @throws VfioError as `connectRemoteTarget`; EBUSY: its migration client is still at work; EndpointGoneError: nobody serves the
 *   device, though its receiver is there; ENOTTY: it takes no part in hand-overs
 */
export async function connectRemoteHandOver(
  url: string,
  { security, timing }: Pick<RemoteTargetOptions, "security" | "timing">,
): Promise<RemoteHandOver> {
  const address = parseRemoteUrl(url);
  const { idle_ms, ...rest } = { ...defaultTiming, ...timing };
  const link = await openLink(address, security, newHello(address.device, Purpose.RECOVER, 0), {
    idle_ms,
    ...rest,
  });
  const where = hostAndPort(address);
  let requests = 0;
  const ask = async (step: keyof typeof HandOverStep, id: string | undefined): Promise<HandOverReport> => {
    const request = ++requests;
    const migration = id === undefined ? new Uint8Array(16) : migrationBytes(id);
    link.frames.send("HAND_OVER", { request, step: HandOverStep[step], migration });
    try {
      return await reportOf(link, request, idle_ms);
    } catch (error) {
      throw explainRead(error, where);
    }
  };
  return {
    status: (id) => ask("status", id),
    step: (step, id) => ask(step, id),
    close() {
      link.frames.send("BYE", { flags: 0 });
      link.frames.end();
    },
  };
}

async function reportOf({ frames }: Link, request: number, idle_ms: number): Promise<HandOverReport> {
  for (;;) {
    const frame = await frames.read(idle_ms);
    if (!frame) throw new BrokenConnection("ECONNRESET", "it closed the connection");
    if (frame.frame === "RECEIVER_ALIVE") continue;
    if (frame.frame === "FAILED" || frame.frame === "REFUSED") throw failureOf(frame.value);
    if (frame.frame === "HAND_OVER_REPORT" && frame.value.request === request) return decoded(frame.value);
    throw new VfioError("EPROTO", `${frame.frame}: no answer to HAND_OVER ${request}`);
  }
}

function decoded(report: FrameValue<"HAND_OVER_REPORT">): HandOverReport {
  const outcome = nameIn(HandOverOutcome, "outcome", report.outcome);
  return {
    phase: nameIn(HandOverPhase, "phase", report.phase),
    ...(report.migration.some((byte) => byte !== 0) && { id: migrationId(report.migration) }),
    wasReset: (report.flags & HandOverFlags.WAS_RESET) !== 0,
    ...(outcome !== "unknown" && { outcome }),
    state: stateOf(report.state),
    generation: countOf("generation", report.generation),
    instance: Buffer.from(report.instance).toString("hex"),
  };
}
