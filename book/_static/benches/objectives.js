// Five objectives for one energy of the plane, as in "Five ways to one energy" of Chapter 11, and the densities they lead to.
(globalThis.BENCHES ??= {}).objectives = function (energies, mixture) {
  const BATCH = 128, CHAIN = 20, COLD = 0.2, ETA = 0.02, REACH = 8, LR = 2e-3, NEGATIVES = 16;
  const LOW = 0.05, HIGH = 30; // the levels between which a flow runs

  // Langevin steps in the box, on the energy at σ = 1 divided by a temperature; x is moved in place.
  function chain(net, x, steps, temperature, normal) {
    for (let t = 0; t < steps; t++) {
      net.look(x, 1);
      const slope = net.slope();
      for (let i = 0; i < x.length; i++) {
        const moved = x[i] - (ETA / temperature) * slope[i] + Math.sqrt(2 * ETA) * normal();
        x[i] = Math.max(-REACH, Math.min(REACH, moved));
      }
    }
    return x;
  }

  // Slopes of the mean energy of data less that of the chains' ends, both held near zero.
  function contrast(net, real, ends, temperature = 1) {
    for (const [x, sign] of [[real, 1], [ends, -1]]) {
      const n = x.length / 2;
      net.learn(net.look(x, 1).map((value) => (sign + 0.02 * (value / temperature)) / (n * temperature)));
    }
  }

  // Slopes of a loss of the gradient alone; by(gradient, i) is the loss's derivative by it, an element at a time.
  function onSlope(net, x, sigma, by) {
    net.look(x, sigma);
    net.along(net.slope().map(by));
    net.learn(null, true);
  }

  // Half the squared error of the noise that is to be seen in clean + σ noise, a mean over points.
  function denoising(net, clean, noise, sigma) {
    const n = sigma.length, x = clean.map((value, i) => value + sigma[i >> 1] * noise[i]);
    onSlope(net, x, sigma, (slope, i) => ((sigma[i >> 1] * slope - noise[i]) * sigma[i >> 1]) / n);
  }

  // -∇V carries x₀ to x₁ on a straight line: the squared error at a time in between.
  function transport(net, start, end, time) {
    const n = time.length, x = start.map((value, i) => value + time[i >> 1] * (end[i] - value));
    onSlope(net, x, 1, (slope, i) => (2 * (slope + end[i] - start[i])) / n);
  }

  // log(1/M + 1/M Σⱼ exp(E(x) - E(x⁻ⱼ))): blurred once, and the result blurred M times. first: (n, 2); second: (M, n, 2).
  function discrepancy(net, x, first, second) {
    const n = x.length / 2, m = second.length / x.length;
    const places = Float64Array.from([...x, ...second.map((value, i) => x[i % x.length] + first[i % x.length] + value)]);
    const values = net.look(places, 1), slopes = new Float64Array(values.length);
    for (let i = 0; i < n; i++) {
      let top = 0, sum = 0;
      for (let j = 1; j <= m; j++) top = Math.max(top, values[i] - values[j * n + i]);
      for (let j = 1; j <= m; j++) sum += slopes[j * n + i] = Math.exp(values[i] - values[j * n + i] - top);
      const whole = n * (sum + Math.exp(-top));
      for (let j = 1; j <= m; j++) slopes[j * n + i] /= -whole;
      slopes[i] = sum / whole;
    }
    net.learn(slopes);
  }

  // The noise in the order in which the squared ways to the data are shortest, all together: the Hungarian method, row by
  // row along the shortest way that frees a column.
  function paired(noise, data) {
    const n = data.length / 2, rows = new Float64Array(n + 1), columns = new Float64Array(n + 1), owner = new Int32Array(n + 1).fill(n);
    const way = new Int32Array(n + 1);
    const cost = (i, j) => (data[2 * i] - noise[2 * j]) ** 2 + (data[2 * i + 1] - noise[2 * j + 1]) ** 2;
    for (let i = 0; i < n; i++) {
      const least = new Float64Array(n).fill(Infinity), done = new Uint8Array(n + 1);
      let at = n; // a column beside the others, which the new row holds
      owner[n] = i;
      do {
        done[at] = 1;
        const row = owner[at];
        let next = -1, short = Infinity;
        for (let j = 0; j < n; j++) {
          if (done[j]) continue;
          const left = cost(row, j) - rows[row] - columns[j];
          if (left < least[j]) [least[j], way[j]] = [left, at];
          if (least[j] < short) [short, next] = [least[j], j];
        }
        for (let j = 0; j <= n; j++)
          if (done[j]) {
            rows[owner[j]] += short;
            columns[j] -= short;
          } else if (j < n) least[j] -= short;
        at = next;
      } while (owner[at] !== n);
      for (; at !== n; at = way[at]) owner[at] = owner[way[at]];
    }
    const ordered = new Float64Array(2 * n);
    for (let j = 0; j < n; j++) ordered.set(noise.subarray(2 * j, 2 * j + 2), 2 * owner[j]);
    return ordered;
  }

  // Passes a step and one step's slopes, by objective: done is the share of the training that is behind.
  const OBJECTIVES = {
    noise: [2 * CHAIN + 4, ({ net, batch, fresh, normal }) => contrast(net, batch, chain(net, fresh(), CHAIN, 1, normal))],
    persistent: [2 * CHAIN + 4, (learner) => {
      const { net, batch, fresh, uniform, normal } = learner, noise = fresh();
      learner.kept ??= fresh();
      for (let i = 0; i < BATCH; i++) if (uniform() < 0.05) learner.kept.set(noise.subarray(2 * i, 2 * i + 2), 2 * i);
      contrast(net, batch, chain(net, learner.kept, CHAIN, 1, normal));
    }],
    denoising: [4, ({ net, batch, normals }) => denoising(net, batch, normals(2 * BATCH), normals(BATCH).map((value) => Math.exp(1.2 * value)))],
    discrepancy: [2 * (NEGATIVES + 1), ({ net, batch, normals }) => discrepancy(net, batch, normals(2 * BATCH), normals(2 * BATCH * NEGATIVES))],
    // The mean of its two phases.
    matching: [4 + CHAIN + 2, ({ net, batch, fresh, uniform, normal }, done) => {
      const start = paired(fresh(), batch);
      transport(net, start, batch, Float64Array.from({ length: BATCH }, uniform));
      if (done < 0.5) return;
      const half = batch.map((value, i) => (i < BATCH ? value : start[i]));
      contrast(net, batch, chain(net, half, CHAIN, COLD, normal), COLD);
    }],
  };

  // A fresh network and its objective; step() trains it once, and share says how much of its passes it has used.
  function learner(name, points, { passes, width, seed }, random) {
    const { uniform, normal } = random(seed), [cost, slopes] = OBJECTIVES[name], steps = Math.max(1, Math.floor(passes / cost));
    const mean = points.reduce((a, b) => a + b) / points.length;
    const spread = Math.sqrt(points.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (points.length - 1));
    const net = energies.make({ width, spread }, { uniform, normal }), normals = (n) => Float64Array.from({ length: n }, normal);
    const fresh = () => normals(2 * BATCH).map((value) => Math.max(-REACH, Math.min(REACH, spread * value)));
    const made = { name, net, fresh, normals, uniform, normal, share: 0, steps };
    let age = 0;
    made.step = () => {
      made.batch = new Float64Array(2 * BATCH);
      for (let i = 0; i < BATCH; i++) {
        const k = Math.floor((uniform() * points.length) / 2);
        made.batch.set(points.subarray(2 * k, 2 * k + 2), 2 * i);
      }
      slopes(made, age / steps);
      net.step(LR * (1 - age / steps));
      made.share = ++age / steps;
    };
    return made;
  }

  // Log densities at the plane's cells: of e^-E, and of e^(-V/ε) for energy matching.
  function density({ name, net }) {
    const [sigma, temperature] = { denoising: [0.1, 1], matching: [1, COLD] }[name] ?? [1, 1];
    return mixture.normal(net.look(mixture.centres, sigma).map((value) => -value / temperature));
  }

  // Log density of points at σ = LOW under the flow of the energy's denoiser, dx/d ln σ = σ² ∇E, which gains its divergence
  // σ² ΔE on the way up to HIGH. Runge and Kutta's four looks a step. Yields between looks.
  function* flow(net, points, steps) {
    const n = points.length / 2, x = points.slice(), gained = new Float64Array(n), across = new Float64Array(2 * n), up = new Float64Array(2 * n);
    for (let i = 0; i < n; i++) across[2 * i] = up[2 * i + 1] = 1;
    const h = Math.log(HIGH / LOW) / steps;
    const rate = (x, sigma) => {
      net.look(x, sigma);
      const speed = new Float64Array(2 * n), gain = new Float64Array(n);
      [across, up].forEach((direction, k) => {
        const { first, second } = net.along(direction, true);
        for (let i = 0; i < n; i++) {
          speed[2 * i + k] = sigma * sigma * first[i];
          gain[i] += sigma * sigma * second[i];
        }
      });
      return { speed, gain };
    };
    for (let s = 0; s < steps; s++) {
      const at = (part) => LOW * Math.exp(h * (s + part)), sum = new Float64Array(2 * n);
      let last = null;
      for (const [part, share] of [[0, 1], [0.5, 2], [0.5, 2], [1, 1]]) {
        const place = last ? x.map((value, i) => value + part * h * last.speed[i]) : x;
        last = rate(place, at(part));
        for (let i = 0; i < 2 * n; i++) sum[i] += (share * h * last.speed[i]) / 6;
        for (let i = 0; i < n; i++) gained[i] += (share * h * last.gain[i]) / 6;
        yield;
      }
      for (let i = 0; i < 2 * n; i++) x[i] += sum[i];
    }
    const variance = HIGH ** 2 + net.spread ** 2;
    return gained.map((value, i) => value - (x[2 * i] ** 2 + x[2 * i + 1] ** 2) / (2 * variance) - Math.log(2 * Math.PI * variance));
  }

  return { OBJECTIVES, chain, contrast, denoising, transport, discrepancy, paired, learner, density, flow };
};
