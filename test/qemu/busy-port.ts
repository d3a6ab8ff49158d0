import type { Guest } from "./guest.js";
import type { Line } from "./line.js";

/** Bytes that must have come through in both directions. */
const FLOWING = 512;
/** Milliseconds between two lines of the host's. Faster ones keep a guest without KVM from everything else. */
const PAUSE = 20;
const GUEST_MARK = "guest here\n";
const HOST_MARK = "host here\n";

/** A serial port that the guest has open and that is written and read all the time. */
export class BusyPort implements Disposable {
  private readonly talk: NodeJS.Timeout;

  /** Returns when both directions are flowing. */
  static async start(guest: Guest, tty: string, line: Line): Promise<BusyPort> {
    const port = new BusyPort(guest, tty, line);
    await guest.ok(`
      stty -F ${tty} raw -echo 115200
      cat ${tty} >/tmp/read 2>/dev/null & echo $! >/tmp/users
      while :; do echo from the guest; usleep ${1000 * PAUSE}; done >${tty} 2>/dev/null & echo $! >>/tmp/users`);
    await port.flows();
    return port;
  }

  private constructor(
    private readonly guest: Guest,
    private readonly tty: string,
    private readonly line: Line,
  ) {
    this.talk = setInterval(() => line.send(Buffer.from("from the host\n")), PAUSE);
  }

  /** Returns when both directions have brought something since it was called. */
  async flows(): Promise<void> {
    this.line.drop();
    await this.guest.ok(`
      goal=$(($(stat -c %s /tmp/read) + ${FLOWING}))
      until [ $(stat -c %s /tmp/read) -gt $goal ]; do usleep 20000; done`);
    await this.line.take(FLOWING);
  }

  /** Closes the port, opens it anew, and lets what was under way in both directions run out. */
  async stop(): Promise<void> {
    this[Symbol.dispose]();
    const { guest, tty, line } = this;
    const drained = guest.ok(
      `for user in $(cat /tmp/users); do kill -9 $user; while [ -e /proc/$user ]; do usleep 20000; done; done
      stty -F ${tty} raw -echo 115200
      exec 4<>${tty}
      printf '\\n${GUEST_MARK.trimEnd()}\\n' >&4
      grep -q -m 1 '^${HOST_MARK.trimEnd()}$' <&4`,
      60,
    );
    const heard = async (): Promise<void> => {
      let text = "";
      while (!text.endsWith(GUEST_MARK)) text += (await line.take(1)).toString("latin1");
      line.send(Buffer.from(`\n${HOST_MARK}`));
    };
    await Promise.all([drained, heard()]);
  }

  [Symbol.dispose](): void {
    clearInterval(this.talk);
  }
}
