import { QueueEvents, Worker } from "bullmq";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generator } from "../../../explore/src/random.js";
import { PREFIX } from "../../src/lab/queue/runs.js";
import { version } from "../../src/version.js";
import { Vfiokit } from "../vfiokit.js";
import { describeWithRedis, RedisServer } from "./redis.js";

const LONG = 180_000;
/** Small, and fails in some cells: with counterexamples. */
const SMALL = ["--scenario", "ioctl/fails/read", "--design", "callback,generation", "--json"];

describeWithRedis("vfiokit lab run --queue", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis[Symbol.asyncDispose]());

  const startRun = (...args: string[]): Vfiokit =>
    Vfiokit.start(["lab", "run", "--queue", redis.url, ...args]);
  const startWorker = async (): Promise<Vfiokit> => {
    const worker = Vfiokit.start(["lab", "worker", "--queue", redis.url]);
    await worker.says(/^waiting for runs/m);
    return worker;
  };
  const runId = async (run: Vfiokit): Promise<string> =>
    (await run.says(/^run ([0-9a-f]+): shared with/m, "stderr"))[1]!;
  const queueOptions = () => ({
    connection: { path: redis.socket, maxRetriesPerRequest: null },
    prefix: PREFIX,
  });

  it(
    "comes to what one process comes to, while its workers are killed",
    async () => {
      const what = ["--scenario", "demo", "--design", "callback,generation", "--json"];
      const one = Vfiokit.run("lab", "run", ...what);
      const random = generator(7);
      const workers = new Map<number, Vfiokit>();
      const hire = async (): Promise<void> => {
        const worker = await startWorker();
        workers.set(worker.child.pid!, worker);
      };
      await Promise.all([hire(), hire(), hire()]);
      await using run = startRun(...what);
      const id = await runId(run);
      const events = new QueueEvents(`${version}-${id}`, { ...queueOptions(), lastEventId: "0-0" });
      let [killed, lost, until] = [0, 0, 5];
      const hired: Promise<void>[] = [];
      events.on("stalled", () => lost++);
      // Whenever some parts have begun, one of the workers is gone, in the middle of whatever it does.
      events.on("active", () => {
        if (--until > 0 || lost >= 3) return;
        until = 2 + Math.floor(random() * 8);
        const pids = [...workers.keys()];
        const pid = pids[Math.floor(random() * pids.length)];
        if (pid === undefined) return;
        workers.get(pid)!.child.kill("SIGKILL");
        workers.delete(pid);
        killed++;
        hired.push(hire());
      });
      const code = await run.ended;
      await events.close();
      await Promise.all(hired);
      // How many executions it takes can differ: what an event touches may be found out later, and then it begins anew.
      const said = (text: string): string => text.replace(/"executions": \d+/g, "");
      expect({ code, stdout: said(run.stdout) }).toEqual({ code: 0, stdout: said((await one).stdout) });
      console.log(`${killed} workers killed, ${lost} parts done again`);
      expect(lost).toBeGreaterThan(0);
      expect(await redis.keys()).toEqual([]);
      for (const worker of workers.values()) expect(await worker.kill("SIGTERM")).toBe(0);
      expect(await redis.keys()).toEqual([]);
    },
    LONG,
  );

  it(
    "waits for a worker, and leaves nothing behind when it is interrupted",
    async () => {
      await using run = startRun(...SMALL);
      await runId(run);
      expect(await redis.keys()).not.toEqual([]);
      run.child.kill("SIGINT");
      expect(await run.ended).toBe(3);
      expect(run.stderr).toMatch(/interrupted: the verdicts are of what was run until then/);
      expect(JSON.parse(run.stdout)).toMatchObject({
        matrix: { generation: { "no-deadlock": { executions: 0, exhausted: false } } },
      });
      expect(await redis.keys()).toEqual([]);
    },
    LONG,
  );

  it(
    "fails when a worker sends what is no result",
    async () => {
      await using run = startRun(...SMALL);
      const hostile = new Worker(
        `${version}-${await runId(run)}`,
        () => Promise.resolve({ ended: true, failures: "none" }),
        queueOptions(),
      );
      expect(await run.ended).toBe(1);
      expect(run.stderr).toMatch(/error: part-\d+: what a worker sent is not a result: #/);
      await hostile.close(true);
    },
    LONG,
  );

  it(
    "is served by workers of its own version only, and they take no nonsense",
    async () => {
      const client = redis.client();
      const foreign = JSON.stringify({ id: "f00d", version: "9.9.9" });
      const soon = Math.floor(Date.now() / 1000) + 600;
      await client.zadd(`${PREFIX}:runs`, soon, foreign, soon, "nonsense");
      await client.zadd(`${PREFIX}:runs`, soon, JSON.stringify({ id: "../x", version: "*" }));
      // Whoever began this one is gone for long.
      await client.zadd(`${PREFIX}:runs`, 1, JSON.stringify({ id: "dead", version }));
      await client.set(`${PREFIX}:${version}-dead:wait`, "");
      await using worker = await startWorker();
      expect(worker.stdout).toContain(
        `run f00d is refused: it is of vfiokit 9.9.9, and this is ${version}\n`,
      );
      expect(worker.stdout).toContain("run dead: nobody waits for it any more; it is removed\n");
      expect(worker.stdout).not.toContain("begins");
      await client.del(`${PREFIX}:runs`);

      await using run = startRun(...SMALL);
      await worker.says(new RegExp(`run ${await runId(run)}: over, [1-9]\\d* parts done here`));
      expect(await run.ended).toBe(0);
      expect(JSON.parse(run.stdout)).toMatchObject({
        matrix: { callback: { "no-spurious-reset": { verdict: "fail" } } },
      });
      expect(await redis.keys()).toEqual([]);
      client.disconnect();
    },
    LONG,
  );

  it(
    "ends when Redis is gone",
    async () => {
      const mortal = await RedisServer.start();
      await using run = Vfiokit.start(["lab", "run", "--queue", mortal.url, ...SMALL]);
      await runId(run);
      await mortal[Symbol.asyncDispose]();
      expect(await run.ended).toBe(1);
      expect(run.stderr).toMatch(/^error: Redis at unix:.* has not answered for \d+ s$/m);
    },
    LONG,
  );

  it.each([
    [
      ["run", "--queue", "redis://127.0.0.1:1"],
      1,
      /Redis at redis:\/\/127.0.0.1:1 cannot be used: .*ECONNREFUSED/,
    ],
    [["worker", "--queue", "unix:///nowhere/redis.sock"], 1, /cannot be used: .*ENOENT/],
    [["run", "--queue", "http://127.0.0.1"], 2, /redis:\/\/, rediss:\/\/ or unix:\/\/, and not http:/],
    [["worker", "--queue", "here"], 2, /--queue "here": a URL/],
    [
      ["worker", "--queue", "redis://x:secret@127.0.0.1/first"],
      2,
      /the database is a number, and not "first"/,
    ],
    [["worker"], 2, /required option '--queue <url>'/],
    [["run", "--queue", "redis://127.0.0.1", "--workers", "2"], 2, /--workers and --queue: /],
  ])("refuses %j", async (args, expected, message) => {
    const { code, stderr } = await Vfiokit.run("lab", ...args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain("secret");
    expect(code).toBe(expected);
  });
});
