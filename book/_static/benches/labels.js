// Chapter 4: one noise, a label, and another label in the middle of the chain.
BENCHES.define("labels", {
  question: "A chain was asked for a 3, and after 128 steps has drawn it. Now it is asked for an 8, for 128 steps more. What does it do?",
  options: [
    ["stays", "It stays a 3: it sits in a valley."],
    ["turns", "It turns into an 8, stroke by stroke, and keeps what it can use."],
    ["anew", "It dissolves into noise, out of which an 8 appears."],
  ],
  state: { first: 3, second: 8, swap: 128, seed: 1 },
  verb: "Run 256 steps",

  build(bench) {
    const { shot, button } = BENCHES, { make } = bench;
    const start = shot("the noise"), before = shot("the chain when the label changes"), end = shot("the chain");
    const field = (key, label) => {
      const select = make("select", { id: `bench-labels-${key}` }, ..."0123456789".split("").map((digit) => make("option", { value: digit }, digit)));
      select.addEventListener("change", () => this.change(bench, { [key]: Number(select.value) }));
      bench[key] = select;
      return [make("label", { htmlFor: select.id }, label), select];
    };
    const slider = make("input", { type: "range", id: "bench-labels-swap", min: 0, max: 248, step: 8 }), words = make("output", {});
    slider.addEventListener("input", () => this.change(bench, { swap: Number(slider.value) }));
    const fields = [
      make("div", { className: "bench-field" }, ...field("first", "ask for a"), ...field("second", "then for a")),
      make("div", { className: "bench-field" }, make("label", { htmlFor: slider.id }, "change the label"), slider, words),
    ];
    const every = Array.from({ length: 10 }, (_, digit) => shot(`${digit}`));
    for (const { canvas } of every) canvas.setAttribute("aria-label", "the chain under this label");
    const ten = make("div", { className: "bench-ten", hidden: true }, ...every.map(({ figure }) => figure));
    const buttons = make(
      "div", { className: "bench-row" },
      button("New noise", () => this.change(bench, { seed: bench.state.seed + 1 })),
      button("All ten labels from this noise", () => this.all(bench)),
    );
    const film = BENCHES.film({ ...end, end: 256, high: 1.5, cap: 1.5 });
    const shots = make("div", { className: "bench-shots" }, start.figure, before.figure, end.figure);
    bench.body.append(...fields, shots, ...film.elements, buttons, ten);
    Object.assign(bench, { start, before, end, film, slider, words, every, ten });
  },

  change(bench, state) {
    Object.assign(bench.state, state);
    this.show(bench);
    bench.changed();
  },

  show(bench) {
    const { state, start, before, end, film } = bench;
    for (const key of ["first", "second"]) {
      if (!(state[key] >= 0 && state[key] <= 9 && Number.isInteger(state[key]))) state[key] = 3;
      bench[key].value = state[key];
    }
    bench.slider.value = state.swap;
    bench.words.textContent = `after ${state.swap} steps`;
    bench.slider.setAttribute("aria-valuetext", bench.words.textContent);
    film.clear();
    film.marks([{ x: state.swap }]);
    bench.ten.hidden = true;
    before.canvas.getContext("2d").clearRect(0, 0, 28, 28);
    const random = BENCHES.noise(state.seed);
    BENCHES.picture(start.canvas, Float32Array.from({ length: 784 }, () => 2 * random() - 1));
    start.words.textContent = "the noise";
    before.words.textContent = `when the label changes`;
    end.words.textContent = "the chain";
  },

  chain: ({ seed }, label) => ({ network: "ebm_digits_conditional", reading: { kind: "given", label }, seed, steps: 256 }),

  async run(bench) {
    const { film, state, engine } = bench, { first, second, swap } = state, { number, a } = BENCHES;
    this.show(bench);
    const news = ({ frames }) => {
      film.add(frames);
      const at = film.frames.find(({ step }) => step === swap);
      BENCHES.picture(bench.start.canvas, film.frames[0].x);
      if (at) BENCHES.picture(bench.before.canvas, at.x);
    };
    const changes = [{ after: swap, reading: { kind: "given", label: second } }];
    const answer = await engine.ask("chain", { ...this.chain(state, first), changes }, news);
    if (!answer) return null;
    news(answer);
    const at = film.frames.find(({ step }) => step === swap);
    const inputs = [BENCHES.values(at.x), answer.x];
    const { outputs } = await engine.ask("outputs", { network: "digit_classifier", inputs });
    const [seen, late] = outputs.map((logits) => logits.indexOf(Math.max(...logits)));
    bench.before.words.textContent = `step ${swap}: asked for ${a(first)}, seen as ${a(seen)}`;
    bench.end.words.textContent = `step 256: asked for ${a(second)}, seen as ${a(late)}`;
    const after = film.frames.filter(({ step }) => step > swap), most = Math.max(...after.map(({ x }) => BENCHES.grey(BENCHES.values(x))));
    const ink = (x) => x.reduce((sum, value) => sum + (value > 0), 0);
    const kept = inputs[0].reduce((sum, value, i) => sum + (value > 0 && answer.x[i] > 0), 0) / Math.max(1, ink(inputs[0]));
    const jump = after[0].energy - at.energy;
    return {
      outcome: first === 3 && second === 8 && swap === 128 ? (late === seen ? "stays" : most > 0.4 ? "anew" : "turns") : null,
      said:
        `${Math.round(100 * kept)} % of the ink at step ${swap} is still ink at the end. ` +
        (swap && first !== second
          ? `The new label's energy of that picture is ${number(Math.abs(jump))} nats ${jump > 0 ? "higher" : "lower"}: what was a valley for ${a(first)} is a slope for ${a(second)}. `
          : "") +
        "The pixels do not know what they were asked for before; only the energy has changed. Change the label earlier, later, or ask for something less alike.",
    };
  },

  async all(bench) {
    bench.ten.hidden = false;
    try {
      bench.status("Loading …");
      await bench.engine.load(["ebm_digits_conditional"]);
      for (const [label, { canvas }] of bench.every.entries()) {
        bench.status(`Asking for ${BENCHES.a(label)} …`);
        const answer = await bench.engine.ask("chain", this.chain(bench.state, label), ({ frames }) => BENCHES.picture(canvas, frames.at(-1).x));
        if (!answer) return bench.status("Stopped.");
        BENCHES.picture(canvas, answer.x);
      }
      bench.status("Ten labels, one noise.");
    } catch (error) {
      bench.status(`This bench cannot go on: ${error.message}.`);
    }
  },

  python: ({ first, second, swap, seed }) => `import torch
from gen_utils import checkpoints
from gen_utils.samplers import Langevin, UniformStart, sample

energy = checkpoints.load("ebm_digits_conditional")
kernel = Langevin(step_size=10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
generator = torch.Generator().manual_seed(${seed})
x = UniformStart((1, 28, 28)).draw(1, generator=generator)
for label, steps in ((${first}, ${swap}), (${second}, ${256 - swap})):
    x = sample(energy.given(torch.tensor([label])), x, kernel, steps, generator=generator).x
with torch.no_grad():
    print(energy.class_energies(x))  # under each of the ten labels
`,
});
