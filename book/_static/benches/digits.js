// Chapter 2: a drawn digit, 256 steps of the sampler of the card, and 4,096.
BENCHES.define("digits", {
  question: "You draw a digit and run the sampler from it. What is there after 4,096 steps?",
  options: [
    ["same", "My digit, cleaner than I drew it."],
    ["other", "Another digit, or a stroke that is none."],
    ["noise", "Noise: the digit dissolves."],
  ],
  state: { example: 3, ink: "", seed: 1 },
  verb: "Run 4,096 steps",

  build(bench) {
    const { shot, button } = BENCHES, pad = BENCHES.pad.make(() => this.drawn(bench));
    const start = shot("your drawing", pad.canvas), short = shot("after 256 steps"), long = shot("after 4,096 steps");
    const buttons = bench.make(
      "div", { className: "bench-row" },
      button("Clear", () => (pad.show(BENCHES.pad.blank()), this.drawn(bench))),
      button("Another example", () => {
        Object.assign(bench.state, { example: (bench.state.example + 1) % 10, ink: "" });
        this.show(bench);
        bench.changed();
      }),
    );
    const film = BENCHES.film({ ...long, end: 4096, log: true, marks: [{ x: 256 }], low: -0.13, high: 0.1 });
    const shots = bench.make("div", { className: "bench-shots" }, start.figure, short.figure, long.figure);
    bench.body.append(shots, buttons, ...film.elements);
    Object.assign(bench, { pad, start, short, long, film });
  },

  // Everything as the state says, nothing run.
  show(bench) {
    const { ink, example } = bench.state;
    bench.pad.show(ink ? BENCHES.pad.read(ink) : BENCHES.pad.example(Math.abs(Math.trunc(example)) % 10));
    this.forget(bench);
  },

  forget({ film, start, short, long }) {
    film.clear();
    short.canvas.getContext("2d").clearRect(0, 0, 28, 28);
    start.words.textContent = "your drawing";
    short.words.textContent = "after 256 steps";
    long.words.textContent = "after 4,096 steps";
  },

  async drawn(bench) {
    bench.state.ink = BENCHES.pad.written(bench.pad.ink);
    this.forget(bench);
    bench.changed();
    const x = BENCHES.pad.picture(bench.pad.ink);
    if (!x || !bench.loaded) return;
    const given = { network: "ebm_mnist", inputs: [x], readings: [{ kind: "energy" }] };
    const { energies } = await bench.engine.ask("outputs", given);
    bench.start.words.textContent = `your drawing: energy ${BENCHES.number(energies[0][0])}`;
  },

  async run(bench) {
    const { film, engine } = bench, start = BENCHES.pad.picture(bench.pad.ink), { number, a } = BENCHES;
    bench.loaded = true;
    if (!start) throw new Error("there is no drawing yet");
    this.forget(bench);
    const news = ({ frames }) => {
      film.add(frames);
      const early = film.frames.findLast(({ step }) => step <= 256);
      BENCHES.picture(bench.short.canvas, early.x);
      bench.short.words.textContent = `step ${early.step}: energy ${number(early.energy, 3)}`;
      bench.start.words.textContent = `your drawing: energy ${number(film.frames[0].energy)}`;
    };
    const chain = { network: "ebm_mnist", reading: { kind: "energy" }, start, seed: bench.state.seed, steps: 4096 };
    const answer = await engine.ask("chain", { ...chain, keep: [256] }, news);
    if (!answer) return null;
    news(answer);
    const short = film.frames.find(({ step }) => step === 256), { energy } = film.frames.at(-1);
    const inputs = [start, BENCHES.values(short.x), answer.x];
    const { outputs } = await engine.ask("outputs", { network: "digit_classifier", inputs });
    const [drawn, early, late] = outputs.map((logits) => logits.indexOf(Math.max(...logits)));
    bench.short.words.textContent = `after 256 steps: energy ${number(short.energy, 3)}, ${a(early)}`;
    bench.long.words.textContent = `after 4,096 steps: energy ${number(energy, 3)}, ${a(late)}`;
    return {
      outcome: BENCHES.grey(answer.x) > 0.5 ? "noise" : late === early ? "same" : "other",
      said:
        `A classifier reads your drawing as ${a(drawn)}, and the chain as ${a(early)} after 256 steps and ${a(late)} after 4,096. ` +
        `The energy fell from ${number(film.frames[0].energy)} to ${number(short.energy, 3)} and on to ${number(energy, 3)}` +
        (energy < -0.1
          ? ": the deepest valley of this energy is a slanted stroke with a dot, and many digits end there. Lower is not better: this model draws digits because its chains are stopped early."
          : ". Try other examples: where do most of them end?"),
    };
  },

  python: ({ seed }) => `import torch
from gen_utils import checkpoints
from gen_utils.samplers import Langevin, sample

energy = checkpoints.load("ebm_mnist")
kernel = Langevin(step_size=10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))  # its card's
x0 = -torch.ones(1, 1, 28, 28)
x0[:, :, 5:23, 13:15] = 1.0  # your digit, in [-1, 1]
generator = torch.Generator().manual_seed(${seed})
chain = sample(energy, x0, kernel, 4096, generator=generator)
print(chain.energy[255::256].flatten())  # every 256 steps
`,
});
