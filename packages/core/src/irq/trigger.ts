/** Where an interrupt goes: an eventfd in packages/user, a counter in a test. */
export interface IrqTrigger {
  signal(): void;
  /** Called once, when the trigger is replaced or dropped. */
  close(): void;
}
