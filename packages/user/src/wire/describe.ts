/** Messages for people: what logs say of malformed ones, and what a protocol tracer prints. */

import { errnoName } from "@vfiokit/core";
import { describeFeature } from "./features.js";
import { commandName, Header, HEADER_SIZE, HeaderFlags, TYPE_MASK } from "./header.js";
import { decodeMessage, messages, type Message } from "./message.js";
import { WireError } from "../layout/errors.js";
import { bytesText } from "../layout/field.js";
import type { DescribedField, Fields, Struct } from "../layout/struct.js";

/** A message in words, for logs and errors. */
export interface Description {
  /** "DMA_MAP request 7, 48 bytes". */
  readonly title: string;
  readonly fields: readonly DescribedField[];
  /** What is wrong with the message, where it does not decode. */
  readonly problem?: string;
}

/** Never throws: of a malformed message it shows what can be read, and the problem. */
export function describeMessage(bytes: Uint8Array): Description {
  try {
    const message = decodeMessage(bytes);
    return { title: title(message, bytes.length), fields: payloadFields(message) };
  } catch (error) {
    return malformed(bytes, error instanceof WireError ? error.message : String(error));
  }
}

function title(message: Message, length: number): string {
  const { command, kind, msg_id } = message;
  if (kind === "error") {
    return `${command} reply ${msg_id}: ${message.errno ? errnoName(message.errno) : "error"}`;
  }
  const quiet = kind === "request" && message.no_reply ? ", no reply" : "";
  return `${command} ${kind} ${msg_id}, ${length} bytes${quiet}`;
}

function payloadFields(message: Message): DescribedField[] {
  if (message.kind === "error") return [];
  if (message.command === "DEVICE_FEATURE") return describeFeature(message.payload, message.kind);
  const struct = messages[message.command][message.kind].struct as unknown as Struct<Fields>;
  return struct.describe(message.payload);
}

function malformed(bytes: Uint8Array, problem: string): Description {
  if (bytes.length < HEADER_SIZE) {
    return { title: `${bytes.length} bytes`, fields: [{ name: "data", text: bytesText(bytes) }], problem };
  }
  const header = Header.decode(bytes);
  const command = commandName(header.cmd) ?? `command ${header.cmd}`;
  const kind = header.flags & TYPE_MASK ? "reply" : "request";
  const isError = kind === "reply" && header.flags & HeaderFlags.ERROR;
  return {
    title: `${command} ${kind} ${header.msg_id}, ${bytes.length} bytes${isError ? ", error" : ""}`,
    fields: [...Header.describe(header), { name: "payload", text: bytesText(bytes.subarray(HEADER_SIZE)) }],
    problem,
  };
}

/** Why a message is refused; of one that is malformed, with what it holds. */
export function refusalText(error: Error, bytes: Uint8Array): string {
  if (!(error instanceof WireError)) return error.message;
  const { title, fields } = describeMessage(bytes);
  return `${error.message}\n${formatDescription({ title, fields })}`;
}

/** A description as lines of text, fields indented below their title. */
export function formatDescription({ title, fields, problem }: Description): string {
  const lines = [title];
  const add = (all: readonly DescribedField[], indent: string): void => {
    for (const { name, text, fields = [] } of all) {
      lines.push(`${indent}${name}${text ? ` ${text}` : ""}`);
      add(fields, `${indent}  `);
    }
  };
  add(fields, "  ");
  if (problem !== undefined) lines.push(`  ! ${problem}`);
  return lines.join("\n");
}
