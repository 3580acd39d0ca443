// Small dense networks that learn, for the games of Chapter 7: ToyGenerator and ToyCritic of gen_utils.models, and two games
// of gen_utils/training/adversaries.py. Points are flat, x y x y …
(globalThis.BENCHES ??= {}).toy = function (ops) {
  const LEAK = 0.2;

  // Dense layers with a leaky ReLU between them. forward keeps what backward needs.
  function dense(sizes, uniform) {
    const layers = sizes.slice(1).map((m, i) => {
      const n = sizes[i], reach = 1 / Math.sqrt(n), draw = () => reach * (2 * uniform() - 1);
      const layer = { n, m, weight: Float64Array.from({ length: n * m }, draw), bias: Float64Array.from({ length: m }, draw) };
      for (const name of ["weight", "bias"]) layer[`${name}s`] = ops.learning(layer[name]);
      return layer;
    });
    let inputs, slopes, rows, age = 0;

    function forward(x) {
      rows = x.length / sizes[0];
      inputs = [];
      slopes = [];
      return layers.reduce((value, { n, m, weight, bias }, i) => {
        const out = new Float64Array(rows * m);
        inputs.push(value);
        ops.product(value, weight, out, rows, m, n, bias);
        if (i === layers.length - 1) return out;
        const slope = out.map((z) => (z > 0 ? 1 : LEAK));
        slopes.push(slope);
        return out.map((z, k) => z * slope[k]);
      }, x);
    }

    // d loss / d output -> d loss / d input; adds to the parameters' slopes. With seen in place of the inputs it is the
    // backward of the same layers without biases, kinks where the last forward had them: of a derivative along seen[0].
    function backward(d, { learns = true, seen = inputs, biases = true } = {}) {
      for (let i = layers.length - 1; i >= 0; i--) {
        const { n, m, weight, weights, biass } = layers[i], slope = slopes[i];
        if (slope) d = d.map((value, k) => value * slope[k]);
        if (learns) {
          const step = new Float64Array(n * m);
          ops.product(ops.transposed(d, rows, m), ops.transposed(seen[i], rows, n), step, m, n, rows);
          for (let k = 0; k < step.length; k++) weights.slope[k] += step[k];
          if (biases) for (let k = 0; k < d.length; k++) biass.slope[k % m] += d[k];
        }
        const back = new Float64Array(rows * n);
        ops.product(d, ops.transposed(weight, m, n), back, rows, n, m);
        d = back;
      }
      return d;
    }

    // Adds the slopes of gamma / 2 · the mean squared gradient at x. Between its kinks the network is linear, so that the
    // gradient's own derivative is that of the derivative along the gradient, held fixed.
    function penalise(x, gamma) {
      forward(x);
      const gradient = backward(new Float64Array(rows).fill(1), { learns: false }), seen = [gradient];
      layers.slice(0, -1).forEach(({ n, m, weight }, i) => {
        const out = new Float64Array(rows * m);
        ops.product(seen[i], weight, out, rows, m, n);
        seen.push(out.map((value, k) => value * slopes[i][k]));
      });
      backward(new Float64Array(rows).fill(gamma / rows), { seen, biases: false });
    }

    // Adam, and the slopes are zero again.
    function learn(settings) {
      age++;
      for (const layer of layers) for (const name of ["weight", "bias"]) ops.adam(layer[name], layer[`${name}s`], age, settings);
    }

    return { layers, forward, backward, penalise, learn, forget: () => layers.forEach(({ weights, biass }) => (weights.slope.fill(0), biass.slope.fill(0))) };
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  // One round: the critic's step, then the generator's. pairs: the relativistic loss of R3GAN, whose critic compares a real
  // point with a fake one; else the plain, non-saturating game.
  function round(generator, critic, real, z, { pairs, gamma, lr, betas }) {
    const n = real.length / 2, fake = generator.forward(z);
    // Scores of both batches, and the slopes of a loss by the scores.
    const both = (make) => {
      const scores = critic.forward(Float64Array.from([...real, ...fake]));
      return Float64Array.from(scores, (score, i) => make(score, scores[(i + n) % (2 * n)], i < n) / n);
    };
    critic.backward(both((score, other, isReal) => (isReal ? -1 : 1) * sigmoid(pairs ? (isReal ? other - score : score - other) : isReal ? -score : score)));
    if (gamma) for (const points of [real, fake]) critic.penalise(points, gamma);
    critic.learn({ lr, betas });
    const slopes = both((score, other, isReal) => (isReal ? 0 : -sigmoid(pairs ? other - score : -score)));
    const toPoints = critic.backward(slopes, { learns: false });
    generator.backward(toPoints.subarray(2 * n));
    generator.learn({ lr, betas });
  }

  // n points of the ring of eight Gaussians, or of those of its islands that are left.
  function ring(n, { uniform, normal }, islands = [0, 1, 2, 3, 4, 5, 6, 7]) {
    const points = new Float64Array(2 * n);
    for (let i = 0; i < n; i++) {
      const angle = (islands[Math.floor(uniform() * islands.length)] * Math.PI) / 4;
      points[2 * i] = 2 * Math.cos(angle) + 0.1 * normal();
      points[2 * i + 1] = 2 * Math.sin(angle) + 0.1 * normal();
    }
    return points;
  }

  // How many of the points lie on each island, within four standard deviations.
  function shares(points) {
    const found = new Array(8).fill(0);
    for (let i = 0; i < points.length; i += 2)
      for (let k = 0; k < 8; k++) {
        const off = Math.hypot(points[i] - 2 * Math.cos((k * Math.PI) / 4), points[i + 1] - 2 * Math.sin((k * Math.PI) / 4));
        if (off < 0.4) found[k] += 2 / points.length;
      }
    return found;
  }

  return { dense, round, ring, shares };
};
