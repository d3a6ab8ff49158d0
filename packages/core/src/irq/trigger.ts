/** Where an interrupt goes: an eventfd in packages/user, a counter in a test. */
export interface IrqTrigger {
  signal(): void;
  /** Calls back whenever the other side signals it, until `close`: for one that unmasks. Where it can be listened to. */
  listen?(signalled: () => void): void;
  /** Called once, when the trigger is replaced or dropped. */
  close(): void;
}
