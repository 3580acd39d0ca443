// Energies that are read off networks, and the samplers of gen_utils that the shipped models are drawn with.
(globalThis.BENCHES ??= {}).chains = function () {
  // Numbers that a seed decides: sfc32, and normal ones in pairs (Box and Muller).
  function random(seed) {
    let a = 0x9e3779b9, b = 0x243f6a88, c = 0xb7e15162, d = seed | 0, spare = null;
    function uniform() {
      const t = (((a + b) | 0) + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + t) | 0;
      return (t >>> 0) / 4294967296;
    }
    for (let i = 0; i < 15; i++) uniform();
    function normal() {
      if (spare !== null) {
        const kept = spare;
        spare = null;
        return kept;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    }
    return { uniform, normal };
  }

  // What an output means: value(out, slope) returns the energy and writes its derivative by out.
  const readings = {
    energy: () => (out, slope) => ((slope[0] = 1), out[0]),
    // A conditional energy: one output a label.
    given: ({ label }) => (out, slope) => (slope.fill(0), (slope[label] = 1), out[label]),
    // A classifier: E(x, y) is minus a logit, E(x) is minus the log of their exponentials' sum.
    logit: ({ label }) => (out, slope) => (slope.fill(0), (slope[label] = -1), -out[label]),
    joint: () => (out, slope) => {
      const top = Math.max(...out);
      let sum = 0;
      for (let i = 0; i < out.length; i++) sum += slope[i] = Math.exp(out[i] - top);
      for (let i = 0; i < out.length; i++) slope[i] /= -sum;
      return -(top + Math.log(sum));
    },
  };

  // x -> {value, gradient}; the gradient is a buffer, valid until the next call.
  function energyOf(network, reading) {
    const read = readings[reading.kind](reading);
    let slope;
    return (x) => {
      const out = network.forward(x);
      slope ??= new Float64Array(out.length);
      const value = read(out, slope);
      return { value, gradient: network.backward(slope) };
    };
  }

  // The energy of the noise behind a VAE's picture, ε = (ε_x, ε_z) with x = μ(ε_z) + σ ε_x: E(x) + ½‖ε‖². See
  // EpsilonEnergy in gen_utils/models/vaebm.py.
  function inEpsilon(energy, decoder, sigma, pixels) {
    let x, gradient;
    return (state) => {
      const mean = decoder.forward(state.subarray(pixels));
      x ??= new Float64Array(pixels);
      gradient ??= new Float64Array(state.length);
      for (let i = 0; i < pixels; i++) x[i] = mean[i] + sigma * state[i];
      const at = energy(x), back = decoder.backward(at.gradient);
      let value = at.value;
      for (let i = 0; i < state.length; i++) {
        value += 0.5 * state[i] ** 2;
        gradient[i] = state[i] + (i < pixels ? sigma * at.gradient[i] : back[i - pixels]);
      }
      return { value, gradient };
    };
  }

  // x ← x - η ∇E + σ ξ, the gradient clamped, then the box: Langevin and ProximalLangevin of gen_utils.samplers.
  // Settings have their names there. step() moves x in place and returns the energy at the new x.
  function langevin(energy, x, { step_size, noise, grad_clip, max_step, bounds }, normal) {
    const sigma = noise ?? Math.sqrt(2 * step_size), clip = max_step ? max_step / step_size : (grad_clip ?? Infinity);
    const [low, high] = bounds ?? [-Infinity, Infinity];
    let { value, gradient } = energy(x);
    return {
      start: value,
      step() {
        for (let i = 0; i < x.length; i++) {
          const moved = x[i] - step_size * Math.max(-clip, Math.min(clip, gradient[i])) + sigma * normal();
          x[i] = Math.max(low, Math.min(high, moved));
        }
        ({ value, gradient } = energy(x));
        if (!Number.isFinite(value)) throw new Error("the energy is no longer a finite number");
        return value;
      },
    };
  }

  return { random, energyOf, inEpsilon, langevin };
};
