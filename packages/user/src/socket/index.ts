/** Messages over sockets: for the server, the client, the relay, and whoever watches them. */

export { Channel } from "./channel.js";
export { dial } from "./dial.js";
export { asVfioError, ReplyError, protocolError } from "./errors.js";
export type { Inbox, MessageFds } from "./inbox.js";
export { Listener } from "./listener.js";
export { OneClient, type ServedClient } from "./one-client.js";
export { MessageSocket } from "./message-socket.js";
export type { Lent, Outbox } from "./outbox.js";
export { abortError, Outstanding, type CallOptions, type TakeReply } from "./outstanding.js";
