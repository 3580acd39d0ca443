// The small energy of Chapter 11, and what its objectives ask of it: PlaneNoiseEnergy of gen_utils/models/denoisers.py for
// many points of the plane at once. Points are flat, x y x y …; an energy is told a noise level, one for all or one each.
(globalThis.BENCHES ??= {}).energy = function (ops) {
  const RATES = Float64Array.from({ length: 8 }, (_, i) => 2 ** (-2 + (8 * i) / 7)), INTO = 2 + 2 * RATES.length;

  // width: of the three hidden layers; spread: of the data. First weights as PyTorch draws them there.
  function make({ width, spread }, { uniform, normal }) {
    const layers = [INTO, width, width, width].map((n, i) => {
      const m = i < 3 ? width : 1, reach = 1 / Math.sqrt(n), inside = () => reach * (2 * uniform() - 1);
      const weight = Float64Array.from({ length: n * m }, i < 3 ? () => Math.sqrt(2 / n) * normal() : inside);
      const bias = Float64Array.from({ length: m }, inside);
      return { n, m, weight, bias, back: null, weights: ops.learning(weight), biases: ops.learning(bias) };
    });
    const rooms = new Map();
    let room, age = 0;

    // Arrays for so many points: made once, for they are asked for thousands of times.
    function enter(rows) {
      const hold = (n) => new Float64Array(rows * n), all = (make) => layers.map(make);
      if (!rooms.has(rows))
        rooms.set(rows, {
          rows, value: hold(1), total: hold(1), factor: hold(1), level: NaN, slope: hold(2), back: all(({ n }) => hold(n)),
          input: all(({ n }) => hold(n)), first: all(({ m }) => hold(m)), second: all(({ m }) => hold(m)),
          z: all(({ m }) => hold(m)), moved: all(({ n }) => hold(n)), speed: all(({ m }) => hold(m)), bent: all(({ n }) => hold(n)), bend: all(({ m }) => hold(m)),
          end: hold(1), d: all(({ m }) => hold(m)), e: all(({ m }) => hold(m)), held: all(({ n }) => hold(n)),
        });
      return (room = rooms.get(rows));
    }

    // Energies of points (2 n numbers) at a level. What follows, until the next look, is about these points.
    function look(x, sigma) {
      const { rows, value, total, factor, input, first, second, z } = enter(x.length / 2), one = typeof sigma === "number";
      if (!one || room.level !== sigma)
        for (let i = 0; i < rows; i++) {
          const level = one ? sigma : sigma[i], c = Math.log(level) / 4;
          total[i] = Math.hypot(level, spread);
          factor[i] = spread / level;
          for (let k = 0; k < RATES.length; k++) {
            input[0][i * INTO + 2 + k] = Math.sin(c * RATES[k]);
            input[0][i * INTO + 2 + RATES.length + k] = Math.cos(c * RATES[k]);
          }
        }
      room.level = one ? sigma : NaN;
      room.x = x;
      for (let i = 0; i < rows; i++) for (const k of [0, 1]) input[0][i * INTO + k] = x[2 * i + k] / total[i];
      layers.forEach(({ n, m, weight, bias }, l) => {
        ops.product(input[l], weight, z[l], rows, m, n, bias);
        if (l === 3) return;
        const next = input[l + 1], s = first[l], t = second[l];
        for (let k = 0; k < next.length; k++) {
          const at = z[l][k], gate = 1 / (1 + Math.exp(-at)), closed = 1 - gate; // SiLU, its slope, its slope's slope
          next[k] = at * gate;
          s[k] = gate * (1 + at * closed);
          t[k] = gate * closed * (2 + at * (1 - 2 * gate));
        }
      });
      for (let i = 0; i < rows; i++) value[i] = (x[2 * i] ** 2 + x[2 * i + 1] ** 2) / (2 * total[i] ** 2) + factor[i] * z[3][i];
      return value;
    }

    // d (rows, m) times a weight (m, n), into back.
    function through(layer, d, back, rows) {
      layer.back ??= ops.transposed(layer.weight, layer.m, layer.n);
      ops.product(d, layer.back, back, rows, layer.n, layer.m);
    }

    // The gradient of each energy by its point.
    function slope() {
      const { rows, x, total, factor, first, back, d, slope } = room;
      for (let i = 0; i < rows; i++) d[3][i] = factor[i] / total[i];
      for (let l = 3; ; l--) {
        through(layers[l], d[l], back[l], rows);
        if (!l) break;
        for (let k = 0; k < d[l - 1].length; k++) d[l - 1][k] = back[l][k] * first[l - 1][k];
      }
      for (let i = 0; i < rows; i++) for (const k of [0, 1]) slope[2 * i + k] = x[2 * i + k] / total[i] ** 2 + back[0][i * INTO + k];
      return slope;
    }

    // The derivative of each energy along a direction (2 n numbers), and the second one where it is asked for: derivatives
    // go forward, layer by layer, beside the values.
    function along(v, twice = false) {
      const { rows, x, total, factor, first, second, moved, speed, bent, bend, end } = room, curve = twice && new Float64Array(rows);
      for (let i = 0; i < rows; i++) for (const k of [0, 1]) moved[0][i * INTO + k] = v[2 * i + k] / total[i];
      layers.forEach(({ n, m, weight }, l) => {
        ops.product(moved[l], weight, speed[l], rows, m, n);
        if (twice && l) ops.product(bent[l], weight, bend[l], rows, m, n);
        if (l === 3) return;
        for (let k = 0; k < speed[l].length; k++) {
          moved[l + 1][k] = first[l][k] * speed[l][k];
          if (twice) bent[l + 1][k] = second[l][k] * speed[l][k] ** 2 + (l ? first[l][k] * bend[l][k] : 0);
        }
      });
      for (let i = 0; i < rows; i++) {
        const a = v[2 * i], b = v[2 * i + 1];
        end[i] = (x[2 * i] * a + x[2 * i + 1] * b) / total[i] ** 2 + factor[i] * speed[3][i];
        if (twice) curve[i] = (a * a + b * b) / total[i] ** 2 + factor[i] * bend[3][i];
      }
      return twice ? { first: end, second: curve } : end;
    }

    // Adds the slopes of Σ dᵢ Eᵢ by the weights and, after along(v), those of Σ ∂Eᵢ/∂v too: the derivative of a derivative.
    // Both run back through the layers together, d for the values and e for what went along.
    function learn(given, derivative = false) {
      const { rows, factor, first, second, input, moved, speed, back, held, d, e } = room;
      for (let i = 0; i < rows; i++) {
        d[3][i] = given ? given[i] * factor[i] : 0;
        e[3][i] = factor[i];
      }
      for (let l = 3; l >= 0; l--) {
        const layer = layers[l], { n, m, weights, biases } = layer;
        const add = (d, seen) => {
          const step = new Float64Array(n * m);
          ops.product(ops.transposed(d, rows, m), ops.transposed(seen, rows, n), step, m, n, rows);
          for (let k = 0; k < step.length; k++) weights.slope[k] += step[k];
        };
        add(d[l], input[l]);
        if (derivative) add(e[l], moved[l]);
        for (let k = 0; k < d[l].length; k++) biases.slope[k % m] += d[l][k];
        if (!l) break;
        through(layer, d[l], back[l], rows);
        if (derivative) through(layer, e[l], held[l], rows);
        for (let k = 0; k < d[l - 1].length; k++) {
          d[l - 1][k] = back[l][k] * first[l - 1][k];
          if (!derivative) continue;
          d[l - 1][k] += held[l][k] * second[l - 1][k] * speed[l - 1][k];
          e[l - 1][k] = held[l][k] * first[l - 1][k];
        }
      }
    }

    // One step of Adam, all slopes together no longer than clip.
    function step(lr, clip = 10) {
      const every = layers.flatMap(({ weight, bias, weights, biases }) => [[weight, weights], [bias, biases]]);
      let square = 0;
      for (const [, { slope }] of every) for (const value of slope) square += value * value;
      const shrink = Math.min(1, clip / (Math.sqrt(square) + 1e-6));
      age++;
      for (const [values, kept] of every) {
        if (shrink < 1) for (let k = 0; k < values.length; k++) kept.slope[k] *= shrink;
        ops.adam(values, kept, age, { lr, betas: [0.9, 0.999] });
      }
      for (const layer of layers) layer.back = null;
    }

    return { layers, spread, look, slope, along, learn, step };
  }

  return { make };
};
