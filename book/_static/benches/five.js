// Chapter 11: five objectives for one energy, trained in the page on a density that the reader draws.
BENCHES.define("five", {
  question: "One point cloud, one network, one budget of passes. Which of five objectives comes nearest to the density of the data?",
  options: [
    ["noise", "Contrastive divergence, its chains from noise."],
    ["persistent", "Contrastive divergence, its chains persistent."],
    ["denoising", "Denoising: its energy at σ = 0.1, or its flow."],
    ["discrepancy", "Energy discrepancy: blur, and compare."],
    ["matching", "Energy matching: carry noise to data, then sharpen with short chains."],
  ],
  state: { world: "modes", ink: "", passes: 6000, seed: 1 },
  verb: "Train all five",
  WIDTH: 32,
  LOOKS: 12,
  SIDES: {
    noise: "CD, chains from noise", persistent: "CD, persistent chains", discrepancy: "energy discrepancy", matching: "energy matching",
    denoising: "denoising: energy at σ = 0.1", flow: "denoising: its flow",
  },
  COST: { noise: 44, persistent: 44, denoising: 4, discrepancy: 34, matching: 26 }, // passes a step
  SPIRAL: 13, // among the pad's examples

  build(bench) {
    const { make } = bench, { button, shot, plot } = BENCHES, mixture = (this.mixture = BENCHES.mixture());
    const pad = BENCHES.pad.make(() => this.change(bench, { world: "drawn", ink: BENCHES.pad.written(pad.ink) }));
    const map = (words) => {
      const made = shot(words);
      Object.assign(made.canvas, { width: 240, height: 240, className: "bench-map bench-still-map" });
      return made;
    };
    const drawn = shot("Draw here: more ink, more points.", pad.canvas), data = map("");
    const sides = Object.entries(this.SIDES).map(([name, words]) => ({ name, ...map(words) }));
    const line = (i) => `<svg width="60" height="6" aria-hidden="true"><path d="M0 3h60" class="bench-curve bench-curve-${i}"/></svg>`;
    this.curves(sides).forEach(({ words }, i) => words.insertAdjacentHTML("beforebegin", line(i)));
    const worlds = make(
      "div", { className: "bench-row" },
      ...[["modes", "Three modes"], ["ring", "A ring"], ["spiral", "A spiral"]].map(([world, words]) => button(words, () => this.change(bench, { world, ink: "" }))),
      button("Clear", () => this.change(bench, { world: "drawn", ink: "" })),
    );
    const curve = plot.make("The KL divergence from the data of the five objectives, over the passes they have used");
    const back = make("input", { type: "range", min: 0, "aria-label": "Passes used by each objective" });
    back.addEventListener("input", () => this.look(bench, Number(back.value)));
    const slider = make("input", { type: "range", id: "bench-five-passes", min: 4000, max: 40000, step: 2000 }), words = make("output", {});
    slider.addEventListener("input", () => this.change(bench, { passes: Number(slider.value) }));
    bench.body.append(
      make("div", { className: "bench-pair", style: "max-width: 32rem" }, drawn.figure, data.figure), worlds,
      make("div", { className: "bench-field" }, make("label", { htmlFor: slider.id }, "budget"), slider, words),
      make("div", { className: "bench-shots" }, ...sides.map(({ figure }) => figure)),
      back, curve,
      make("div", { className: "bench-row" }, button("Other first weights", () => this.change(bench, { seed: bench.state.seed + 1 }))),
    );
    Object.assign(bench, { pad, data, sides, curve, back, slider, words, frames: [] });
  },

  curves: (sides) => sides.filter(({ name }) => name !== "flow"),

  change(bench, state) {
    if (bench.run.dataset.running) bench.engine.stop(); // what is trained now would be shown beside other data
    Object.assign(bench.state, state);
    this.show(bench);
    bench.changed();
  },

  // The mixture that a state describes; without parts where nothing is drawn.
  world({ world, ink }, { MODES, RING, ofInk } = this.mixture) {
    if (world === "drawn") return ofInk(BENCHES.pad.read(ink));
    return { modes: MODES, ring: RING }[world] ?? ofInk(BENCHES.pad.example(this.SPIRAL));
  },

  show(bench) {
    const { state } = bench, { mixture } = this;
    if (!["modes", "ring", "spiral", "drawn"].includes(state.world)) state.world = "modes";
    state.passes = Math.max(4000, Math.min(40000, Math.round(state.passes)));
    bench.slider.value = state.passes;
    bench.words.textContent = `${state.passes.toLocaleString("en")} passes each`;
    bench.slider.setAttribute("aria-valuetext", bench.words.textContent);
    const world = this.world(state);
    if (state.world === "drawn") bench.pad.show(BENCHES.pad.read(state.ink));
    else bench.pad.show(state.world === "spiral" ? BENCHES.pad.example(this.SPIRAL) : mixture.inkOf(world));
    Object.assign(bench, { frames: [], flow: null, round: null });
    Object.assign(bench.back, { max: 0, value: 0, disabled: true });
    for (const { name, canvas, words } of bench.sides) {
      words.textContent = this.SIDES[name];
      canvas.setAttribute("aria-label", `${this.SIDES[name]}: not yet trained`);
      this.draw(canvas, this.nothing());
    }
    this.showData(bench, world);
    this.plot(bench);
  },

  showData({ data, state }, world) {
    const { mixture } = this, { canvas, words } = data;
    const logs = world.weights.length ? mixture.onPlane(world) : null, top = logs && logs.reduce((a, b) => Math.max(a, b));
    this.draw(canvas, logs ? Uint8ClampedArray.from(logs, (value) => 255 * Math.exp(value - top)) : this.nothing());
    if (logs) this.points(canvas, world, state.seed);
    words.textContent = logs ? `the data${this.weights(mixture.shares(world, logs))}` : "the data: nothing is drawn yet";
    canvas.setAttribute("aria-label", `Density of ${words.textContent}, ${{ modes: "three modes", ring: "a ring", spiral: "a spiral" }[state.world] ?? "your drawing, blurred"}`);
  },

  nothing() {
    return new Uint8ClampedArray(this.mixture.CELLS ** 2);
  },

  // Bytes at the plane's cells, on a canvas of any size.
  draw(canvas, map) {
    const side = Math.sqrt(map.length), image = new ImageData(side, side), small = BENCHES.make("canvas", { width: side, height: side });
    map.forEach((value, i) => image.data.set(BENCHES.glow(value / 255), 4 * i));
    small.getContext("2d").putImageData(image, 0, 0);
    canvas.getContext("2d").drawImage(small, 0, 0, canvas.width, canvas.height);
  },

  // Some of the data's points, on its density.
  points(canvas, world, seed) {
    const uniform = BENCHES.noise(seed), context = canvas.getContext("2d"), { SIDE } = this.mixture, size = canvas.width;
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    const x = this.mixture.sample(300, world, { uniform, normal }), place = (value) => ((value / SIDE + 1) / 2) * size;
    context.fillStyle = "#ffb072";
    for (let i = 0; i < x.length; i += 2) context.fillRect(place(x[i]) - 1, place(-x[i + 1]) - 1, 2, 2);
  },

  weights: (shares) => (shares ? `, weights ${shares.map((share) => share.toFixed(2)).join(" / ")}` : ""),

  look(bench, at) {
    const { passes, sides } = bench.frames[at], last = at === bench.frames.length - 1;
    const found = Object.fromEntries([...sides, ...(last && bench.flow ? [bench.flow] : [])].map((side) => [side.name, side]));
    for (const { name, canvas, words } of bench.sides) {
      const side = found[name];
      this.draw(canvas, side?.map ?? this.nothing());
      words.textContent = side ? `${this.SIDES[name]}: ${BENCHES.number(side.kl)} nats${this.weights(side.shares)}` : `${this.SIDES[name]}: computed at the end`;
      canvas.setAttribute("aria-label", `Density of ${words.textContent}`);
    }
    bench.back.setAttribute("aria-valuetext", `${passes.toLocaleString("en")} passes`);
    this.plot(bench, passes);
  },

  plot(bench, at) {
    const curves = this.curves(bench.sides).map(({ name }) => ({
      points: bench.frames.map(({ passes, sides }) => [passes, sides.find((side) => side.name === name).kl]),
    }));
    BENCHES.plot.curve(bench.curve, {
      curves, label: "KL from the data (nats, cut at 4)", across: "passes used by each", end: bench.state.passes,
      low: 0, high: 2, cap: 4, marks: at === undefined ? [] : [{ x: at }],
    });
  },

  async run(bench) {
    const { state } = bench, world = this.world(state), still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!world.weights.length) throw new Error("there is no drawing yet");
    this.show(bench);
    const round = (bench.round = {});
    const news = ({ frames, share }, end) => {
      if (bench.round !== round) return; // a last word about other data
      if (bench.run.dataset.running && share < 1) bench.status(`${Math.round(100 * share)} % of the passes`);
      else if (share) bench.status("The flow of denoising …");
      if (!frames.length) return;
      bench.frames.push(...frames);
      if (still && !end) return;
      const last = bench.frames.length - 1;
      Object.assign(bench.back, { max: last, value: last, disabled: false });
      this.look(bench, last);
    };
    const answer = await bench.engine.ask("five", { world, seed: state.seed, passes: state.passes, width: this.WIDTH, looks: this.LOOKS }, news);
    bench.status("");
    if (!answer || bench.round !== round) return null;
    bench.flow = answer.flow;
    bench.frames.push(...answer.frames);
    news({ frames: bench.frames.splice(-1) }, true);
    return this.verdict(bench.frames.at(-1).sides, answer.flow, state);
  },

  verdict(sides, flow, { passes }) {
    const { number } = BENCHES, order = [...sides, flow].sort((a, b) => a.kl - b.kl), at = sides.find(({ name }) => name === "denoising").kl;
    const steps = (name) => Math.floor(passes / this.COST[name]).toLocaleString("en");
    return {
      outcome: order[0].name === "flow" ? "denoising" : order[0].name,
      said:
        `In nats from the data: ${order.map(({ name, kl }) => `${this.SIDES[name]} ${number(kl)}`).join("; ")}. ` +
        (flow.kl < at / 2 && at > 1
          ? `One network, asked twice: the slopes at its smallest level hardly tell how high one heap stands beside another, and its energy there is ${number(at)} nats off. The flow comes down from levels at which all has grown together. `
          : "") +
        `Chains cost passes: contrastive divergence made ${steps("noise")} steps, energy discrepancy ${steps("discrepancy")}, denoising ${steps("denoising")}. ` +
        "Now draw other data, or give all of them more.",
    };
  },

  python({ guess, passes, seed, world, ink }) {
    const mixture = BENCHES.mixture(), drawn = this.world({ world, ink }, mixture), name = this.COST[guess] ? guess : "denoising";
    const { means, weights, width } = drawn.weights.length ? drawn : mixture.MODES;
    const pairs = weights.map((_, k) => `[${means[2 * k]}, ${means[2 * k + 1]}]`), chained = !["denoising", "discrepancy"].includes(name);
    const losses = {
      noise: "loss = contrast(batch, chains(noise()))",
      persistent: "kept = chains(torch.where(torch.rand(128, 1) < 0.05, noise(), kept))\n    loss = contrast(batch, kept)",
      denoising: "loss = denoising_loss(network, batch, torch.randn(128, 2), torch.exp(1.2 * torch.randn(128)))",
      discrepancy: "loss = energy_discrepancy(energy, batch, 1.0, 16)",
      matching: `start = paired(noise(), batch)
    loss = transport_loss(energy, start, batch, torch.rand(128))
    if step >= n_steps / 2:
        loss = loss + contrast(batch, chains(torch.cat([batch[:64], start[64:]]), 0.2), 0.2)`,
    };
    const imported = { denoising: "denoising_loss", discrepancy: "energy_discrepancy", matching: "paired, transport_loss" }[name];
    const [level, temperature] = { denoising: [0.1, 1], matching: [1, 0.2] }[name] ?? [1, 1];
    const walks = `

def noise():
    return (network.sigma_data * torch.randn(128, 2)).clamp(-8, 8)


def chains(x, temperature=1.0):
    kernel = Langevin(0.02, bounds=(-8.0, 8.0))
    return sample(lambda y: energy(y) / temperature, x, kernel, 20).x


def contrast(batch, ends, temperature=1.0):
    real, fake = energy(batch) / temperature, energy(ends) / temperature
    small = real.square().mean() + fake.square().mean()
    return real.mean() - fake.mean() + 0.01 * small

`;
    return `import torch
from gen_utils.models import PlaneNoiseEnergy, SmoothedMixture
${chained ? "from gen_utils.samplers import Langevin, sample\n" : ""}${imported ? `from gen_utils.training.score_losses import ${imported}\n` : ""}
torch.manual_seed(${seed})
data = SmoothedMixture([${pairs.join(", ")}], [${weights.join(", ")}], ${width})
points = data.sample(20_000).float()
network = PlaneNoiseEnergy(2, ${this.WIDTH}, sigma_data=float(points.std()))
energy = network.at(1.0)
${chained ? walks : ""}${name === "persistent" ? "\nkept = noise()" : ""}
n_steps = ${passes} // ${this.COST[name]}  # passes, and passes a step
optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
for step in range(n_steps):
    optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / n_steps)
    batch = points[torch.randint(len(points), (128,))]
    ${losses[name]}
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()

axis = (torch.arange(${mixture.CELLS}) + 0.5) / ${mixture.CELLS / (2 * mixture.SIDE)} - ${mixture.SIDE}
plane = torch.cartesian_prod(axis, axis)
log_p = (-data(plane.double())).log_softmax(0)
log_q = (-network(plane, ${level}) / ${temperature}).detach().double().log_softmax(0)
print(float((log_p.exp() * (log_p - log_q)).sum()))  # KL in nats
`;
  },
});
