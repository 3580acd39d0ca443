// The landscapes and samplers of Chapter 1, for many walkers at once; see gen_utils/models/analytic.py and samplers/.
(globalThis.BENCHES ??= {}).plane = function () {
  const gaussian = (a, b) => (x, y, g) => ((g[0] = x / a), (g[1] = y / b), 0.5 * ((x * x) / a + (y * y) / b));

  function banana(x, y, g) {
    const off = (y - 0.7 * (x * x - 1)) / 0.4;
    g[0] = x - (off / 0.4) * 1.4 * x;
    g[1] = off / 0.4;
    return 0.5 * (x * x + off * off);
  }

  function ring(x, y, g) {
    const far = Math.hypot(x, y), off = (far - 2) / 0.25;
    g[0] = ((off / 0.25) * x) / far;
    g[1] = ((off / 0.25) * y) / far;
    return 0.5 * off * off;
  }

  const EIGHT = Array.from({ length: 8 }, (_, i) => [4 * Math.cos((i * Math.PI) / 4), 4 * Math.sin((i * Math.PI) / 4)]);
  const weights = new Float64Array(8);
  function eight(x, y, g) {
    let least = Infinity, sum = 0, u = 0, v = 0;
    for (let i = 0; i < 8; i++) {
      weights[i] = 2 * ((x - EIGHT[i][0]) ** 2 + (y - EIGHT[i][1]) ** 2); // width ½
      least = Math.min(least, weights[i]);
    }
    for (let i = 0; i < 8; i++) {
      const weight = Math.exp(least - weights[i]);
      sum += weight;
      u += weight * EIGHT[i][0];
      v += weight * EIGHT[i][1];
    }
    g[0] = 4 * (x - u / sum);
    g[1] = 4 * (y - v / sum);
    return least - Math.log(sum);
  }

  function well(x, y, g) {
    const off = (x / 1.5) ** 2 - 1;
    g[0] = (12 * off * x) / 2.25;
    g[1] = y;
    return 3 * off * off + 0.5 * y * y;
  }

  // energy(x, y, g) writes the gradient; extent: how far the picture reaches from its middle (x, y).
  const landscapes = {
    gaussian: { words: "Gaussian, variances 1 and 4", energy: gaussian(1, 4), extent: 6.5, middle: [0, 0], code: "Gaussian(((1.0, 0.0), (0.0, 4.0)))" },
    banana: { words: "banana", energy: banana, extent: 5, middle: [0, 3.5], code: "Banana()" },
    ring: { words: "ring", energy: ring, extent: 3.4, middle: [0, 0], code: "Ring()" },
    eight: { words: "eight Gaussians", energy: eight, extent: 6.5, middle: [0, 0], code: "eight_gaussians()" },
    well: { words: "double well", energy: well, extent: 4, middle: [0, 0], code: "DoubleWell()" },
  };
  // The exact variance of the first coordinate, from a grid on which the density has died out at the border.
  for (const landscape of Object.values(landscapes)) {
    const g = [0, 0], { energy, middle: [a, b] } = landscape, reach = 4 * landscape.extent;
    let mass = 0, squares = 0;
    for (let x = -reach + 0.005; x < reach; x += 0.05)
      for (let y = -reach + 0.005; y < reach; y += 0.05) {
        const p = Math.exp(-energy(x + a, y + b, g));
        mass += p;
        squares += p * (x + a) ** 2;
      }
    landscape.variance = squares / mass;
  }

  const TEMPERATURES = [1, 2, 4, 8];

  // n walkers from x (2 n numbers: x y x y …). step() moves all; tempering holds n for each temperature, of which the
  // first n are the samples. Settings: kernel, eta (HMC's leapfrog step is √(2 η), ten a trajectory).
  function walkers({ energy }, x, settings, { normal, uniform }) {
    const n = x.length / 2, value = new Float64Array(n), g = new Float64Array(2 * n), at = [0, 0];
    const state = { x, value, accepted: 0, proposed: 0 };
    for (let i = 0; i < n; i++) read(i);

    function read(i) {
      value[i] = energy(x[2 * i], x[2 * i + 1], at);
      g[2 * i] = at[0];
      g[2 * i + 1] = at[1];
    }

    function decide(i, u, v, e, gain) {
      state.proposed++;
      const chance = Math.log(Math.max(uniform(), 1e-12));
      if (!(Number.isFinite(e) && chance < gain)) return;
      state.accepted++;
      x[2 * i] = u;
      x[2 * i + 1] = v;
      value[i] = e;
      g[2 * i] = at[0];
      g[2 * i + 1] = at[1];
    }

    const kernels = {
      ula(i, eta) {
        const sigma = Math.sqrt(2 * eta);
        x[2 * i] += sigma * normal() - eta * g[2 * i];
        x[2 * i + 1] += sigma * normal() - eta * g[2 * i + 1];
        read(i);
      },

      // On the energy divided by a temperature.
      mala(i, eta, temperature = 1) {
        const a = g[2 * i] / temperature, b = g[2 * i + 1] / temperature, sigma = Math.sqrt(2 * eta);
        const p = normal(), q = normal();
        const u = x[2 * i] - eta * a + sigma * p, v = x[2 * i + 1] - eta * b + sigma * q;
        const e = energy(u, v, at);
        const back = (s, t, noise) => (s + t / temperature) * Math.sqrt(eta / 2) - noise;
        const lost = 0.5 * (p * p + q * q - back(a, at[0], p) ** 2 - back(b, at[1], q) ** 2);
        decide(i, u, v, e, (value[i] - e) / temperature + lost);
      },

      hmc(i, eta) {
        let u = x[2 * i], v = x[2 * i + 1], p = normal(), q = normal(), e = 0;
        const epsilon = Math.sqrt(2 * eta) * (1 - 0.5 * uniform()), before = p * p + q * q;
        p -= 0.5 * epsilon * g[2 * i];
        q -= 0.5 * epsilon * g[2 * i + 1];
        for (let k = 1; k <= 10; k++) {
          u += epsilon * p;
          v += epsilon * q;
          e = energy(u, v, at);
          p -= (k < 10 ? 1 : 0.5) * epsilon * at[0];
          q -= (k < 10 ? 1 : 0.5) * epsilon * at[1];
        }
        decide(i, u, v, e, value[i] - e + 0.5 * (before - p * p - q * q));
      },
    };

    function swap(i, j) {
      for (const [array, width] of [[x, 2], [g, 2], [value, 1]])
        for (let k = 0; k < width; k++) [array[width * i + k], array[width * j + k]] = [array[width * j + k], array[width * i + k]];
    }

    state.step = () => {
      const { kernel, eta } = settings;
      if (kernel !== "tempering") for (let i = 0; i < n; i++) kernels[kernel](i, eta);
      else {
        const size = n / TEMPERATURES.length;
        for (let i = 0; i < n; i++) {
          const temperature = TEMPERATURES[Math.floor(i / size)];
          kernels.mala(i, eta * temperature, temperature);
        }
        for (const first of [0, 1])
          for (let k = first; k + 1 < TEMPERATURES.length; k += 2)
            for (let i = k * size; i < (k + 1) * size; i++) {
              const gain = (1 / TEMPERATURES[k] - 1 / TEMPERATURES[k + 1]) * (value[i] - value[i + size]);
              if (Math.log(Math.max(uniform(), 1e-12)) < gain) swap(i, i + size);
            }
      }
    };
    return state;
  }

  return { landscapes, walkers, TEMPERATURES };
};
