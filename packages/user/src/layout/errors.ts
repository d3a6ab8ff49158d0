import { VfioError, type ErrnoName } from "@vfiokit/core";

/** Bytes that are not a valid message, or a value that does not fit into one. */
export class WireError extends VfioError {
  constructor(
    /** The field that is wrong, with its struct: "vfio_user_dma_map.argsz". */
    override readonly field: string,
    /** What was found there, as text. */
    override readonly value: string,
    /** What should have been there. */
    override readonly rule: string,
    /** What a server answers. */
    code: ErrnoName = "EINVAL",
  ) {
    super(code, { field, value, rule, detail: `${field} is ${value}: ${rule}` });
  }
}
