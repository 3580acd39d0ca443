// The first page: from noise, or from a drawing, to a digit.
BENCHES.define("chain", {
  question: "256 steps down the energy, from pixels of pure noise. What will you see?",
  options: [
    ["blur", "A grey blur, the average of all digits."],
    ["digit", "One digit."],
    ["noise", "Noise, only darker."],
  ],
  state: { ink: "", seed: 1, noise: 1 },
  verb: "Run 256 steps",
  NOISES: [0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4],

  build(bench) {
    const { shot, button } = BENCHES, { make } = bench;
    const pad = BENCHES.pad.make(() => {
      bench.state.ink = BENCHES.pad.written(pad.ink);
      this.show(bench);
      bench.changed();
    });
    const start = shot("the start", pad.canvas), end = shot("the chain");
    const film = BENCHES.film({ ...end, end: 256, log: true, strip: 7, high: 22 });
    const slider = make("input", { type: "range", min: 0, max: this.NOISES.length - 1, id: "bench-chain-noise" });
    const words = make("output", { for: "bench-chain-noise" });
    slider.addEventListener("input", () => {
      bench.state.noise = Number(slider.value);
      this.warmth(bench);
      bench.changed();
    });
    const temperature = make("div", { className: "bench-field" }, make("label", { htmlFor: "bench-chain-noise" }, "temperature"), slider, words);
    const buttons = make(
      "div", { className: "bench-row" },
      button("New noise", () => {
        Object.assign(bench.state, { seed: bench.state.seed + 1, ink: "" });
        this.show(bench);
        bench.changed();
        if (bench.ran) bench.go();
      }),
      button("Clear, to draw", () => {
        bench.state.ink = "";
        this.show(bench);
        pad.show(BENCHES.pad.blank());
        start.words.textContent = "draw here";
        pad.canvas.focus();
      }),
    );
    const side = make("div", {}, ...film.elements.slice(0, 1), ...film.elements.slice(1));
    bench.body.append(make("div", { className: "bench-two" }, make("div", { className: "bench-pair" }, start.figure, end.figure), side), buttons, temperature);
    Object.assign(bench, { pad, start, end, film, slider, words });
  },

  warmth(bench) {
    const sigma = this.NOISES[bench.state.noise] ?? 0.005;
    bench.slider.value = bench.state.noise;
    bench.words.textContent = `noise ${sigma}, so T = ${sigma ? (sigma ** 2 / 20).toExponential(1).replace("e-", " · 10⁻").replace(/\d$/, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]) : 0}`;
    bench.slider.setAttribute("aria-valuetext", bench.words.textContent);
  },

  show(bench) {
    bench.film.clear();
    bench.end.words.textContent = "the chain";
    const { ink, seed } = bench.state;
    bench.pad.show(ink ? BENCHES.pad.read(ink) : BENCHES.pad.blank());
    bench.start.words.textContent = ink ? "your drawing" : "noise: draw over it, if you like";
    if (!ink) {
      const random = BENCHES.noise(seed);
      BENCHES.picture(bench.pad.canvas, Float32Array.from({ length: 784 }, () => 2 * random() - 1));
    }
    this.warmth(bench);
  },

  async run(bench) {
    const { film } = bench, { seed, ink, noise } = bench.state;
    film.clear();
    const start = ink ? BENCHES.pad.picture(bench.pad.ink) : null;
    if (ink && !start) throw new Error("there is no drawing yet");
    const sigma = this.NOISES[noise] ?? 0.005;
    const chain = { network: "ebm_mnist", reading: { kind: "energy" }, start, seed, steps: 256, settings: { noise: sigma } };
    const answer = await bench.engine.ask("chain", chain, ({ frames }) => film.add(frames));
    if (!answer) return null;
    film.add(answer.frames);
    if (!start) BENCHES.picture(bench.pad.canvas, film.frames[0].x);
    bench.ran = true;
    const grey = BENCHES.grey(answer.x), half = film.frames.find(({ energy }) => energy < film.frames[0].energy / 2);
    return {
      outcome: start || noise !== 1 ? null : grey > 0.45 ? "noise" : grey > 0.25 ? "blur" : "digit",
      said:
        `The energy went from ${BENCHES.number(film.frames[0].energy)} to ${BENCHES.number(film.frames.at(-1).energy)} nats` +
        (half && !start ? `, half of the way in the first ${half.step} steps` : "") +
        (grey > 0.45 ? ". So much noise shakes every pixel out of the valley: cool it." : ". Drag the slider to see it again; then take new noise, another temperature, or a drawing of yours."),
    };
  },

  python: ({ seed, noise }) => `import torch
from gen_utils import checkpoints
from gen_utils.samplers import Langevin, UniformStart, sample

energy = checkpoints.load("ebm_mnist")
kernel = Langevin(step_size=10.0, noise=${BENCHES.kinds.chain.NOISES[noise] ?? 0.005}, grad_clip=0.03, bounds=(-1.0, 1.0))
generator = torch.Generator().manual_seed(${seed})
x0 = UniformStart((1, 28, 28)).draw(8, generator=generator)
chain = sample(energy, x0, kernel, 256, keep_every=8, generator=generator)
print(chain.energy[-1])  # of eight chains; chain.x has their pictures
`,
});
