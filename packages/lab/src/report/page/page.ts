/** What the page knows of one counterexample, by step. */
export type Steps = readonly {
  readonly says: string;
  /** Who holds and waits for what when the step is done: a line a task. */
  readonly locks: readonly string[];
}[];

/** By the id of the counterexample's element. */
export type PageData = Readonly<Record<string, Steps>>;

/**
 * The script of the report. Its text goes into the file as it is, so it uses nothing from outside of itself but the
 * browser: the page is whole without it, and it adds the steps.
 */
export function page(): void {
  const data = JSON.parse(document.getElementById("data")!.textContent) as PageData;

  /** One counterexample that can be stepped: everything after the current step is yet to come. */
  class Stepper {
    readonly #slider: HTMLInputElement;
    readonly #status: HTMLElement;
    readonly #locks: HTMLElement;
    readonly #rows: readonly HTMLElement[];
    readonly #back: readonly HTMLElement[];
    readonly #on: readonly HTMLElement[];
    #at: number;

    constructor(
      story: HTMLElement,
      private readonly steps: Steps,
    ) {
      this.#slider = story.querySelector("input")!;
      this.#status = story.querySelector(".status")!;
      this.#locks = story.querySelector(".locks")!;
      this.#rows = [...story.querySelectorAll<HTMLElement>("tbody tr")];
      const button = (name: string): HTMLElement => story.querySelector<HTMLElement>(`[data-go="${name}"]`)!;
      this.#back = [button("first"), button("back")];
      this.#on = [button("on"), button("last")];
      this.#at = steps.length - 1;
      const moves: Readonly<Record<string, () => number>> = {
        first: () => 0,
        back: () => this.#at - 1,
        on: () => this.#at + 1,
        last: () => steps.length - 1,
      };
      for (const each of [...this.#back, ...this.#on])
        each.addEventListener("click", () => this.#go(moves[each.dataset["go"]!]!()));
      this.#slider.addEventListener("input", () => this.#go(this.#slider.valueAsNumber - 1));
      this.#rows.forEach((row, step) =>
        row.addEventListener("click", () => {
          // Who selects text does not mean the step.
          if (getSelection()?.isCollapsed !== false) this.#go(step);
        }),
      );
      const keys: Readonly<Record<string, string>> = {
        ArrowLeft: "back",
        ArrowUp: "back",
        ArrowRight: "on",
        ArrowDown: "on",
        Home: "first",
        End: "last",
      };
      story.addEventListener("keydown", (event) => {
        const move = keys[event.key];
        if (move === undefined || event.target === this.#slider) return;
        if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.#go(moves[move]!());
      });
      story.querySelector<HTMLElement>(".stepper")!.hidden = false;
      this.#show();
    }

    #go(step: number): void {
      const next = Math.min(Math.max(step, 0), this.steps.length - 1);
      if (next === this.#at) return;
      this.#at = next;
      this.#show();
      this.#rows[next]!.querySelector("[data-acts]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }

    #show(): void {
      const at = this.#at;
      const { says, locks } = this.steps[at]!;
      this.#rows.forEach((row, step) => {
        row.classList.toggle("future", step > at);
        if (step === at) row.setAttribute("aria-current", "step");
        else row.removeAttribute("aria-current");
      });
      this.#slider.value = `${at + 1}`;
      this.#slider.setAttribute("aria-valuetext", `step ${at + 1} of ${this.steps.length}`);
      this.#status.textContent = `Step ${at + 1} of ${this.steps.length}: ${says}`;
      this.#locks.replaceChildren(
        ...locks.map((text) => {
          const item = document.createElement("li");
          item.textContent = text;
          return item;
        }),
      );
      for (const each of this.#back) each.setAttribute("aria-disabled", `${at === 0}`);
      for (const each of this.#on) each.setAttribute("aria-disabled", `${at === this.steps.length - 1}`);
    }
  }

  for (const [id, steps] of Object.entries(data)) new Stepper(document.getElementById(id)!, steps);

  /** A link to a counterexample opens it, and leaves the reader there. */
  const openTarget = (): void => {
    const details = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details");
    if (!details) return;
    details.open = true; // browsers of before 2024 open nothing by themselves
    details.scrollIntoView({ block: "start" });
    details.querySelector("summary")!.focus({ preventScroll: true });
  };
  addEventListener("hashchange", openTarget);
  // A second click on the same link changes no hash.
  for (const link of document.querySelectorAll(".matrix a"))
    link.addEventListener("click", () => setTimeout(openTarget));
  // After the browser's own scrolling.
  addEventListener("load", openTarget);
}
