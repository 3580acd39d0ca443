// Chapter 1: walkers on a landscape, and how the step size spoils their variance.
BENCHES.define("walkers", {
  question: "ULA walks on a Gaussian of variance 1, and you make its step η larger and larger. How does it fail?",
  options: [
    ["sudden", "Suddenly: it is right up to some η, and diverges beyond."],
    ["gradual", "Gradually: its variance is wrong long before it diverges."],
    ["never", "Not at all: with the right noise it is right at every η."],
  ],
  state: { land: "gaussian", kernel: "ula", eta: -1, seed: 1, x: 0, y: 0, spread: 1 },
  verb: "Run a sweep over η",
  KERNELS: { ula: "ULA", mala: "MALA", hmc: "HMC, 10 leapfrog steps", tempering: "MALA, 4 temperatures" },
  WALKERS: 240,
  SWEEP: Array.from({ length: 15 }, (_, i) => 0.02 * 1.4 ** i).map((eta) => +eta.toPrecision(2)), // 0.02 to 2.2

  build(bench) {
    const { make } = bench, { button, shot } = BENCHES, { landscapes } = (this.plane = BENCHES.plane());
    const choose = (key, label, entries) => {
      const id = `bench-walkers-${key}`;
      const select = make("select", { id }, ...entries.map(([value, words]) => make("option", { value }, words)));
      select.addEventListener("change", () => this.change(bench, { [key]: select.value }));
      bench[key] = select;
      return make("div", { className: "bench-field" }, make("label", { htmlFor: id }, label), select);
    };
    const land = choose("land", "landscape", Object.entries(landscapes).map(([name, { words }]) => [name, words]));
    const kernel = choose("kernel", "sampler", Object.entries(this.KERNELS));
    const eta = make("input", { type: "range", id: "bench-walkers-eta", min: -2, max: 0.5, step: 0.05 });
    eta.addEventListener("input", () => this.change(bench, { eta: Number(eta.value) }));
    const said = make("output", {}), told = make("p", { className: "bench-told" });
    const sizes = make("div", { className: "bench-field" }, make("label", { htmlFor: eta.id }, "step size"), eta, said);
    const map = shot("Click to place all walkers at one point.");
    Object.assign(map.canvas, { width: 320, height: 320, className: "bench-map", tabIndex: 0 });
    map.canvas.addEventListener("click", (event) => {
      const box = map.canvas.getBoundingClientRect(), { extent, middle } = landscapes[bench.state.land];
      const part = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const [x, y] = [middle[0] + extent * (2 * part[0] - 1), middle[1] + extent * (1 - 2 * part[1])];
      this.change(bench, { x: +x.toFixed(2), y: +y.toFixed(2), spread: 0 });
    });
    map.canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      const by = landscapes[bench.state.land].extent / 10;
      this.change(bench, { x: +(bench.state.x + by * move[0]).toFixed(2), y: +(bench.state.y + by * move[1]).toFixed(2), spread: 0 });
    });
    const walk = button("Walk", () => (bench.timer ? this.halt(bench) : this.walk(bench)));
    const buttons = make(
      "div", { className: "bench-row" }, walk,
      button("100 steps", () => (this.halt(bench), this.steps(bench, 100), this.draw(bench))),
      button("Spread them out", () => this.change(bench, { spread: 1 })),
    );
    const curve = BENCHES.plot.make("Variance of the first coordinate divided by its exact value, for each step size of the sweep");
    const side = make("div", {}, land, kernel, sizes, buttons, told);
    bench.body.append(make("div", { className: "bench-two bench-even" }, map.figure, side), curve);
    Object.assign(bench, { map, slider: eta, said, told, curve, walk });
  },

  change(bench, state) {
    Object.assign(bench.state, state);
    if ("land" in state) bench.sweep = null;
    if ("kernel" in state) bench.sweep = null;
    const goes = bench.timer;
    this.show(bench, bench.sweep);
    if (goes) this.walk(bench);
    bench.changed();
  },

  show(bench, sweep = null) {
    const { state } = bench, { landscapes } = this.plane;
    if (!landscapes[state.land]) state.land = "gaussian";
    if (!this.KERNELS[state.kernel]) state.kernel = "ula";
    bench.land.value = state.land;
    bench.kernel.value = state.kernel;
    bench.slider.value = state.eta;
    bench.said.textContent = `η = ${this.eta(bench)}`;
    bench.slider.setAttribute("aria-valuetext", bench.said.textContent);
    this.halt(bench);
    bench.random = BENCHES.chains().random(state.seed);
    bench.group = this.start(bench, state, this.eta(bench), bench.random);
    bench.sums = new Float64Array(3 * this.WALKERS);
    bench.step = 0;
    bench.sweep = sweep;
    bench.ground = null;
    this.draw(bench);
    this.plot(bench);
  },

  eta: (bench) => +(10 ** bench.state.eta).toPrecision(2),

  // Walkers at one point or spread out; settled ones have then made so many steps of HMC.
  start(bench, { land, kernel, x, y, spread }, eta, random, settled = 0) {
    const { extent, middle } = this.plane.landscapes[land];
    const n = this.WALKERS * (kernel === "tempering" ? this.plane.TEMPERATURES.length : 1), places = new Float64Array(2 * n);
    for (let i = 0; i < n; i++) {
      places[2 * i] = spread ? middle[0] + extent * (1.4 * random.uniform() - 0.7) : x;
      places[2 * i + 1] = spread ? middle[1] + extent * (1.4 * random.uniform() - 0.7) : y;
    }
    const before = this.plane.walkers(this.plane.landscapes[land], places, { kernel: "hmc", eta: 0.03 }, random);
    for (let k = 0; k < settled; k++) before.step();
    return this.plane.walkers(this.plane.landscapes[land], places, { kernel, eta }, random);
  },

  // Steps of the walkers that are seen; the sums of each one's first coordinate make R-hat.
  steps(bench, count) {
    const { x } = bench.group, n = this.WALKERS;
    for (let k = 0; k < count; k++) {
      bench.group.step();
      bench.step++;
      for (let i = 0; i < n; i++) {
        bench.sums[3 * i]++;
        bench.sums[3 * i + 1] += x[2 * i];
        bench.sums[3 * i + 2] += x[2 * i] ** 2;
      }
    }
  },

  rhat({ sums }) {
    const n = sums[0], walkers = sums.length / 3;
    let within = 0, mean = 0, square = 0;
    for (let i = 0; i < walkers; i++) {
      const m = sums[3 * i + 1] / n;
      within += (sums[3 * i + 2] - n * m * m) / (n - 1) / walkers;
      mean += m / walkers;
      square += (m * m) / walkers;
    }
    const between = ((square - mean * mean) * walkers) / (walkers - 1);
    return Math.sqrt((n - 1) / n + between / within);
  },

  walk(bench) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.steps(bench, 100);
      return this.draw(bench);
    }
    const go = () => {
      this.steps(bench, 2);
      this.draw(bench);
      bench.timer = bench.step < 20000 ? requestAnimationFrame(go) : 0;
    };
    bench.timer = requestAnimationFrame(go);
    bench.walk.textContent = "Pause";
  },

  halt(bench) {
    cancelAnimationFrame(bench.timer);
    bench.timer = 0;
    bench.walk.textContent = "Walk";
  },

  draw(bench) {
    const { canvas } = bench.map, context = canvas.getContext("2d"), side = canvas.width;
    const { energy, extent, middle, variance } = this.plane.landscapes[bench.state.land], { x } = bench.group;
    if (!bench.ground) {
      const image = (bench.ground = new ImageData(side, side)), g = [0, 0], values = new Float64Array(side * side);
      for (let i = 0; i < values.length; i++)
        values[i] = energy(middle[0] + extent * ((2 * (i % side) + 1) / side - 1), middle[1] + extent * (1 - (2 * Math.floor(i / side) + 1) / side), g);
      const least = values.reduce((a, b) => Math.min(a, b));
      values.forEach((value, i) => image.data.set(BENCHES.glow(Math.exp(least - value)), 4 * i));
    }
    context.putImageData(bench.ground, 0, 0);
    context.fillStyle = "#fff";
    let inside = 0, mean = 0, square = 0;
    for (let i = 0; i < this.WALKERS; i++) {
      const u = ((x[2 * i] - middle[0]) / extent + 1) / 2, v = (1 - (x[2 * i + 1] - middle[1]) / extent) / 2;
      if (u > 0 && u < 1 && v > 0 && v < 1) inside++;
      context.fillRect(u * side - 1.5, v * side - 1.5, 3, 3);
      mean += x[2 * i] / this.WALKERS;
      square += x[2 * i] ** 2 / this.WALKERS;
    }
    const { number } = BENCHES, ratio = (square - mean * mean) / variance;
    const lines = [`${bench.step.toLocaleString("en")} steps, ${this.WALKERS} walkers`];
    lines.push(ratio < 1e4 ? `variance now: ${number(ratio)} × exact` : "diverged: the walkers are far outside");
    if (bench.step > 50 && ratio < 1e4) lines.push(`R-hat so far: ${number(this.rhat(bench))}`);
    if (bench.group.proposed) lines.push(`accepted: ${Math.round((100 * bench.group.accepted) / bench.group.proposed)} %`);
    bench.told.textContent = lines.join(" · ");
    canvas.setAttribute("aria-label", `${this.plane.landscapes[bench.state.land].words}: ${inside} of ${this.WALKERS} walkers in sight. Arrow keys place all of them.`);
  },

  plot(bench) {
    const sweep = bench.sweep ?? [], kept = sweep.filter(({ ratio }) => ratio < 1e4);
    BENCHES.plot.curve(bench.curve, {
      curves: [{ points: kept.map(({ eta, ratio }) => [eta, Math.min(ratio, 5)]) }, { points: [[0.02, 1], [2.3, 1]] }],
      label: "variance ÷ exact variance", across: "step size η", log: true, begin: 0.02, end: 2.3, low: 0, high: 2.5,
      ticks: [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2],
      marks: sweep.filter(({ ratio }) => !(ratio < 1e4)).slice(0, 1).map(({ eta }) => ({ x: eta, text: "diverged" })),
    });
  },

  // At every η: as many steps to forget the start as are then measured.
  async run(bench) {
    this.halt(bench);
    const { state } = bench, landscape = this.plane.landscapes[state.land], sweep = (bench.sweep = []), n = this.WALKERS;
    for (const eta of this.SWEEP) {
      const random = BENCHES.chains().random(state.seed), begin = { ...state, spread: 1 };
      const group = this.start(bench, begin, eta, random, 60);
      const rounds = Math.max(150, Math.min(900, Math.round(20 / eta)));
      let count = 0, square = 0;
      for (let k = 0; k < 2 * rounds; k++) {
        group.step();
        if (k % 100 === 99) await new Promise((resolve) => setTimeout(resolve));
        if (bench.stopped) return null;
        if (k < rounds) continue;
        for (let i = 0; i < n; i++) square += group.x[2 * i] ** 2;
        count += n;
      }
      const ratio = square / count / landscape.variance;
      sweep.push({ eta, ratio: Number.isFinite(ratio) ? ratio : Infinity, accepted: group.accepted / group.proposed });
      this.plot(bench);
    }
    const { number } = BENCHES, lost = sweep.find(({ ratio }) => !(ratio < 1e4)), fine = sweep.filter(({ ratio }) => ratio < 1e4);
    const off = fine.find(({ ratio }) => Math.abs(ratio - 1) > 0.12), last = fine.at(-1), tested = last.accepted >= 0;
    return {
      outcome: state.kernel === "ula" && state.land === "gaussian" ? (off ? "gradual" : lost ? "sudden" : "never") : null,
      said:
        (off ? `At η = ${off.eta} the variance is ${number(off.ratio)} times the exact one` : "The variance stays within 12 % of the exact one") +
        (lost ? `; from η = ${lost.eta} on the walkers run away.` : ", up to the largest step.") +
        (tested ? ` The test pays for it: at η = ${last.eta} it accepts ${Math.round(100 * last.accepted)} % of the proposals.` : " More steps are no cure: the walk has settled, on another density. Now choose MALA and run the sweep again."),
    };
  },

  python({ land, kernel, eta, seed }) {
    const step = +(10 ** eta).toPrecision(2), { code } = BENCHES.plane().landscapes[land];
    const [kind, made, start] = {
      ula: ["Langevin", `Langevin(${step})`, "torch.zeros(240, 2)"],
      mala: ["MALA", `MALA(${step})`, "torch.zeros(240, 2)"],
      hmc: ["HMC", `HMC((2 * ${step}) ** 0.5, 10, jitter=0.5)`, "torch.zeros(240, 2)"],
      tempering: ["MALA, ParallelTempering", `ParallelTempering([MALA(${step} * t) for t in (1, 2, 4, 8)], (1.0, 2.0, 4.0, 8.0))`, "torch.zeros(4 * 240, 2)  # 240 a temperature"],
    }[kernel];
    return `import torch
from gen_utils.models import ${code.split("(")[0]}
from gen_utils.samplers import ${kind}, sample

energy = ${code}
kernel = ${made}
x0 = 0.1 + ${start}
chain = sample(energy, x0, kernel, 2000, keep_every=1, generator=torch.Generator().manual_seed(${seed}))
settled = chain.path[len(chain.path) // 2 :, :240, 0]
print(float(settled.var() / energy.covariance[0, 0]), chain.accept_rate)  # variance ÷ exact, acceptance
`;
  },
});
