import type { LockUse, Place } from "../problem.js";
import type { Frame } from "../stack.js";

/** "down_read+0x28/0x8d [module] kernel/locking/rwsem.c:12 [inline]", with an address in old kernels. */
const FRAME =
  /^(?:\[<[0-9a-f]*>\]\s*)?(\? )?([\w.$]+)(\+0x[0-9a-f]+\/0x[0-9a-f]+)?(?: \[[\w-]+\])?(?: ([\w./+-]+\.[chSlsy]+):(\d+))?( \[inline\])?$/;
/** 32-bit ARM: "[<80de0078>] (dump_backtrace) from [<80de0574>] (show_stack+0x28/0x2c)". */
const ARM_FRAME =
  /^(?:\[<[0-9a-f]+>\] )?\(?[\w.$]+\)? from (?:\[<[0-9a-f]+>\] )?\(?([\w.$]+)(\+0x[0-9a-f]+\/0x[0-9a-f]+)/;
/** "Device.reset (src/device.ts:12:5)": the frames of this package's own reports. */
const OWN_FRAME = /^(?:(\S.*?) \((?=.*\)))?(\/?[^\s:()]+):(\d+):(\d+)\)?(?:\s+# .*)?$/;
/** What the compiler appends to a part of a function that it split off or changed. */
const SPLIT_OFF = /(?:\.(?:part|constprop|isra|cold|llvm|localalias|lto_priv)(?:\.\d+)*)+/;

export interface StackFrame extends Frame {
  /** "?": an address that was found on the stack, maybe of a call that is over. */
  readonly unreliable?: true;
  /** Inlined from a header: a helper, whose caller is the place. */
  readonly helper?: true;
}

export function parseFrame(text: string): StackFrame | undefined {
  const own = OWN_FRAME.exec(text);
  if (own)
    return {
      fn: own[1] ?? "",
      file: own[2]!,
      line: Number(own[3]),
      column: Number(own[4]),
    };
  const arm = ARM_FRAME.exec(text);
  if (arm) return frame(arm[1]!, arm[2]!);
  const match = FRAME.exec(text);
  if (!match || (match[3] === undefined && match[4] === undefined)) return undefined;
  const [, unreliable, name, offset, file, line, inline] = match;
  return {
    ...frame(name!, offset ?? ""),
    file: file ?? "",
    line: Number(line ?? 0),
    ...(unreliable === undefined ? {} : { unreliable: true }),
    ...(inline !== undefined && /(?:^|\/)include\/|\.h$/.test(file ?? "") ? { helper: true } : {}),
  };
}

/** The offset in a part that was split off says nothing about the function it came from: the name alone is true. */
function frame(name: string, offset: string): StackFrame {
  const plain = name.replace(SPLIT_OFF, "");
  const fn = plain === name ? `${name}${offset}` : plain;
  return { fn, file: "", line: 0, column: 0 };
}

/** "reset", of "reset+0x25/0x47". */
export const functionOf = (frame: Frame): string => frame.fn.replace(/\+0x.*/, "");

/** Functions that every stack of an acquisition begins or ends with: they say nothing about who took the lock. */
const MACHINERY =
  /^(?:_*lock_acquire|_*lock_sync|_*mutex_(?:lock|trylock)\w*|_*(?:percpu_)?down(?:_\w+)?|_*(?:raw_)?(?:spin|read|write)_(?:try)?lock\w*|_*raw_\w+|rt_(?:spin|mutex|read|write)_\w+|_*(?:call_)?rwsem_\w+|_*rwbase_\w+|do_raw_\w+|find_held_lock|validate_chain|check_(?:prev|prevs|noncircular|deadlock|irq_usage|path|wait_context|usage)\w*|graph_lock|register_lock_class|mark_(?:lock|usage|held)\w*|seqcount_lockdep\w*|rcu_lock_acquire|_*rcu_read_lock\w*|_*srcu_read_lock\w*|srcu_lock_acquire|_*kthread_\w+|kthread|ret_from_fork\w*|runner)$/;

/** Accesses to user memory: each may fault, and the fault takes mmap_lock. `__might_fault` says so beforehand. */
const USER_ACCESS =
  /^(?:_*might_fault|_*(?:raw_|inline_|inatomic_)*copy_(?:to|from|in)_user\w*|_*(?:get|put|clear)_user\w*|_*str(?:ncpy_from|nlen)_user\w*|copyin|copyout|_*copy_(?:to|from)_iter\w*|copy_page_(?:to|from)_iter\w*|simple_copy_to_iter|instrument_copy_\w+|fault_in_\w+|memdup_user\w*|iov_iter_\w+|copy_iovec_from_user|iterate_and_advance\w*|user_backed_\w+)$/;

/** The stack from the function on that wanted the lock: past the locking itself, and past an access to user memory. */
export function fromCaller(place: readonly StackFrame[]): readonly StackFrame[] {
  const first = place.findIndex(
    (one) => !one.helper && !MACHINERY.test(functionOf(one)) && !USER_ACCESS.test(functionOf(one)),
  );
  return first < 0 ? [] : place.slice(first);
}

/** The innermost access to user memory that the lock was wanted for: "copy_to_user", or "" if there is none. */
export function userAccess(place: Place): string {
  if (!place.some((one) => /^_*might_fault$/.test(functionOf(one)))) return "";
  const names = place.map(functionOf).filter((name) => USER_ACCESS.test(name));
  return (names.find((name) => !/might_fault/.test(name)) ?? "an access to user memory").replace(/^_+/, "");
}

/**
 * Does the stack go through a function that takes a lock for reading? Only as far as the locking itself goes: up to
 * its caller, which a kernel without an unwinder finds on the stack more than once.
 */
export function isReader(place: readonly StackFrame[]): boolean {
  const caller = place.find((one) => !one.helper && !MACHINERY.test(functionOf(one)));
  const end = place.map(functionOf).lastIndexOf(caller ? functionOf(caller) : "");
  return place
    .slice(0, end < 0 ? undefined : end)
    .some((one) =>
      /^(?:_*down_read|_*percpu_down_read|_*rwsem_down_read|_*(?:raw_)?read_(?:try)?lock|_*rcu_read_lock|_*srcu_read_lock|rt_read_lock)/.test(
        functionOf(one),
      ),
    );
}

/** {+.+.}: any sign but "." in the first of a pair is an exclusive use, in the second a shared one. */
export function usageOf(characters: string): LockUse["usage"] {
  const signs = characters.split("");
  return {
    exclusive: signs.some((sign, i) => i % 2 === 0 && sign !== "."),
    shared: signs.some((sign, i) => i % 2 === 1 && sign !== "."),
  };
}
