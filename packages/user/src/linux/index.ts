export { createBacking, dmaAccessModes, type BackingOptions, type DmaAccessMode } from "./dma-backing.js";
export { createEventFd, drainEventFd, EventFdTrigger, requireEventFd, signalEventFd } from "./eventfd.js";
export { duplicateAll, Fd, openFds, spareFd } from "./fd.js";
export { SyscallError } from "./libc.js";
export { Mapping, MAX_MAPPED, MAX_MAPPINGS, openMappings, type MapOptions } from "./mapping.js";
export { createMemfd, isSealedAgainstShrinking, memfdMemory, Seal } from "./memfd.js";
export { MAX_FDS_PER_MESSAGE, Receiver, sendBytes, WOULD_BLOCK } from "./message.js";
export { StableBuffer } from "./stable-buffer.js";
export { signalWhenParentDies } from "./parent.js";
export { hasHungUp, isReadable, isWritable } from "./poll.js";
export { makeRaw, openPty, type Pty } from "./pty.js";
export { readFd, writeFd } from "./read-write.js";
export { reactor, Reactor, type Source, type Watch } from "./reactor.js";
export {
  connectUnix,
  nobodyListens,
  peerCredentials,
  shutdownSocket,
  socketPair,
  UnixListener,
  type PeerCredentials,
} from "./socket.js";
