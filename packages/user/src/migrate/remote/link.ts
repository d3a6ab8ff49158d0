import { randomBytes } from "node:crypto";
import { isIP, connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { VfioError, type ErrnoName } from "@vfiokit/core";
import { WireError } from "../../wire/errors.js";
import { hostAndPort, loopbackAddress, type RemoteAddress } from "./address.js";
import { FrameSocket } from "./frame-socket.js";
import { failureOf, MAGIC, PROOF_SIZE, SESSION_SIZE, VERSION, type FrameValue } from "./protocol.js";
import { certificateProblem, MIN_TLS, type RemoteSecurity } from "./security.js";
import type { Timing } from "./timing.js";

/** The connection could not be made, or broke: it may work another time. */
export class BrokenLink extends VfioError {
  constructor(message: string, code: ErrnoName = "ENOTCONN") {
    super(code, message);
  }
}

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
 * @throws BrokenLink; VfioError EACCES: a certificate is not accepted, by us or by the receiver; what the receiver
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
      if (!answer) throw new BrokenLink(`${where}: it closed the connection without an answer`, "ECONNRESET");
      if (answer.frame === "WELCOME") {
        const { version } = answer.value;
        if (version === VERSION) return { frames, welcome: answer.value };
        throw new VfioError("EPROTO", `${where}: it speaks version ${version}, and this side ${VERSION}`);
      }
      if (answer.frame === "REFUSED") throw failureOf(answer.value);
      // While the receiver waits for what the last connection began.
      if (answer.frame !== "RECEIVER_ALIVE")
        throw new VfioError("EPROTO", `${where}: ${answer.frame} before WELCOME`);
    }
  } catch (error) {
    frames.destroy();
    throw brokenLink(error, where);
  }
}

/** What went wrong while reading: a broken connection, or bytes that no receiver sends. */
export function brokenLink(error: unknown, where: string): Error {
  if (!(error instanceof VfioError) || error instanceof BrokenLink) return error as Error;
  const message = error.message.replace(`${error.code}: `, "");
  if (error.code === "ECONNRESET" || error.code === "ETIMEDOUT")
    return new BrokenLink(`${where}: ${message}`, error.code);
  return error instanceof WireError ? new VfioError("EPROTO", `${where} is no receiver: ${message}`) : error;
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
      reject(new BrokenLink(`${where}: no connection within ${limit_ms / 1000} s`, "ETIMEDOUT"));
    }, limit_ms);
    const settle = (error?: Error) => {
      clearTimeout(timer);
      socket.off("error", settle).off("close", closed).off(event, settle);
      if (error) reject(explain(error, where));
      else resolve(socket);
    };
    const closed = () => settle(new BrokenLink(`${where}: it closed the connection`, "ECONNRESET"));
    socket
      .on("error", settle)
      .on("close", closed)
      .on(event, () => settle());
  });
}

function explain(error: NodeJS.ErrnoException, where: string): Error {
  if (error instanceof BrokenLink) return error;
  const problem = certificateProblem(error.code);
  if (problem !== undefined) {
    const detail = error.code === "ERR_TLS_CERT_ALTNAME_INVALID" ? `: ${error.message}` : "";
    return new VfioError("EACCES", `${where}: the receiver's certificate: ${problem}${detail}`);
  }
  if (error.code === "EPROTO" || error.code?.startsWith("ERR_SSL"))
    return new VfioError("EPROTO", `${where}: no TLS 1.3 server (${error.message.trim()})`);
  return new BrokenLink(`${where}: ${error.message}`);
}
