import { randomBytes } from "node:crypto";
import { isIP, connect as connectTcp, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { VfioError } from "@vfiokit/core";
import { WireError } from "../../layout/errors.js";
import { hostAndPort, loopbackAddress, type RemoteAddress } from "./address.js";
import { BrokenConnection, FrameSocket } from "./frame-socket.js";
import { failureOf, MAGIC, PROOF_SIZE, SESSION_SIZE, VERSION, type FrameValue } from "./protocol.js";
import { certificateProblem, MIN_TLS, type RemoteSecurity } from "./security.js";
import type { Timing } from "./timing.js";

/** Between two attempts to connect again: twice as long each time. */
const FIRST_DELAY_MS = 100;
const LAST_DELAY_MS = 2000;

/** A connection on which a receiver has welcomed us. */
export interface Link {
  readonly frames: FrameSocket;
  readonly welcome: FrameValue<"WELCOME">;
}

export function newHello(device: string, purpose: number, compression: number): FrameValue<"HELLO"> {
  return {
    magic: MAGIC,
    version: VERSION,
    purpose,
    compression,
    reserved: 0,
    session: randomBytes(SESSION_SIZE),
    proof: new Uint8Array(PROOF_SIZE),
    device,
  };
}

/**
 * Connects and says hello.
 * @throws BrokenConnection; VfioError EACCES: a certificate is not accepted, by us or by the receiver; what the receiver
 * refuses; EPROTO: it is no receiver
 */
export async function openLink(
  address: RemoteAddress,
  security: RemoteSecurity,
  hello: FrameValue<"HELLO">,
  timing: Timing,
): Promise<Link> {
  const where = hostAndPort(address);
  const frames = new FrameSocket(await connect(address, security, timing.hello_ms), "receiver");
  try {
    frames.send("HELLO", hello);
    for (;;) {
      const answer = await frames.read(timing.hello_ms);
      if (!answer) throw new BrokenConnection("ECONNRESET", "it closed the connection without an answer");
      if (answer.frame === "WELCOME") {
        const { version } = answer.value;
        if (version === VERSION) return { frames, welcome: answer.value };
        throw new VfioError("EPROTO", `it speaks version ${version}, and this side ${VERSION}`);
      }
      if (answer.frame === "REFUSED") throw failureOf(answer.value);
      // While the receiver waits for what the last connection began.
      if (answer.frame !== "RECEIVER_ALIVE") throw new VfioError("EPROTO", `${answer.frame} before WELCOME`);
    }
  } catch (error) {
    frames.destroy();
    throw explainRead(error, where);
  }
}

/**
 * Connects again after a connection broke, with pauses that grow.
 * @throws VfioError ETIMEDOUT: not within the time that the receiver waits; what the receiver refuses; an AbortError
 */
export async function reopenLink(
  open: (timing: Timing) => Promise<Link>,
  url: string,
  why: BrokenConnection,
  options: { readonly timing: Timing; readonly resumeWindow_ms: number; readonly signal: AbortSignal },
): Promise<Link> {
  const { timing, resumeWindow_ms, signal } = options;
  const deadline = performance.now() + resumeWindow_ms;
  let last = why;
  for (let delay = 0; ; delay = Math.min(LAST_DELAY_MS, Math.max(FIRST_DELAY_MS, 2 * delay))) {
    const left = deadline - performance.now() - delay;
    if (left <= 0) {
      const text = `${url}: the connection broke (${why.detail}) and could not be made again within`;
      throw new VfioError("ETIMEDOUT", `${text} ${resumeWindow_ms / 1000} s: ${last.detail}`);
    }
    await sleep(delay, undefined, { signal });
    try {
      return await open({ ...timing, hello_ms: Math.min(timing.hello_ms, left) });
    } catch (error) {
      if (!(error instanceof BrokenConnection)) throw error;
      last = error;
    }
  }
}

/** What went wrong while reading: a broken connection, or bytes that no receiver sends. */
export function explainRead(error: unknown, where: string): unknown {
  if (!(error instanceof VfioError)) return error;
  const message = `${where}: ${error.detail}`;
  if (error instanceof BrokenConnection) return new BrokenConnection(error.code, message);
  // What the receiver refuses has its own words.
  return error instanceof WireError || error.code === "EPROTO" ? new VfioError("EPROTO", message) : error;
}

async function connect(address: RemoteAddress, security: RemoteSecurity, limit_ms: number): Promise<Socket> {
  const where = hostAndPort(address);
  const { host, port } = address;
  if (security.kind === "insecure-loopback") {
    const socket = connectTcp({ host: await loopbackAddress(host), port, noDelay: true });
    return connected(socket, "connect", where, limit_ms);
  }
  const { cert, key, ca } = security;
  const socket = connectTls({
    host,
    port,
    cert,
    key,
    ca,
    minVersion: MIN_TLS,
    // RFC 6066: an address is no server name. Node compares the certificate with `host` then.
    ...(isIP(host) === 0 && { servername: host }),
  });
  socket.setNoDelay(true);
  return connected(socket, "secureConnect", where, limit_ms);
}

function connected(socket: Socket, event: string, where: string, limit_ms: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new BrokenConnection("ETIMEDOUT", `${where}: no connection within ${limit_ms / 1000} s`));
    }, limit_ms);
    const fail = (error: Error) => {
      clearTimeout(timer);
      reject(explain(error, where));
    };
    // Both stay: an error that nobody listens for would end the process.
    socket.on("error", fail);
    socket.on("close", () => fail(new BrokenConnection("ECONNRESET", `${where}: it closed the connection`)));
    socket.once(event, () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

function explain(error: NodeJS.ErrnoException, where: string): Error {
  if (error instanceof BrokenConnection) return error;
  const problem = certificateProblem(error.code);
  if (problem !== undefined) {
    const detail = error.code === "ERR_TLS_CERT_ALTNAME_INVALID" ? `: ${error.message}` : "";
    return new VfioError("EACCES", `${where}: the receiver's certificate: ${problem}${detail}`);
  }
  if (error.code === "EPROTO" || error.code?.startsWith("ERR_SSL"))
    return new VfioError("EPROTO", `${where}: no TLS 1.3 server (${error.message.trim()})`);
  return new BrokenConnection("ENOTCONN", `${where}: ${error.message}`);
}
