// Chapter 3: MALA at temperature 1 and the cold sampler of the card, from the same noise.
BENCHES.define("race", {
  question: "From the same noise start MALA at temperature 1, which accepts nearly all it proposes, and the cold sampler. Who draws a digit in 256 steps?",
  options: [
    ["warm", "MALA: it samples the density itself, and moves at every step."],
    ["both", "Both, MALA more slowly."],
    ["cold", "Only the cold sampler: MALA wanders, and its energy stays where it was."],
  ],
  state: { eta: -2, seed: 1 },
  verb: "Run 256 steps of both",

  build(bench) {
    const { make } = bench, { shot, button } = BENCHES;
    const warm = shot("MALA, T = 1"), cold = shot("the cold sampler");
    const curve = BENCHES.plot.make("The energies of both chains after each step");
    const slider = make("input", { type: "range", min: 0, "aria-label": "Step of both chains" });
    slider.addEventListener("input", () => this.look(bench, bench.frames[Number(slider.value)]));
    const eta = make("input", { type: "range", id: "bench-race-eta", min: -3.5, max: -1, step: 0.25 }), words = make("output", {});
    eta.addEventListener("input", () => this.change(bench, { eta: Number(eta.value) }));
    const field = make("div", { className: "bench-field" }, make("label", { htmlFor: eta.id }, "MALA's step"), eta, words);
    const buttons = make("div", { className: "bench-row" }, button("New noise", () => this.change(bench, { seed: bench.state.seed + 1 })));
    const side = make("div", {}, slider, curve);
    bench.body.append(make("div", { className: "bench-two" }, make("div", { className: "bench-pair" }, warm.figure, cold.figure), side), field, buttons);
    Object.assign(bench, { warm, cold, curve, slider, eta, words, frames: [] });
  },

  change(bench, state) {
    Object.assign(bench.state, state);
    this.show(bench);
    bench.changed();
  },

  step: ({ eta }) => +(10 ** Math.max(-4, Math.min(0, eta))).toPrecision(2),

  show(bench) {
    const { state, warm, cold } = bench, random = BENCHES.noise(state.seed);
    const noise = Float64Array.from({ length: 784 }, () => 2 * random() - 1);
    for (const { canvas } of [warm, cold]) BENCHES.picture(canvas, noise);
    warm.words.textContent = "MALA, T = 1";
    cold.words.textContent = "the cold sampler";
    bench.frames = [];
    bench.eta.value = state.eta;
    bench.words.textContent = `η = ${this.step(state)}`;
    bench.eta.setAttribute("aria-valuetext", bench.words.textContent);
    Object.assign(bench.slider, { max: 0, value: 0, disabled: true });
    this.plot(bench);
  },

  plot(bench, at) {
    const line = (who) => ({ points: bench.frames.map((frame) => [frame.step, frame[who].energy]) });
    BENCHES.plot.curve(bench.curve, {
      curves: [line("cold"), line("warm")], label: "energy (nats): line, cold; dashes, MALA", across: "step", log: true,
      end: 256, low: 0, high: 22, at,
    });
  },

  look(bench, frame) {
    for (const who of ["warm", "cold"]) {
      const { energy, x, far } = frame[who], name = who === "warm" ? "MALA" : "cold";
      BENCHES.picture(bench[who].canvas, x);
      bench[who].words.textContent = `${name}: energy ${BENCHES.number(energy)}, moved ${BENCHES.number(far)}`;
    }
    bench.slider.setAttribute("aria-valuetext", `step ${frame.step}`);
    this.plot(bench, frame.step);
  },

  async run(bench) {
    const { state, engine } = bench, { number } = BENCHES;
    this.show(bench);
    const news = ({ frames }) => {
      if (!frames.length) return;
      bench.frames.push(...frames);
      const last = bench.frames.length - 1;
      Object.assign(bench.slider, { max: last, value: last, disabled: false });
      this.look(bench, bench.frames[last]);
    };
    const given = { network: "ebm_mnist", seed: state.seed, steps: 256, step_size: this.step(state) };
    const answer = await engine.ask("race", given, news);
    if (!answer) return null;
    news(answer);
    const last = bench.frames.at(-1), digit = (who) => BENCHES.grey(BENCHES.values(last[who].x)) < 0.3;
    const outcome = digit("warm") ? (digit("cold") ? "both" : "warm") : "cold";
    return {
      outcome: state.eta === -2 ? outcome : null,
      said:
        `MALA accepted ${Math.round(100 * answer.accepted)} % and moved every pixel by ${number(Math.sqrt(last.warm.far))} (root mean square), ` +
        `the cold sampler by ${number(Math.sqrt(last.cold.far))}. MALA's energy went from ${number(bench.frames[0].warm.energy)} to ${number(last.warm.energy)}, the other's to ${number(last.cold.energy)}. ` +
        "At temperature 1 a fall of 21 nats is nothing beside the noise of 784 pixels: almost all of this density lies where pictures are noise. A high acceptance and a long way tell nothing of where a chain is going.",
    };
  },

  python: ({ eta, seed }) => `import torch
from gen_utils import checkpoints
from gen_utils.samplers import MALA, Langevin, UniformStart, sample

energy = checkpoints.load("ebm_mnist")
generator = torch.Generator().manual_seed(${seed})
x0 = UniformStart((1, 28, 28)).draw(1, generator=generator)
cold = Langevin(step_size=10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))  # its card's
warm = MALA(${+(10 ** eta).toPrecision(2)})  # without the clamp to the box, which the bench adds
for kernel in (warm, cold):
    chain = sample(energy, x0, kernel, 256, generator=generator)
    print(chain.accept_rate, float(chain.energy[-1]), float((chain.x - x0).square().mean()))
`,
});
