// Chapter 7: three games on eight islands, trained in the page.
BENCHES.define("islands", {
  question: "Three games on eight islands, from the same first weights. Which generator is the first to have points on all eight?",
  options: [
    ["fast", "The plain game with momentum 0.9: it goes fastest."],
    ["slow", "The plain game with momentum 0.5."],
    ["pairs", "R3GAN: it compares pairs, and a penalty keeps its critic smooth."],
  ],
  state: { rounds: 200, seed: 1 },
  verb: "Train all three",
  GAMES: [
    ["fast", "plain, momentum 0.9", { pairs: false, gamma: 0, betas: [0.9, 0.999] }],
    ["slow", "plain, momentum 0.5", { pairs: false, gamma: 0, betas: [0.5, 0.999] }],
    ["pairs", "R3GAN, penalty 0.2", { pairs: true, gamma: 0.2, betas: [0, 0.9] }],
  ],

  build(bench) {
    const { make } = bench, { button, shot } = BENCHES;
    const sides = this.GAMES.map(([, label]) => {
      const side = shot(label);
      Object.assign(side.canvas, { width: 220, height: 220, className: "bench-map bench-still-map" });
      return side;
    });
    const curve = BENCHES.plot.make("The share of points on islands after each round, of the three games");
    const back = make("input", { type: "range", min: 0, "aria-label": "Round of the three games" });
    back.addEventListener("input", () => this.look(bench, bench.frames[Number(back.value)]));
    const slider = make("input", { type: "range", id: "bench-islands-rounds", min: 100, max: 1000, step: 100 }), words = make("output", {});
    slider.addEventListener("input", () => this.change(bench, { rounds: Number(slider.value) }));
    bench.body.append(
      make("div", { className: "bench-shots" }, ...sides.map(({ figure }) => figure)),
      back, curve,
      make("div", { className: "bench-field" }, make("label", { htmlFor: slider.id }, "train for"), slider, words),
      make("div", { className: "bench-row" }, button("Other first weights", () => this.change(bench, { seed: bench.state.seed + 1 }))),
    );
    Object.assign(bench, { sides, curve, back, slider, words, frames: [] });
  },

  change(bench, state) {
    Object.assign(bench.state, state);
    this.show(bench);
    bench.changed();
  },

  show(bench) {
    const { state } = bench;
    state.rounds = Math.max(100, Math.min(1000, Math.round(state.rounds)));
    bench.slider.value = state.rounds;
    bench.words.textContent = `${state.rounds} rounds`;
    bench.frames = [];
    Object.assign(bench.back, { max: 0, value: 0, disabled: true });
    bench.sides.forEach((side, i) => {
      side.words.textContent = this.GAMES[i][1];
      this.draw(side.canvas, []);
    });
    this.plot(bench);
  },

  // The islands as rings, four standard deviations wide, and the points.
  draw(canvas, points) {
    const context = canvas.getContext("2d"), size = canvas.width, place = (x) => ((x + 3) / 6) * size;
    context.fillStyle = "#0c1a3e";
    context.fillRect(0, 0, size, size);
    context.strokeStyle = "#9cc7ff";
    for (let k = 0; k < 8; k++) {
      context.beginPath();
      context.arc(place(2 * Math.cos((k * Math.PI) / 4)), place(-2 * Math.sin((k * Math.PI) / 4)), (0.4 / 6) * size, 0, 7);
      context.stroke();
    }
    context.fillStyle = "#ffb072";
    for (let i = 0; i < points.length; i += 2) context.fillRect(place(points[i]) - 1, place(-points[i + 1]) - 1, 2, 2);
  },

  on: (shares) => shares.reduce((a, b) => a + b),

  plot(bench, at) {
    const curves = this.GAMES.map((_, i) => ({ points: bench.frames.map(({ step, sides }) => [step, this.on(sides[i].shares)]) }));
    BENCHES.plot.curve(bench.curve, {
      curves, label: "share of points on islands: line, 0.9; dashes, 0.5; dots, R3GAN", across: "round", end: bench.state.rounds,
      low: 0, high: 1, marks: at === undefined ? [] : [{ x: at }],
    });
  },

  look(bench, { step, sides }) {
    sides.forEach(({ points, shares }, i) => {
      this.draw(bench.sides[i].canvas, points);
      const found = shares.filter((share) => share >= 0.01).length;
      bench.sides[i].words.textContent = `${this.GAMES[i][1]}: ${found} of 8 found, ${Math.round(100 * this.on(shares))} % on them`;
    });
    bench.back.setAttribute("aria-valuetext", `round ${step}`);
    this.plot(bench, step);
  },

  async run(bench) {
    const { state } = bench;
    this.show(bench);
    const news = ({ frames }) => {
      if (!frames.length) return;
      bench.frames.push(...frames);
      const last = bench.frames.length - 1;
      Object.assign(bench.back, { max: last, value: last, disabled: false });
      this.look(bench, bench.frames[last]);
    };
    const given = { seed: state.seed, rounds: state.rounds, games: this.GAMES.map(([, , game]) => game), batch: 64 };
    const answer = await bench.engine.ask("games", given, news);
    if (!answer) return null;
    news(answer);
    const least = (i) => bench.frames.find(({ sides }) => sides[i].shares.every((share) => share >= 0.01))?.step;
    const told = this.GAMES.map(([, label], i) => `${label}: ${least(i) ? `all eight from round ${least(i)}` : "never all eight"}`);
    const when = this.GAMES.map((_, i) => least(i) ?? Infinity), first = Math.min(...when);
    return {
      outcome: first < Infinity ? this.GAMES[when.indexOf(first)][0] : null,
      said:
        `${told.join("; ")}. Momentum carries the generator on in a direction that was right some rounds ago, while the critic has turned: ` +
        "points run in crowds from island to island. Who looks at whole pairs, and on a smooth slope, need not run. Go back with the slider and watch.",
    };
  },

  python: ({ seed, rounds }) => `import torch
from gen_utils.models import ToyCritic, ToyGenerator, eight_gaussians
from gen_utils.training.adversaries import Relativistic

torch.manual_seed(${seed})
ring, game = eight_gaussians(2.0, 0.1), Relativistic(lr=1e-3, betas=(0.0, 0.9), gamma=0.2)
generator, critic = ToyGenerator(), ToyCritic()
optimise_g, optimise_c = (game.optimiser(net.parameters()) for net in (generator, critic))
for _ in range(${rounds}):
    real, z = ring.sample(64).float(), generator.draw(64)
    optimise_c.zero_grad()
    game.critic_loss(critic, real, generator(z).detach())[0].backward()
    optimise_c.step()
    optimise_g.zero_grad()
    game.generator_loss(critic, real, generator(z)).backward()
    optimise_g.step()
points = generator.sample(1000)
print((torch.cdist(points.double(), ring.means).min(1).values < 0.4).double().mean())  # the share on islands
`,
});
