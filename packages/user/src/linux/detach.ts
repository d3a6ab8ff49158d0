import v8 from "node:v8";
import vm from "node:vm";

type Transfer = (this: ArrayBuffer, newLength: number) => ArrayBuffer;

/**
 * `ArrayBuffer.prototype.transfer`. Node 20 has it behind a V8 flag that is read when a realm is made, so it
 * is taken from a realm made for the purpose; structuredClone is no substitute, since Node marks external
 * buffers as untransferable and silently copies them instead.
 */
function findTransfer(): Transfer {
  const own = (ArrayBuffer.prototype as { transfer?: Transfer }).transfer;
  if (own) return own;
  v8.setFlagsFromString("--harmony-rab-gsab-transfer");
  try {
    const transfer = vm.runInNewContext("ArrayBuffer.prototype.transfer") as Transfer | undefined;
    if (!transfer) throw new Error("this JavaScript engine cannot detach an ArrayBuffer");
    return transfer;
  } finally {
    v8.setFlagsFromString("--no-harmony-rab-gsab-transfer");
  }
}

const transfer = findTransfer();

/** Leaves the buffer and every view of it with length 0; a later access sees nothing, a later `set` throws. */
export function detach(buffer: ArrayBuffer): void {
  transfer.call(buffer, 0);
}
