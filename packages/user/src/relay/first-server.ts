import { VfioError } from "@vfiokit/core";
import { shapeOf, type DeviceShape } from "./compare.js";
import type { ServerLink } from "./server-link.js";

/** The server that a client of the relay begins with, and what the client will be told of its device. */
export interface FirstServer {
  readonly link: ServerLink;
  readonly shape: DeviceShape;
}

/**
 * What `connecting` leads to, within `limit` milliseconds. A server that answers too late is closed.
 * @throws VfioError ETIMEDOUT; what `connecting` throws
 */
export async function firstServer(connecting: Promise<ServerLink>, limit: number): Promise<FirstServer> {
  const opening = ask(connecting);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      opening.then(
        ({ link }) => link.close(),
        () => undefined,
      );
      reject(new VfioError("ETIMEDOUT", `the server has not answered within ${limit} ms`));
    }, limit);
  });
  try {
    return await Promise.race([opening, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function ask(connecting: Promise<ServerLink>): Promise<FirstServer> {
  const link = await connecting;
  try {
    return { link, shape: await shapeOf(link) };
  } catch (error) {
    link.close();
    throw error;
  }
}
