import { VfioError } from "@vfiokit/core";
import {
  connectRemoteHandOver,
  EndpointGoneError,
  isRemoteUrl,
  localSide,
  recover,
  type RecoveryAction,
  type RecoverySide,
  type RemoteHandOver,
} from "@vfiokit/user";
import { CommandError } from "../errors.js";
import { out } from "../output.js";
import { remoteSecurity, type TlsOptions } from "../shared/tls-options.js";
import type { Ends } from "./ends.js";

/** Who runs the device after it. */
const outcomes: Readonly<Record<RecoveryAction["runs"], (ends: Ends) => string>> = {
  source: ({ from }) => `${from} runs`,
  target: ({ to }) => `${to} runs`,
  unchanged: () => "nothing to recover",
  neither: () => "neither runs it",
  undecided: () => "undecided",
};

/**
 * Finishes a migration that was left in the middle, one way or the other.
 * @throws CommandError: neither side runs the device now, or nobody can tell; VfioError: a step failed
 */
export async function recoverEnds(ends: Ends, options: TlsOptions, json: boolean): Promise<void> {
  const { from, to } = ends;
  const target = isRemoteUrl(to) ? remoteSide(to, options) : localSide(to);
  const { id, steps, runs, message } = await recover(localSide(from), target);
  const headline = outcomes[runs](ends);
  if (json) out.json({ event: "recovered", id, runs, steps, message });
  else
    out.lines([
      `${headline}: ${message}`,
      ...steps.map(({ side, step }) => `  ${side === "source" ? from : to}: ${step}`),
    ]);
  if (runs === "neither" || runs === "undecided") throw new CommandError(headline);
}

/** A device behind a receiver. Each request has a connection of its own: there are few. */
function remoteSide(url: string, options: TlsOptions): RecoverySide {
  const security = remoteSecurity(options);
  const ask = async <T>(request: (handOver: RemoteHandOver) => Promise<T>): Promise<T> => {
    const handOver = await connectRemoteHandOver(url, { security });
    try {
      return await request(handOver);
    } finally {
      handOver.close();
    }
  };
  return {
    name: url,
    async state(id) {
      try {
        return { kind: "answers", name: url, report: await ask((handOver) => handOver.status(id)) };
      } catch (error) {
        if (error instanceof EndpointGoneError) return { kind: "gone", name: url };
        if (error instanceof VfioError) return { kind: "unreachable", name: url, why: error.message };
        throw error;
      }
    },
    step: (step, id) => {
      if (step === "take-back") throw new VfioError("EINVAL", `${url}: a receiver's device is no source`);
      return ask((handOver) => handOver.step(step, id));
    },
  };
}
