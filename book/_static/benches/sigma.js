// Chapter 9: what a grey level costs at each σ of the decoder, against a grey card; and the code, moved by hand.
BENCHES.define("sigma", {
  question: "A decoder with σ = 1 rebuilds a picture almost perfectly. What does a grey level cost? (Guessing among 256 costs 8 bits.)",
  options: [
    ["little", "Less than 1 bit: hardly anything is left to say."],
    ["some", "Between 1 and 8 bits."],
    ["more", "More than 8 bits: guessing is cheaper."],
  ],
  state: { example: 5, ink: "", sigma: 0, dim: 0, by: 0 },
  verb: "Price it",
  PIXELS: 784,

  // Bits of one of 256 grey levels: -log₂ of a density on [-1, 1], and log₂ of the 128 levels in a unit of it.
  bits(sigma, error, kl) {
    return 7 + (0.5 * Math.log(2 * Math.PI * sigma ** 2) + error / (2 * sigma ** 2) + kl / this.PIXELS) / Math.LN2;
  },

  build(bench) {
    const { shot, button, plot } = BENCHES, { make } = bench;
    const pad = BENCHES.pad.make(() => this.change(bench, { ink: BENCHES.pad.written(pad.ink) }, false));
    const start = shot("", pad.canvas), again = shot("the picture rebuilt from its code"), card = shot("a grey card");
    const range = (key, label, settings, act) => {
      const slider = make("input", { type: "range", id: `bench-sigma-${key}`, ...settings }), words = make("output", {});
      slider.addEventListener("input", () => {
        bench.state[key] = Number(slider.value);
        act();
        bench.changed();
      });
      bench[key] = { slider, words };
      return make("div", { className: "bench-field" }, make("label", { htmlFor: slider.id }, label), slider, words);
    };
    const curve = plot.make("Bits for a grey level at each σ, of the auto-encoder and of a grey card");
    const bars = plot.make("Nats that each of the sixteen dimensions of the code carries");
    const fields = [
      range("sigma", "σ", { min: -2, max: 0.5, step: 0.05 }, () => this.price(bench)),
      range("dim", "move dimension", { min: 0, max: 15 }, () => this.move(bench)),
      range("by", "by", { min: -3, max: 3, step: 0.25 }, () => this.move(bench)),
    ];
    const buttons = make(
      "div", { className: "bench-row" },
      button("Clear", () => (pad.show(BENCHES.pad.blank()), this.change(bench, { ink: "A" }, false))),
      button("Another example", () => this.change(bench, { ink: "", example: (bench.state.example + 1) % 10 })),
    );
    const shots = make("div", { className: "bench-shots" }, start.figure, again.figure, card.figure);
    bench.body.append(shots, buttons, curve, fields[0], bars, ...fields.slice(1));
    Object.assign(bench, { pad, start, again, card, curve, bars });
  },

  change(bench, state, redraw = true) {
    Object.assign(bench.state, state);
    if (redraw) this.show(bench);
    else this.forget(bench);
    bench.changed();
    if (bench.ran) bench.go();
  },

  show(bench) {
    const { ink, example } = bench.state;
    bench.pad.show(ink ? BENCHES.pad.read(ink) : BENCHES.pad.example(Math.abs(Math.trunc(example)) % 10));
    this.forget(bench);
  },

  forget(bench) {
    bench.found = null;
    for (const { canvas } of [bench.again, bench.card]) canvas.getContext("2d").clearRect(0, 0, 28, 28);
    bench.start.words.textContent = "your drawing";
    bench.again.words.textContent = "rebuilt from 16 numbers";
    bench.card.words.textContent = "a grey card";
    for (const key of ["sigma", "dim", "by"]) bench[key].slider.value = bench.state[key];
    this.price(bench);
    this.nats(bench);
  },

  price(bench) {
    const { found, state } = bench, { number } = BENCHES, sigma = 10 ** state.sigma;
    const sigmas = Array.from({ length: 51 }, (_, i) => 10 ** (-2 + i * 0.05));
    const line = (error, kl) => ({ points: sigmas.map((s) => [s, this.bits(s, error, kl)]).filter(([, y]) => y < 11) });
    BENCHES.plot.curve(bench.curve, {
      curves: found ? [line(found.error, found.kl), line(found.card, 0)] : [{ points: [] }],
      label: "bits for a grey level: line, the auto-encoder; dashes, the card", across: "σ of the decoder", log: true,
      begin: 0.01, end: 3.2, ticks: [0.01, 0.03, 0.1, 0.3, 1, 3], low: 0, high: 10, cap: 10, marks: [{ x: sigma }],
    });
    bench.sigma.words.textContent = `${number(sigma, sigma < 0.1 ? 3 : 2)}${found ? `: ${number(this.bits(sigma, found.error, found.kl))} bits; the card ${number(this.bits(sigma, found.card, 0))}` : ""}`;
    bench.sigma.slider.setAttribute("aria-valuetext", bench.sigma.words.textContent);
  },

  nats(bench) {
    const { found, state } = bench, most = found ? Math.max(...found.kls) : 1;
    const values = found ? found.kls.map((kl) => kl / most) : new Array(16).fill(0);
    BENCHES.plot.bars(bench.bars, {
      series: [values], names: Array.from({ length: 16 }, (_, i) => `${i}`),
      label: found ? `nats in each dimension of the code; the tallest bar is ${BENCHES.number(most, 1)}` : "nats in each dimension of the code",
    });
    bench.dim.words.textContent = `${state.dim}`;
    bench.by.words.textContent = BENCHES.number(state.by);
  },

  async move(bench) {
    this.nats(bench);
    if (!bench.found || bench.moving) return;
    bench.moving = true;
    const z = bench.found.mean.map((value, i) => value + (i === bench.state.dim ? bench.state.by : 0));
    const answer = await bench.engine.ask("outputs", { network: "vaebm_mnist.decoder", inputs: [z] }).catch(() => null);
    bench.moving = false;
    if (!answer) return;
    BENCHES.picture(bench.again.canvas, answer.outputs[0]);
    bench.again.words.textContent = bench.state.by ? `dimension ${bench.state.dim} moved by ${BENCHES.number(bench.state.by)}` : "rebuilt from 16 numbers";
  },

  async run(bench) {
    const { engine, state } = bench, { number } = BENCHES, x = BENCHES.pad.picture(bench.pad.ink);
    if (!x) throw new Error("there is no drawing yet");
    const read = await engine.ask("outputs", { network: "vaebm_mnist.encoder", inputs: [x] });
    if (!read) return null;
    const mean = [...read.outputs[0].slice(0, 16)], variance = [...read.outputs[0].slice(16)].map(Math.exp);
    const random = BENCHES.noise(7), normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const codes = Array.from({ length: 16 }, () => mean.map((m, i) => m + Math.sqrt(variance[i]) * normal()));
    const drawn = await engine.ask("outputs", { network: "vaebm_mnist.decoder", inputs: [mean, ...codes] });
    if (!drawn) return null;
    const off = (picture) => x.reduce((sum, value, i) => sum + (value - (picture[i] ?? picture)) ** 2, 0) / this.PIXELS;
    const error = drawn.outputs.slice(1).reduce((sum, picture) => sum + off(picture) / codes.length, 0);
    const kls = mean.map((m, i) => 0.5 * (m * m + variance[i] - 1 - Math.log(variance[i])));
    const grey = x.reduce((sum, value) => sum + value / this.PIXELS, 0), kl = kls.reduce((a, b) => a + b);
    bench.found = { error, kl, kls, mean, card: x.reduce((sum, value) => sum + (value - grey) ** 2, 0) / this.PIXELS };
    BENCHES.picture(bench.again.canvas, drawn.outputs[0]);
    BENCHES.picture(bench.card.canvas, new Float32Array(this.PIXELS).fill(grey));
    this.price(bench);
    this.nats(bench);
    bench.ran = true;
    const atOne = this.bits(1, error, kl), best = Math.sqrt(error), wins = bench.found.card;
    const crossing = Math.sqrt((wins - error) / (2 * (kl / this.PIXELS)));
    return {
      outcome: atOne > 8 ? "more" : atOne > 1 ? "some" : "little",
      said:
        `At σ = 1 a level costs ${number(atOne)} bits, though the squared error is only ${number(error, 3)}: such a Gaussian spreads its density far beyond the picture. ` +
        `The best σ is the root of the error, ${number(best)}: ${number(this.bits(best, error, kl))} bits, where the card pays ${number(this.bits(best, wins, 0))} (and ${number(this.bits(Math.sqrt(wins), wins, 0))} at a σ of its own). ` +
        `The code costs ${number(kl, 1)} nats, the card nothing; so from σ = ${number(crossing, 1)} on the card is cheaper, and training at such a σ would empty the code.`,
    };
  },

  python: () => `import torch
from gen_utils import checkpoints
from gen_utils.evaluation.likelihood import bits_per_dim, importance_weighted

vae = checkpoints.load("vaebm_mnist").vae
x = -torch.ones(1, 1, 28, 28)
x[:, :, 5:23, 13:15] = 1.0  # your drawing, in [-1, 1]
with torch.no_grad():
    log_prob = importance_weighted(vae, x, 256, generator=torch.Generator().manual_seed(0))
print(float(vae.pixels.sigma), bits_per_dim(log_prob, 784, levels=128))  # at its own, calibrated σ
`,
});
