// Chapter 8: between two vectors of the generator, straight and along the sphere.
BENCHES.define("between", {
  question: "Two vectors, two faces. What does the generator draw for the vector in the middle of the straight line between them?",
  options: [
    ["ghost", "A double exposure: both faces at once, half and half."],
    ["dull", "A duller face: all middles look much the same."],
    ["face", "Another face, hardly less varied than the ends."],
  ],
  state: { seed: 1, place: 0.5, path: "straight" },
  verb: "Walk, and look at 12 middles",
  MIDDLES: 12,
  PLACES: 7,

  // The share of a standard normal below x (Abramowitz and Stegun, 7.1.26; right to 1e-7).
  below(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x) * Math.SQRT1_2);
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp((-x * x) / 2);
    return x > 0 ? 1 - tail / 2 : tail / 2;
  },

  ends(seed) {
    const random = BENCHES.chains().random(seed), draw = () => Float64Array.from({ length: 128 }, random.normal);
    return [draw(), draw()];
  },

  // Ends are kept as normal numbers; the generator wants uniform ones in [-1, 1].
  vector([a, b], t, path) {
    const uniform = (x) => 2 * this.below(x) - 1, angle = (t * Math.PI) / 2;
    if (path === "straight") return a.map((value, i) => (1 - t) * uniform(value) + t * uniform(b[i]));
    return a.map((value, i) => uniform(Math.cos(angle) * value + Math.sin(angle) * b[i]));
  },

  build(bench) {
    const { make } = bench, { button } = BENCHES;
    const face = make("canvas", { className: "bench-picture", role: "img", "aria-label": "the face at this place" });
    const told = make("figcaption", {});
    const rows = [["straight", "straight"], ["sphere", "along the sphere"]].map(([path, label]) => {
      const canvases = Array.from({ length: this.PLACES }, (_, i) => make("canvas", { className: "bench-picture", role: "img", "aria-label": `${label}, ${i + 1} of ${this.PLACES}` }));
      return { path, canvases, figure: make("figure", {}, make("figcaption", {}, label), make("div", { className: "bench-strip" }, ...canvases)) };
    });
    const slider = make("input", { type: "range", id: "bench-between-place", min: 0, max: 1, step: 0.02 }), words = make("output", {});
    slider.addEventListener("input", () => this.move(bench, { place: Number(slider.value) }));
    const path = make("select", { id: "bench-between-path" }, make("option", { value: "straight" }, "straight"), make("option", { value: "sphere" }, "along the sphere"));
    path.addEventListener("change", () => this.move(bench, { path: path.value }));
    const fields = make(
      "div", { className: "bench-field" }, make("label", { htmlFor: path.id }, "path"), path,
      make("label", { htmlFor: slider.id }, "place"), slider, words,
    );
    const buttons = make("div", { className: "bench-row" }, button("Two other faces", () => {
      bench.state.seed++;
      this.show(bench);
      bench.changed();
      if (bench.ran) bench.go();
    }));
    const side = make("div", { className: "bench-rows" }, ...rows.map(({ figure }) => figure));
    bench.body.append(make("div", { className: "bench-two bench-face" }, make("figure", {}, face, told), side), fields, buttons);
    Object.assign(bench, { face, told, rows, slider, words, select: path });
  },

  show(bench) {
    const { state, rows, face } = bench;
    bench.pair = this.ends(state.seed);
    if (state.path !== "sphere") state.path = "straight";
    bench.slider.value = state.place;
    bench.select.value = state.path;
    for (const canvas of [face, ...rows.flatMap(({ canvases }) => canvases)]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.words(bench);
  },

  words(bench) {
    const { place, path } = bench.state, z = this.vector(bench.pair, place, path);
    bench.words.textContent = BENCHES.number(place);
    bench.slider.setAttribute("aria-valuetext", bench.words.textContent);
    bench.told.textContent = `mean square of a coordinate: ${BENCHES.number(z.reduce((sum, value) => sum + value * value, 0) / z.length)} (⅓ is usual)`;
  },

  draw: async (bench, inputs) => (await bench.engine.ask("outputs", { network: "dcgan_bitmoji", inputs }))?.outputs,

  // A face for every place that the slider comes to, the latest first.
  async move(bench, state) {
    Object.assign(bench.state, state);
    this.words(bench);
    bench.changed();
    if (!bench.ran || bench.moving) return;
    bench.moving = true;
    for (let shown; shown !== (shown = `${bench.state.place} ${bench.state.path}`); ) {
      const pictures = await this.draw(bench, [this.vector(bench.pair, bench.state.place, bench.state.path)]).catch(() => null);
      if (!pictures) break;
      BENCHES.picture(bench.face, pictures[0]);
    }
    bench.moving = false;
  },

  async run(bench) {
    const { state, rows } = bench, { number } = BENCHES;
    for (const { path, canvases } of rows)
      for (const [i, canvas] of canvases.entries()) {
        const pictures = await this.draw(bench, [this.vector(bench.pair, i / (this.PLACES - 1), path)]);
        if (!pictures) return null;
        BENCHES.picture(canvas, pictures[0]);
      }
    bench.ran = true;
    await this.move(bench, {});
    const middles = { straight: [], sphere: [], ends: [], average: [] };
    for (let k = 0; k < this.MIDDLES; k++) {
      bench.status(`Pair ${k + 1} of ${this.MIDDLES} …`);
      const pair = this.ends(state.seed + 100 + k);
      const four = [[0, "straight"], [1, "straight"], [0.5, "straight"], [0.5, "sphere"]];
      const found = await this.draw(bench, four.map(([t, path]) => this.vector(pair, t, path)));
      if (!found) return null;
      middles.ends.push(found[0]);
      middles.straight.push(found[2]);
      middles.sphere.push(found[3]);
      middles.average.push(found[0].map((value, i) => (value + found[1][i]) / 2));
    }
    bench.status("");
    const far = (a, b) => Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);
    const mean = (values) => values.reduce((a, b) => a + b) / values.length;
    const apart = (pictures) => mean(pictures.flatMap((a, i) => pictures.slice(i + 1).map((b) => far(a, b))));
    const ghost = mean(middles.straight.map((x, i) => far(x, middles.average[i]))), usual = mean(middles.ends.map((x, i) => far(x, middles.average[i])));
    const [line, sphere, ends] = [apart(middles.straight), apart(middles.sphere), apart(middles.ends)];
    return {
      outcome: ghost < 0.5 * usual ? "ghost" : line < 0.8 * ends ? "dull" : "face",
      said:
        `Two of the ${this.MIDDLES} middles differ by ${number(line)} a pixel on average (straight) or ${number(sphere)} (sphere); two fresh faces by ${number(ends)}. ` +
        `From the double exposure of its two ends a straight middle is ${number(ghost)} away, an end itself ${number(usual)}. ` +
        "A generator does not mix pixels: it draws whatever its vector says, and a vector of seven tenths of the usual length it can read, too. The chapter measures what the shorter vectors cost.",
    };
  },

  python: ({ seed }) => `import torch
from gen_utils import checkpoints

generator = checkpoints.load("dcgan_bitmoji")
z0, z1 = generator.draw(2, torch.Generator().manual_seed(${seed})).chunk(2)
places = torch.linspace(0, 1, 7)[:, None]
with torch.no_grad():
    faces = generator((1 - places) * z0 + places * z1)  # (7, 3, 64, 64) in [-1, 1]
print(faces.shape, ((z0 + z1) / 2).square().mean())  # the middle's mean square; a third is usual
`,
});
