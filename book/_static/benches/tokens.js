// Chapter 6: a drawing as 7 × 7 tokens, one of them swapped.
BENCHES.define("tokens", {
  question: "A token stands for 4 × 4 pixels. You swap one of 49 for another. How many pixels change?",
  options: [
    ["own", "About 16: its own square."],
    ["near", "Up to 150: its square and its neighbours'."],
    ["all", "Most of the 784: the decoder sees everything."],
  ],
  state: { example: 2, ink: "", place: 24, code: 17 },
  verb: "Swap it",

  build(bench) {
    const { shot, button } = BENCHES, { make } = bench;
    const pad = BENCHES.pad.make(() => this.change(bench, { ink: BENCHES.pad.written(pad.ink) }, false));
    const start = shot("", pad.canvas), before = shot("the picture decoded from its tokens"), after = shot("the picture with one token swapped");
    const grid = make("div", { className: "bench-grid7", role: "group", "aria-label": "The tokens, seven rows of seven; choose the one to swap" });
    const cells = Array.from({ length: 49 }, (_, place) => {
      const cell = make("button", { type: "button", className: "bench-cell", tabIndex: -1 }, "·");
      cell.addEventListener("click", () => this.pick(bench, place));
      return cell;
    });
    grid.append(...cells);
    grid.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 }[event.key], to = bench.state.place + by;
      if (!by || to < 0 || to > 48) return;
      event.preventDefault();
      this.pick(bench, to);
      cells[to].focus();
    });
    const slider = make("input", { type: "range", id: "bench-tokens-code", min: 0, max: 255 }), words = make("output", {});
    slider.addEventListener("input", () => {
      bench.state.code = Number(slider.value);
      this.pick(bench, bench.state.place);
    });
    const field = make("div", { className: "bench-field" }, make("label", { htmlFor: slider.id }, "swap it for code"), slider, words);
    const buttons = make(
      "div", { className: "bench-row" },
      button("Clear", () => (pad.show(BENCHES.pad.blank()), this.change(bench, { ink: "A" }, false))),
      button("Another example", () => this.change(bench, { ink: "", example: (bench.state.example + 1) % 10 })),
    );
    const pictures = make("div", { className: "bench-pair" }, before.figure, after.figure);
    bench.body.append(make("div", { className: "bench-two bench-even" }, make("div", { className: "bench-pair" }, start.figure, make("figure", {}, grid, make("figcaption", {}, "its tokens"))), pictures), field, buttons);
    Object.assign(bench, { pad, start, before, after, cells, slider, words });
  },

  change(bench, state, redraw = true) {
    Object.assign(bench.state, state);
    if (redraw) this.show(bench);
    else this.forget(bench);
    bench.changed();
    if (bench.ran) bench.go();
  },

  pick(bench, place) {
    bench.state.place = place;
    this.mark(bench);
    bench.changed();
    if (bench.ran && !bench.run.dataset.running) bench.go();
  },

  mark(bench) {
    const { place, code } = bench.state;
    bench.cells.forEach((cell, i) => {
      const token = bench.tokens?.[i];
      cell.classList.toggle("bench-chosen", i === place);
      cell.tabIndex = i === place ? 0 : -1;
      cell.textContent = token ?? "·";
      cell.setAttribute("aria-pressed", i === place);
      cell.setAttribute("aria-label", `row ${Math.floor(i / 7) + 1}, column ${(i % 7) + 1}${token === undefined ? "" : `: code ${token}`}`);
    });
    bench.slider.value = code;
    bench.words.textContent = code;
  },

  show(bench) {
    const { ink, example, place } = bench.state;
    if (!(place >= 0 && place < 49)) bench.state.place = 24;
    bench.pad.show(ink ? BENCHES.pad.read(ink) : BENCHES.pad.example(Math.abs(Math.trunc(example)) % 10));
    this.forget(bench);
  },

  forget(bench) {
    bench.tokens = null;
    for (const { canvas } of [bench.before, bench.after]) canvas.getContext("2d").clearRect(0, 0, 28, 28);
    bench.start.words.textContent = "your drawing";
    bench.before.words.textContent = "decoded from its tokens";
    bench.after.words.textContent = "with one token swapped";
    this.mark(bench);
  },

  async run(bench) {
    const { engine, state } = bench, x = BENCHES.pad.picture(bench.pad.ink);
    if (!x) throw new Error("there is no drawing yet");
    bench.tokens = await engine.ask("tokens", { network: "vqvae_mnist", x });
    if (!bench.tokens) return null;
    const swapped = bench.tokens.map((token, i) => (i === state.place ? state.code : token));
    const pictures = await engine.ask("paint", { network: "vqvae_mnist", grids: [bench.tokens, swapped] });
    if (!pictures) return null;
    const [whole, other] = pictures.map((picture) => picture.map((value) => Math.max(-1, Math.min(1, value))));
    const changed = whole.reduce((sum, value, i) => sum + (Math.abs(value - other[i]) > 0.1), 0);
    const faint = whole.reduce((sum, value, i) => sum + (Math.abs(value - other[i]) > 0.001), 0);
    BENCHES.picture(bench.before.canvas, whole);
    BENCHES.picture(bench.after.canvas, other);
    this.mark(bench);
    bench.ran = true;
    const from = bench.tokens[state.place];
    bench.after.words.textContent = `code ${from} → ${state.code}: ${changed} pixels change`;
    return {
      outcome: from === state.code ? null : changed <= 24 ? "own" : changed <= 150 ? "near" : "all",
      said:
        from === state.code
          ? "That is the code which is there already."
          : `${changed} pixels change by more than a twentieth of the range, and ${faint} at all. The decoder's convolutions look at neighbours: a code is a letter, whose shape depends on the word, rather than a stamp. Choose another place, or drag the code.`,
    };
  },

  python: ({ place, code }) => `import torch
from gen_utils import checkpoints

model = checkpoints.load("vqvae_mnist")
x = -torch.ones(1, 1, 28, 28)
x[:, :, 5:23, 13:15] = 1.0  # your drawing, in [-1, 1]
with torch.no_grad():
    tokens = model.tokens(x)
    swapped = tokens.clone()
    swapped.view(-1)[${place}] = ${code}
    before, after = (model.decode_tokens(each).clamp(-1, 1) for each in (tokens, swapped))
print(tokens, int(((after - before).abs() > 0.1).sum()))  # the tokens; how many pixels change
`,
});
