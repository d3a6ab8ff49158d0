import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { choose, designs, reportHtml, reportModel, runLab, type Story } from "@vfiokit/lab";
import { lockdep } from "@vfiokit/lockdep";
import type { BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithChromium } from "./chromium.js";

/** For people to look at. */
const PICTURES = fileURLToPath(new URL("../../test-results/lab-report/", import.meta.url));

describeWithChromium("the lab's report in a browser", (browser) => {
  let folder: string;
  let url: string;
  let stories: readonly Story[];

  beforeAll(async () => {
    // Three tasks in a deadlock, and a design that passes, at the price of few executions.
    const chosen = designs.filter(({ name }) => ["locked", "callback", "generation"].includes(name));
    const scenarios = [
      ...choose("ioctl/succeeds/one/read-to-client+map-bar"),
      ...choose("ioctl/fails/one/read"),
      ...choose("ioctl/succeeds/one/alone/without-op-off"),
    ];
    const model = await reportModel(await runLab({ designs: chosen, scenarios }));
    lockdep.reset();
    ({ stories } = model);
    folder = mkdtempSync(join(tmpdir(), "vfiokit-report-"));
    const file = join(folder, "report.html");
    writeFileSync(file, await reportHtml(model));
    url = pathToFileURL(file).href;
    mkdirSync(PICTURES, { recursive: true });
  }, 60_000);
  afterAll(() => rmSync(folder, { recursive: true }));

  /** The report in a window of its own. What it logs, and what it asks for, ends up in `noise`. */
  async function open(options: BrowserContextOptions = {}, fragment = ""): Promise<Opened> {
    const context = await browser().newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const noise: string[] = [];
    page.on("console", (message) => noise.push(message.text()));
    page.on("pageerror", (error) => noise.push(error.message));
    page.on("request", (request) => {
      if (request.url() !== url + fragment) noise.push(request.url());
    });
    await page.goto(url + fragment);
    return {
      page,
      noise,
      picture: async (name, fullPage = false) => {
        await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage });
      },
      [Symbol.asyncDispose]: () => context.close(),
    };
  }
  interface Opened extends AsyncDisposable {
    readonly page: Page;
    readonly noise: string[];
    picture(name: string, fullPage?: boolean): Promise<void>;
  }

  const DEADLOCK = "counterexample-locked-no-deadlock";
  const deadlock = (): Story =>
    stories.find(({ design, invariant }) => design === "locked" && invariant === "no-deadlock")!;
  const status = (page: Page): Promise<string | null> =>
    page.locator(`#${DEADLOCK} [role=status]`).textContent();

  it("opens from a file, asks for nothing else and has nothing to complain about", async () => {
    await using report = await open();
    const { page, noise } = report;
    expect(await page.title()).toBe("Reset designs: locked, callback, generation");
    await report.picture("wide", true);
    for (const summary of await page.locator("summary").all()) await summary.click();
    expect(noise).toEqual([]);
  });

  it("is read by a screen reader as headings, tables and links that say where they lead", async () => {
    await using report = await open();
    const { page } = report;
    expect(await page.locator("main").ariaSnapshot()).toMatch(
      /- heading "Verdicts" \[level=2\]\n\s+- region "What each design keeps and breaks"/,
    );
    const table = page.getByRole("table", { name: "What each design keeps and breaks" });
    expect(await table.getByRole("columnheader").allTextContents()).toEqual([
      "invariant",
      "locked",
      "callback",
      "generation",
    ]);
    expect(await table.getByRole("rowheader").count()).toBe(9);
    const link = table.getByRole("link", { name: "locked fails no-deadlock: show the counterexample" });
    expect(await link.count()).toBe(1);
    expect(
      await page
        .getByRole("img", { name: /^Orders of locks of locked\. A cycle: stateMutex → session/ })
        .count(),
    ).toBe(1);
    expect(await page.getByRole("img", { name: "Orders of locks of generation. No cycle." }).count()).toBe(1);
    expect(await page.getByRole("heading", { level: 3 }).allTextContents()).toHaveLength(3);
  });

  it("gives a counterexample as a table, a column a task and a row a step", async () => {
    await using report = await open({}, `#${DEADLOCK}`);
    const { page } = report;
    const table = page.getByRole("table", { name: "locked: no-deadlock, step by step" });
    expect(await table.getByRole("columnheader").allTextContents()).toEqual([
      "step",
      "ioctl",
      "map-bar",
      "read-to-client",
    ]);
    const { lines } = deadlock();
    expect(await table.locator(".text").allTextContents()).toEqual(lines.map(({ text }) => text));
    expect(await table.getByRole("row").count()).toBe(lines.length + 1);
  });

  it("is operated by the keyboard alone: from a failing cell to its counterexample, and through its steps", async () => {
    await using report = await open();
    const { page, noise } = report;
    const { lines } = deadlock();
    const last = `Step ${lines.length} of ${lines.length}: deadlock: `;

    await page.getByRole("link", { name: "locked fails no-deadlock" }).focus();
    await page.keyboard.press("Enter");
    const summary = page.locator("summary", { has: page.locator("text=no-deadlock") }).first();
    await summary.and(page.locator(":focus")).waitFor();
    expect(await page.locator(`#${DEADLOCK}`).isVisible()).toBe(true);
    // It begins with the whole picture.
    expect(await status(page)).toContain(last);

    await page.keyboard.press("Tab");
    expect(await page.locator(":focus").textContent()).toContain("First");
    await page.keyboard.press("Home");
    expect(await status(page)).toBe(
      `Step 1 of ${lines.length}: ioctl: takes card.0's memoryLock for writing`,
    );
    await page.keyboard.press("ArrowLeft");
    expect(await status(page)).toContain("Step 1 of");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowDown");
    expect(await status(page)).toBe(`Step 3 of ${lines.length}: ioctl: card.0: the device is reset`);
    expect(await page.locator(`#${DEADLOCK} .locks li`).allTextContents()).toEqual([
      "ioctl: holds card.0's memoryLock (writing), card.0's deviceLock",
      "map-bar: holds nothing",
      "read-to-client: holds nothing",
    ]);
    expect(await page.locator(`#${DEADLOCK} [aria-current=step] th`).textContent()).toBe("3");
    await page.keyboard.press("ArrowUp");
    expect(await status(page)).toContain("Step 2 of");
    await page.keyboard.press("End");
    expect(await status(page)).toContain(last);
    expect(noise).toEqual([]);
  });

  it("steps by buttons, by the slider and by a click on a step; what is to come is not shown as held", async () => {
    await using report = await open({}, `#${DEADLOCK}`);
    const { page } = report;
    const story = page.locator(`#${DEADLOCK}`);
    const button = (name: string) => story.getByRole("button", { name });
    const bars = story.locator(".bar:visible");
    const all = await bars.count();

    expect(await button("Forward").getAttribute("aria-disabled")).toBe("true");
    await button("First").click();
    expect(await button("Back").getAttribute("aria-disabled")).toBe("true");
    expect(await bars.count()).toBe(1);
    await button("Forward").click();
    expect(await status(page)).toContain("Step 2 of");
    await button("Last").click();
    expect(await bars.count()).toBe(all);
    await button("Back").click();
    expect(await status(page)).toContain(`Step ${deadlock().lines.length - 1} of`);

    const slider = story.getByRole("slider", { name: "Step" });
    await slider.focus();
    await page.keyboard.press("Home");
    expect(await status(page)).toContain("Step 1 of");
    await page.keyboard.press("ArrowRight");
    expect(await status(page)).toContain("Step 2 of");
    expect(await slider.getAttribute("aria-valuetext")).toBe(`step 2 of ${deadlock().lines.length}`);

    await story.locator("tbody tr").nth(4).click();
    expect(await status(page)).toContain("Step 5 of");
    await report.picture("step");
  });

  it("draws bars where locks are held, and hatched ones where tasks wait, side by side and apart", async () => {
    await using report = await open({}, `#${DEADLOCK}`);
    const story = report.page.locator(`#${DEADLOCK}`);
    expect(await story.locator(".bar.wait.begins").count()).toBe(3);
    const lane = story.locator("tbody tr").nth(7).locator("td").first();
    const [one, two] = await Promise.all([0, 1].map((i) => lane.locator(".bar").nth(i).boundingBox()));
    expect(two!.x).toBeGreaterThanOrEqual(one!.x + one!.width);
    const cell = await lane.boundingBox();
    // From the top of the row to its bottom, so that the rows join.
    expect(one!.height).toBeGreaterThanOrEqual(cell!.height - 1);
    const text = await lane.locator(".text").boundingBox();
    for (const bar of await lane.locator(".bar").all()) {
      const box = await bar.boundingBox();
      expect(box!.x + box!.width).toBeLessThanOrEqual(text!.x);
    }
  });

  it.each(["light", "dark"] as const)("has enough contrast everywhere: %s", async (colorScheme) => {
    await using report = await open({ colorScheme }, `#${DEADLOCK}`);
    const { page } = report;
    await page.evaluate(OPEN_ALL);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Home");
    // WCAG 2.2, 1.4.3: 4.5 to 1 for text.
    expect(await page.evaluate(LOW_CONTRAST)).toEqual([]);
    await report.picture(colorScheme);
  });

  it("fits a narrow window: only tables scroll, each in a frame of its own", async () => {
    await using report = await open({ viewport: { width: 400, height: 900 } }, `#${DEADLOCK}`);
    const { page } = report;
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(400);
    await page.evaluate(OPEN_ALL);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(400);
    // Stepping brings what happens into view.
    await page.locator(`#${DEADLOCK}`).getByRole("button", { name: "First" }).focus();
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    const acts = page.locator(`#${DEADLOCK} [aria-current=step] .text`);
    const box = await acts.boundingBox();
    expect(box!.x).toBeGreaterThanOrEqual(0);
    expect(box!.x + box!.width).toBeLessThanOrEqual(400);
    await report.picture("narrow", true);
  });

  it("shows where the focus is", async () => {
    await using report = await open();
    const { page } = report;
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineWidth");
      expect(outline).toBe("3px");
    }
  });

  it("prints in black on white, without what is there to be clicked", async () => {
    await using report = await open({ colorScheme: "dark" }, `#${DEADLOCK}`);
    const { page } = report;
    await page.locator(`#${DEADLOCK}`).getByRole("button", { name: "First" }).click();
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    expect(await page.locator(".stepper:visible").count()).toBe(0);
    expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe("rgb(255, 255, 255)");
    // Wherever it was stepped to, paper has all of it.
    const bars = page.locator(`#${DEADLOCK} .bar`);
    expect(await bars.and(page.locator(":visible")).count()).toBe(await bars.count());
    await report.picture("print", true);
  });

  it("can be read without its script", async () => {
    await using report = await open({ javaScriptEnabled: false }, `#${DEADLOCK}`);
    const { page } = report;
    await page.locator(`#${DEADLOCK}`).waitFor();
    expect(await page.locator(".stepper:visible").count()).toBe(0);
    expect(await page.locator(`#${DEADLOCK} .text`).allTextContents()).toHaveLength(deadlock().lines.length);
  });
});

const OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })";

/** A program for the page: texts whose colour is too close to what is behind them. */
const LOW_CONTRAST = `(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement: element, textContent } = walker.currentNode;
    if (textContent.trim() === "" || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest("script, svg")) continue;
    const front = luminance(parse(getComputedStyle(element).color).slice(0, 3));
    const back = luminance(behind(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) low.push(textContent.trim() + ": " + ratio.toFixed(2));
  }
  return low;
})()`;
