// Densities of the plane that can be drawn: sums of equal Gaussians, SmoothedMixture of gen_utils.models. In the page and in
// its worker. A mixture is {means (x y x y …), weights, width}.
(globalThis.BENCHES ??= {}).mixture = function () {
  const SIDE = 6, CELLS = 48; // the plane reaches from -6 to 6 both ways; cells a side

  // Centres of the plane's cells, the rows from top to bottom, as a picture has them.
  const place = (i) => ((i + 0.5) / CELLS) * 2 * SIDE - SIDE;
  const centres = Float64Array.from({ length: 2 * CELLS * CELLS }, (_, i) => (i % 2 ? -place(Math.floor(i / 2 / CELLS)) : place((i / 2) % CELLS)));
  const cell = ((2 * SIDE) / CELLS) ** 2;

  // Log densities of which all cells together hold one.
  function normal(logs) {
    const top = logs.reduce((a, b) => Math.max(a, b)), shift = top + Math.log(logs.reduce((sum, value) => sum + Math.exp(value - top), 0) * cell);
    return Float64Array.from(logs, (value) => value - shift);
  }

  // The log density at the plane's cells, normalised there.
  function onPlane({ means, weights, width }) {
    const logs = new Float64Array(CELLS * CELLS), parts = new Float64Array(weights.length);
    for (let i = 0; i < logs.length; i++) {
      let top = -Infinity, sum = 0;
      for (let k = 0; k < parts.length; k++) {
        const far = (centres[2 * i] - means[2 * k]) ** 2 + (centres[2 * i + 1] - means[2 * k + 1]) ** 2;
        parts[k] = Math.log(weights[k]) - far / (2 * width * width);
        if (parts[k] > top) top = parts[k];
      }
      for (let k = 0; k < parts.length; k++) if (parts[k] > top - 40) sum += Math.exp(parts[k] - top);
      logs[i] = top + Math.log(sum);
    }
    return normal(logs);
  }

  // KL(p ‖ q) in nats, from log densities at the cells.
  const kl = (p, q) => p.reduce((sum, value, i) => sum + Math.exp(value) * cell * (value - q[i]), 0);

  // How much of a density lies nearest to each mean; for mixtures of a few.
  function shares({ means, weights }, logs) {
    if (weights.length > 4) return null;
    const found = weights.map(() => 0);
    logs.forEach((value, i) => {
      const far = weights.map((_, k) => (centres[2 * i] - means[2 * k]) ** 2 + (centres[2 * i + 1] - means[2 * k + 1]) ** 2);
      found[far.indexOf(Math.min(...far))] += Math.exp(value) * cell;
    });
    return found;
  }

  function sample(n, { means, weights, width }, { uniform, normal }) {
    let total = 0;
    const sums = weights.map((weight) => (total += weight)), x = new Float64Array(2 * n);
    for (let i = 0; i < n; ) {
      const at = uniform() * total, k = Math.max(0, sums.findIndex((sum) => sum > at)); // the first that reaches as far
      x[2 * i] = means[2 * k] + width * normal();
      x[2 * i + 1] = means[2 * k + 1] + width * normal();
      if (Math.max(Math.abs(x[2 * i]), Math.abs(x[2 * i + 1])) < SIDE) i++; // what is beyond the plane is drawn again
    }
    return x;
  }

  const pixel = (i) => ((i + 0.5) / 28) * 2 * SIDE - SIDE;

  // A mixture as ink, full where it is highest: what a pad shows of it.
  function inkOf({ means, weights, width }) {
    const ink = Float32Array.from({ length: 784 }, (_, i) => {
      const far = (k) => (pixel(i % 28) - means[2 * k]) ** 2 + (pixel(Math.floor(i / 28)) + means[2 * k + 1]) ** 2;
      return weights.reduce((sum, weight, k) => sum + weight * Math.exp(-far(k) / (2 * width * width)), 0);
    });
    const top = ink.reduce((a, b) => Math.max(a, b));
    return ink.map((value) => value / top);
  }

  // Ink of 28 × 28 pixels as a mixture: a Gaussian at each pixel, as heavy as its ink.
  function ofInk(ink) {
    const found = { means: [], weights: [], width: 0.3 };
    ink.forEach((value, i) => {
      const level = Math.round(3 * value); // an address keeps four
      if (!level) return;
      found.means.push(+pixel(i % 28).toFixed(2), -pixel(Math.floor(i / 28)).toFixed(2));
      found.weights.push(level);
    });
    return found;
  }

  // The three modes of the chapter, and its ring as a chain of Gaussians.
  const MODES = { means: [-3, -1, 3, -1, 0, 2.5], weights: [0.6, 0.3, 0.1], width: 0.4 };
  const RING = {
    means: Array.from({ length: 96 }, (_, i) => +(3 * (i % 2 ? Math.sin : Math.cos)((Math.floor(i / 2) * Math.PI) / 24)).toFixed(3)),
    weights: new Array(48).fill(1),
    width: 0.3,
  };

  return { SIDE, CELLS, cell, centres, normal, onPlane, kl, shares, sample, inkOf, ofInk, MODES, RING };
};
