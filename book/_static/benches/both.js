// Chapter 5: p(y | x) and E(x) of one drawing, from the same ten logits; beside them a classifier that is only that.
BENCHES.define("both", {
  question: "Draw something that is no digit, and try to make the classifier sure of itself. What will E(x) say?",
  options: [
    ["alarm", "E(x) rises above all digits': the density knows that this is none."],
    ["fooled", "E(x) stays among the digits': it is as wrong as p(y | x) is."],
    ["unsure", "There is nothing to say: it is sure of digits only."],
  ],
  state: { example: 10, ink: "", noise: 0, seed: 1 },
  verb: "Read it",
  WHAT: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a house", "a cross", "a bird", "a spiral", "an A", "a blot"],

  build(bench) {
    const { shot, button, plot } = BENCHES, { make } = bench;
    const pad = BENCHES.pad.make(() => this.change(bench, { ink: BENCHES.pad.written(pad.ink), noise: 0 }, false));
    const start = shot("", pad.canvas), end = shot("the picture 40 steps later");
    const next = (by, from, to) => {
      const { example, ink, noise } = bench.state, at = example + by;
      this.change(bench, { ink: "", noise: 0, example: ink || noise || at < from || at > to ? from : at });
    };
    const buttons = make(
      "div", { className: "bench-row" },
      button("Clear", () => (pad.show(BENCHES.pad.blank()), this.change(bench, { ink: "A", noise: 0 }, false))),
      button("A shape", () => next(1, 10, 15)),
      button("A digit", () => next(1, 0, 9)),
      button("Noise", () => this.change(bench, { ink: "", noise: 1, seed: bench.state.seed + 1 })),
    );
    const bars = plot.make("Probabilities of the ten digits, by the joint model and by the plain classifier");
    const scale = make("div", { className: "bench-scale" });
    const side = make("div", {}, bars, scale);
    bench.body.append(make("div", { className: "bench-two" }, make("div", { className: "bench-pair" }, start.figure, end.figure), side), buttons);
    Object.assign(bench, { pad, start, end, bars, scale });
  },

  change(bench, state, redraw = true) {
    Object.assign(bench.state, state);
    if (redraw) this.show(bench);
    else this.forget(bench);
    bench.changed();
    if (bench.ran) bench.go();
  },

  show(bench) {
    const { ink, example, noise, seed } = bench.state;
    bench.pad.show(ink ? BENCHES.pad.read(ink) : BENCHES.pad.example(this.WHAT[example] ? example : 10));
    if (noise) {
      const random = BENCHES.noise(seed);
      bench.still = Float32Array.from({ length: 784 }, () => 2 * random() - 1);
      BENCHES.picture(bench.pad.canvas, bench.still);
    }
    this.forget(bench);
  },

  forget(bench) {
    const { ink, example, noise } = bench.state;
    bench.what = noise ? "noise" : ink ? "your drawing" : this.WHAT[example] ?? "a house";
    bench.start.words.textContent = bench.what;
    bench.end.words.textContent = "40 steps of its own sampler later";
    bench.end.canvas.getContext("2d").clearRect(0, 0, 28, 28);
    BENCHES.plot.bars(bench.bars, { series: [new Float32Array(10), new Float32Array(10)], names: [..."0123456789"], label: "p(y | x)" });
    bench.scale.textContent = "Filled: the joint model. Open: a plain classifier.";
  },

  async run(bench) {
    const { engine, state } = bench, { number } = BENCHES;
    const x = state.noise ? bench.still : BENCHES.pad.picture(bench.pad.ink);
    if (!x) throw new Error("there is no drawing yet");
    const digits = Array.from({ length: 10 }, (_, i) => BENCHES.pad.picture(BENCHES.pad.example(i)));
    const ask = { network: "jem_mnist", inputs: [x, ...digits], readings: [{ kind: "joint" }] };
    const [read, plain, walk] = [
      await engine.ask("outputs", ask),
      await engine.ask("outputs", { network: "digit_classifier", inputs: [x] }),
      await engine.ask("chain", { network: "jem_mnist", reading: { kind: "joint" }, start: x, seed: state.seed, steps: 40 }),
    ];
    if (!read || !plain || !walk) return null;
    const probable = (logits) => {
      const top = Math.max(...logits), sum = logits.reduce((a, b) => a + Math.exp(b - top), 0);
      return logits.map((value) => Math.exp(value - top) / sum);
    };
    const p = probable(read.outputs[0]), q = probable(plain.outputs[0]), sure = Math.max(...p);
    const [energy, ...theirs] = read.energies.map((each) => each[0]), low = Math.min(...theirs), high = Math.max(...theirs);
    BENCHES.plot.bars(bench.bars, { series: [p, q], names: [..."0123456789"], label: "p(y | x)" });
    bench.scale.textContent = `E(x) = ${number(energy)} nats; the ten drawn digits lie from ${number(low)} to ${number(high)}.`;
    BENCHES.picture(bench.end.canvas, walk.x);
    bench.end.words.textContent = `40 steps of its own sampler later: E(x) = ${number(walk.energy)}`;
    bench.ran = true;
    const isDigit = !state.ink && !state.noise && state.example < 10, percent = (value) => `${(100 * value).toFixed(value > 0.995 ? 1 : 0)} %`;
    const outcome = sure < 0.9 ? "unsure" : energy > high ? "alarm" : "fooled";
    return {
      outcome: isDigit ? null : outcome,
      said:
        `Of ${bench.what} the joint model says ${p.indexOf(sure)} with ${percent(sure)}, the plain classifier ${q.indexOf(Math.max(...q))} with ${percent(Math.max(...q))}. ` +
        (isDigit ? "That is a digit; now draw something that is none." : {
          unsure: "Go on: draw rounder, thinner, nearer to a digit, until the joint model is sure of a thing that is none.",
          alarm: "p(y | x) divides by p(x), and so it cannot see that x is improbable; E(x) can.",
          fooled: "Strokes on black with a digit's weight lie in the digits' valley. An energy is trained against what its own chains find, and nobody has shown it this.",
        }[outcome]),
    };
  },

  python: () => `import torch
from gen_utils import checkpoints
from gen_utils.models import JointEnergy

classifier = checkpoints.load("jem_mnist")
energy = JointEnergy(classifier, (1, 28, 28))
x = -torch.ones(1, 1, 28, 28)
x[:, :, 6:23, 7:21] = 1.0
x[:, :, 8:21, 9:19] = -1.0  # a frame: no digit
with torch.no_grad():
    print(classifier(x).softmax(1), energy(x))  # p(y | x), and E(x) from the same logits
`,
});
