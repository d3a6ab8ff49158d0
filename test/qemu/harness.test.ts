import { existsSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithQemu } from "./lab.js";
import { Qemu } from "./qemu.js";

// What the other tests of this folder build on. A harness that misses a kernel's complaint, or takes one
// command's output for another's, would make all of them worthless.
describeWithQemu("the QEMU harness", (lab) => {
  let qemu: Qemu;
  beforeAll(async () => {
    qemu = await Qemu.start(lab, { modules: ["vfio-pci"], allowOnConsole: [/WARNING: expected/] });
  }, 120_000);
  afterAll(() => qemu.process.kill());

  it("returns a script's status and its whole output", async () => {
    expect(await qemu.guest.sh("echo out; echo error >&2; exit 3")).toEqual({
      status: 3,
      output: "out\nerror\n",
    });
    const { output } = await qemu.guest.sh("seq 1 20000");
    expect(output.split("\n").length).toBe(20_001);
  });

  it("is not confused by output that looks like an answer", async () => {
    expect(await qemu.guest.ok("printf '9 0 3\\nready 1\\n'")).toBe("9 0 3\nready 1");
    expect(await qemu.guest.ok("echo next")).toBe("next");
  });

  it("runs scripts that were sent together one after the other", async () => {
    const scripts = ["a", "b", "c"].map((name) => qemu.guest.ok(`echo ${name}`));
    expect(await Promise.all(scripts)).toEqual(["a", "b", "c"]);
  });

  it("kills a script that takes too long and goes on", async () => {
    expect((await qemu.guest.sh("sleep 60", 1)).status).toBe(137);
    expect(await qemu.guest.ok("echo alive")).toBe("alive");
  });

  it("says which script failed", async () => {
    await expect(qemu.guest.ok("echo why; false")).rejects.toThrow(/status 1 of\necho why; false\nwhy/);
  });

  it("offers the modules that were asked for", async () => {
    expect(await qemu.guest.ok("modprobe vfio-pci && lsmod")).toContain("vfio_pci_core");
  });

  it("reports a QMP error with the command", async () => {
    await expect(qemu.qmp.execute("device_del", { id: "nothing" })).rejects.toThrow(/device_del.*nothing/);
  });

  it("lets a test name a complaint that it expects", async () => {
    await qemu.guest.ok("echo '<4>WARNING: expected by this test' >/dev/kmsg");
    await expect.poll(() => qemu.guest.console).toContain("WARNING: expected");
    await qemu.guest.ok("true");
  });

  it("fails on a kernel warning that nobody expected", async () => {
    await qemu.guest.sh("echo '<4>WARNING: CPU: 0 PID: 1 at made/up.c:1' >/dev/kmsg").catch(() => undefined);
    await expect.poll(() => qemu.guest.console).toContain("made/up.c");
    await expect(qemu.guest.sh("true")).rejects.toThrow(/kernel complains:\n.*made\/up\.c/);
    await expect(qemu.stop()).rejects.toThrow(/kernel complains/);
  });

  it("leaves neither the process nor its sockets behind", () => {
    expect(qemu.process.running).toBe(false);
    expect(existsSync(`/proc/${qemu.process.pid}`)).toBe(false);
    expect(existsSync(qemu.folder)).toBe(false);
  });
});

describeWithQemu("a guest that panics", (lab) => {
  it("fails at once, with the console's text", async () => {
    const qemu = await Qemu.start(lab);
    await expect(qemu.guest.sh("echo c >/proc/sysrq-trigger", 300)).rejects.toThrow(
      /kernel complains:\n(.*\n)*.*sysrq/,
    );
    await expect(qemu.stop()).rejects.toThrow(/kernel complains/);
  }, 120_000);
});

describeWithQemu("a QEMU that does not start", (lab) => {
  it("fails with what QEMU printed", async () => {
    const devices = [{ driver: "no-such-device", id: "x" }];
    await expect(Qemu.start(lab, { devices })).rejects.toThrow(/no-such-device/);
  });
});
