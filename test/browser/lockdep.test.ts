import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithChromium } from "./chromium.js";

const source = (path: string): string =>
  fileURLToPath(new URL(`../../packages/lockdep/src/${path}`, import.meta.url));

/** What a page does with locks, printed where the test reads it. */
const program = `
import { lockdep, Mutex, Task } from ${JSON.stringify(source("index.ts"))};
import { instrumentLocks } from ${JSON.stringify(source("web-locks/index.ts"))};
export async function main() {
  const problems = [];
  lockdep.configure({ mode: (problem) => problems.push(problem) });
  const a = new Mutex();
  const b = new Mutex();
  const task = new Task("t");
  function nest(x, y) { x.lock(task); y.lock(task); y.unlock(task); x.unlock(task); }
  nest(a, b);
  const before = problems.length;
  nest(b, a);
  const locks = instrumentLocks(navigator.locks);
  await locks.request("user:1", () => locks.request("order:1", () => undefined));
  const value = await locks.request("order:2", { mode: "exclusive" }, () => locks.request("user:2", () => 42));
  return {
    before,
    value,
    kinds: problems.map(({ kind }) => kind),
    differ: a.className !== b.className,
    at: problems[0].acquiring.at[0].fn,
  };
}
`;
const expected = { before: 0, value: 42, kinds: ["cycle", "cycle"], differ: true, at: "nest" };

const bundle = async (footer: string): Promise<string> => {
  const built = await build({
    stdin: { contents: program, resolveDir: "." },
    bundle: true,
    write: false,
    format: "iife",
    globalName: "page",
    target: "es2022",
    footer: { js: footer },
  });
  return built.outputFiles[0]!.text;
};

describeWithChromium("lockdep in a browser", (browser) => {
  let server: Server;
  let origin: string;
  beforeAll(async () => {
    const scripts: Record<string, string> = {
      "/page.js": await bundle("globalThis.result = page.main();"),
      "/worker.js": await bundle("page.main().then((result) => postMessage(result));"),
    };
    server = createServer((request, response) => {
      const script = scripts[request.url ?? ""];
      response.setHeader("content-type", script === undefined ? "text/html" : "text/javascript");
      response.end(script ?? "<!doctype html><title>locks</title>");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // A page of this address is a secure context, which navigator.locks asks for.
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => server.close());

  it("a page: classes by the place of construction, and navigator.locks", async () => {
    const page = await browser().newPage();
    await page.goto(origin);
    await page.addScriptTag({ url: "/page.js" });
    expect(await page.evaluate("result")).toEqual(expected);
    await page.close();
  });

  it("a worker likewise", async () => {
    const page = await browser().newPage();
    await page.goto(origin);
    const result = await page.evaluate(
      `new Promise((resolve, reject) => {
        const worker = new Worker("/worker.js");
        worker.onmessage = (event) => resolve(event.data);
        worker.onerror = (event) => reject(new Error(event.message));
      })`,
    );
    expect(result).toEqual(expected);
    await page.close();
  });
});
