import { VfioError } from "@vfiokit/core";
import type { SavedImage } from "../migrate/index.js";
import { LocalEnd } from "../migrate/local-end.js";
import { clientOf } from "./link-client.js";
import { copyState } from "./snapshot.js";
import type { Session } from "./session.js";

/** What was saved of a device behind a relay. */
export interface SavedBehind extends SavedImage {
  readonly pieces: readonly Uint8Array[];
}

/**
 * Saves the device of a session, whose client goes on afterwards. The image is kept in memory: the client does not wait for
 * whoever writes it down.
 * @throws VfioError EMSGSIZE: it is too large for that; EOPNOTSUPP: the device has no state; EBUSY: there is no server
 */
export async function saveBehind(session: Session): Promise<SavedBehind> {
  const { link } = session;
  if (!link) throw new VfioError("EBUSY", "the relay is looking for another server");
  const end = LocalEnd.over(link.path, clientOf(link), undefined);
  const { identity, flags, state } = await end.describe();
  if (flags === 0)
    throw new VfioError("EOPNOTSUPP", `${link.path}: the device cannot be saved: it declares no state`);
  if (state !== "RUNNING")
    throw new VfioError("EBUSY", `${link.path}: the device is in ${state}: its client migrates it`);
  const { pieces, size, paused_ms } = await copyState(session, link);
  return { identity, bytes: size, paused_ms, pieces };
}
