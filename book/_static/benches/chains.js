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

  // The energy of the pair (x, z): E(x) + ‖x - μ(z)‖²/2σ² + ½‖z‖²; XZEnergy, without its constant.
  function inPair(energy, decoder, sigma, pixels) {
    let slope, gradient;
    return (state) => {
      const mean = decoder.forward(state.subarray(pixels)), at = energy(state.subarray(0, pixels));
      slope ??= new Float64Array(pixels);
      gradient ??= new Float64Array(state.length);
      let value = at.value;
      for (let i = 0; i < pixels; i++) {
        slope[i] = (mean[i] - state[i]) / sigma ** 2;
        gradient[i] = at.gradient[i] - slope[i];
        value += 0.5 * sigma ** 2 * slope[i] ** 2;
      }
      const back = decoder.backward(slope);
      for (let i = pixels; i < state.length; i++) {
        gradient[i] = back[i - pixels] + state[i];
        value += 0.5 * state[i] ** 2;
      }
      return { value, gradient };
    };
  }

  // x ← x - η ∇E + σ ξ, the gradient clamped, then the box: Langevin and ProximalLangevin of gen_utils.samplers.
  // Settings have their names there. step() moves x in place and returns the energy at the new x.
  function langevin(energy, x, { step_size, noise, grad_clip, max_step, bounds }, normal) {
    const sigma = noise ?? Math.sqrt(2 * step_size), clip = max_step ? max_step / step_size : (grad_clip ?? Infinity);
    const [low, high] = bounds ?? [-Infinity, Infinity];
    const gradient = new Float64Array(x.length); // of its own: others may ask the same network meanwhile
    const look = () => {
      const at = energy(x);
      gradient.set(at.gradient);
      return at.value;
    };
    return {
      start: look(),
      step() {
        for (let i = 0; i < x.length; i++) {
          const moved = x[i] - step_size * Math.max(-clip, Math.min(clip, gradient[i])) + sigma * normal();
          x[i] = Math.max(low, Math.min(high, moved));
        }
        const value = look();
        if (!Number.isFinite(value)) throw new Error("the energy is no longer a finite number");
        return value;
      },
    };
  }

  // MALA at temperature 1, and then a clamp to the box, as the assignment behind Chapter 3 has it: no exact sampler of the
  // box, but one that always moves. step() returns the energy; accepted counts.
  function clampedMala(energy, x, { step_size, bounds: [low, high] }, { normal, uniform }) {
    const n = x.length, sigma = Math.sqrt(2 * step_size), noise = new Float64Array(n), to = new Float64Array(n);
    const keep = ({ value, gradient }) => ({ value, gradient: gradient.slice() });
    let here = keep(energy(x));
    const walk = {
      start: here.value,
      accepted: 0,
      step() {
        for (let i = 0; i < n; i++) to[i] = x[i] - step_size * here.gradient[i] + sigma * (noise[i] = normal());
        const there = energy(to);
        let gain = here.value - there.value;
        for (let i = 0; i < n; i++) {
          const back = (here.gradient[i] + there.gradient[i]) * Math.sqrt(step_size / 2) - noise[i];
          gain += 0.5 * (noise[i] ** 2 - back ** 2);
        }
        if (Math.log(Math.max(uniform(), 1e-12)) < gain) {
          walk.accepted++;
          for (let i = 0; i < n; i++) x[i] = Math.max(low, Math.min(high, to[i]));
          here = keep(energy(x));
        }
        return here.value;
      },
    };
    return walk;
  }

  return { random, energyOf, inEpsilon, inPair, langevin, clampedMala };
};
