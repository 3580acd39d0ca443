// Chapter 10: one VAE, one energy, three spaces to walk in.
BENCHES.define("spaces", {
  question: "A VAE has drawn six smeared digits. Twenty Langevin steps on the same energy, in three spaces: where do crisp digits come out?",
  options: [
    ["pixels", "Among the pixels: the energy judges pixels, so let it move them."],
    ["pair", "In (x, z): picture and code move together."],
    ["epsilon", "In ε, the noise behind the picture."],
  ],
  state: { steps: 20, seed: 1 },
  verb: "Run all three",
  ROWS: [["", "the VAE's draws"], ["epsilon", "after walking in ε"], ["pair", "after walking in (x, z)"], ["pixels", "after walking among pixels"]],
  DRAWS: 6,

  build(bench) {
    const { button } = BENCHES, { make } = bench;
    const slider = make("input", { type: "range", id: "bench-spaces-steps", min: 0, max: 100, step: 5 }), words = make("output", {});
    slider.addEventListener("input", () => this.change(bench, { steps: Number(slider.value) }));
    const rows = this.ROWS.map(([, label]) => {
      const canvases = Array.from({ length: this.DRAWS }, (_, i) => make("canvas", { className: "bench-picture", role: "img", "aria-label": `${label}, number ${i + 1}` }));
      const told = make("figcaption", {}, label);
      return { canvases, told, figure: make("figure", {}, told, make("div", { className: "bench-strip" }, ...canvases)) };
    });
    bench.body.append(
      make("div", { className: "bench-rows" }, ...rows.map(({ figure }) => figure)),
      make("div", { className: "bench-field" }, make("label", { htmlFor: slider.id }, "steps"), slider, words),
      make("div", { className: "bench-row" }, button("New draws", () => this.change(bench, { seed: bench.state.seed + this.DRAWS }))),
    );
    Object.assign(bench, { rows, slider, words });
  },

  change(bench, state) {
    Object.assign(bench.state, state);
    this.show(bench);
    bench.changed();
  },

  show({ state, rows, slider, words }) {
    slider.value = state.steps;
    words.textContent = `${state.steps} steps`;
    rows.forEach(({ canvases, told }, i) => {
      told.textContent = this.ROWS[i][1];
      for (const canvas of canvases) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    });
  },

  async run(bench) {
    const { state, rows, engine } = bench, seeds = Array.from({ length: this.DRAWS }, (_, i) => state.seed + i);
    const paint = (found) => found?.forEach((pictures, k) => pictures.forEach((x, i) => BENCHES.picture(rows[i].canvases[k], x)));
    this.show(bench);
    const given = { network: "vaebm_mnist", seeds, steps: Math.max(0, Math.min(100, Math.round(state.steps))) };
    const found = await engine.ask("spaces", given, (news) => paint(news.rows));
    if (!found) return null;
    paint(found);
    const grey = this.ROWS.map((_, i) => found.reduce((sum, pictures) => sum + BENCHES.grey(pictures[i]), 0) / found.length);
    const percent = (value) => `${Math.round(100 * value)} %`;
    rows.forEach(({ told }, i) => (told.textContent = `${this.ROWS[i][1]}: ${percent(grey[i])} of the pixels are grey`));
    const best = [1, 2, 3].reduce((a, b) => (grey[b] < grey[a] ? b : a));
    return {
      outcome: state.steps === 20 ? this.ROWS[best][0] : null,
      said:
        `Neither black nor white are ${percent(grey[0])} of the pixels at first, ${percent(grey[1])} after ε, ${percent(grey[2])} after (x, z) and ${percent(grey[3])} among pixels. ` +
        "Among pixels a step can only darken or lighten each of them, and shakes all; in (x, z) the code is tied to a noisy picture and hardly moves. In ε a small step moves the code freely, and with it whole strokes.",
    };
  },

  python: ({ steps, seed }) => `import torch
from gen_utils import checkpoints
from gen_utils.samplers import Langevin, sample

model = checkpoints.load("vaebm_mnist")
generator = torch.Generator().manual_seed(${seed})
eps = model.start().draw(6, generator=generator)
kernel = Langevin(step_size=0.005, noise=0.1)  # its card's
chain = sample(model.in_epsilon(), eps, kernel, ${steps}, generator=generator)
pictures = model.images(chain.x, mean=True)  # (6, 1, 28, 28)
print((pictures.abs() < 0.8).float().mean())  # the share of grey pixels
`,
});
