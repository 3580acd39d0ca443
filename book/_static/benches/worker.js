// The worker of a page's benches: it holds the networks, and does one job after the other, in slices, so that a job can be
// stopped. Its text is made of the other files' (frame.js).
(globalThis.BENCHES ??= {}).worker = function (network, chains) {
  const SLICE = 25; // milliseconds between two messages to the page
  const described = {}, built = {};
  const net = (name) => (built[name] ??= network.build(described[name]));
  const bytes = (x) => Uint8ClampedArray.from(x, (value) => (value + 1) * 127.5); // rounds

  function energyOf({ network, reading }) {
    if (reading.kind !== "epsilon") return chains.energyOf(net(network), reading);
    const decoder = `${network}.decoder`, energy = chains.energyOf(net(`${network}.energy`), { kind: "energy" });
    return chains.inEpsilon(energy, net(decoder), described[decoder].sigma, reading.pixels);
  }

  const jobs = {
    // A Langevin chain from start, or from uniform noise. Yields the frames that were kept since the last message: at
    // every step, or where steps are many, so that their numbers grow by a fiftieth. readings: by step, where it changes.
    *chain({ network, reading, changes = [], keep = [], start, seed, steps, settings, n = 784 }) {
      const random = chains.random(seed);
      const x = start ? Float64Array.from(start) : Float64Array.from({ length: n }, () => 2 * random.uniform() - 1);
      const kernel = { ...described[network].sampler, ...settings };
      let walk = chains.langevin(energyOf({ network, reading }), x, kernel, random.normal);
      let frames = [{ step: 0, energy: walk.start, x: bytes(x) }], last = 0;
      for (let step = 1; step <= steps; step++) {
        const change = changes.find((each) => each.after === step - 1);
        if (change) walk = chains.langevin(energyOf({ network, reading: change.reading }), x, kernel, random.normal);
        const energy = walk.step();
        if (steps <= 512 || step === steps || step >= last * 1.02 || keep.includes(step)) {
          frames.push({ step, energy, x: bytes(x) });
          last = step;
        }
        yield { frames, done: step / steps };
        if (frames.sent) frames = [];
      }
      return { x: Float32Array.from(x), frames };
    },

    // Outputs of a network, and the energies that readings make of them.
    *outputs({ network, inputs, readings = [] }) {
      const outputs = [], energies = [];
      for (const input of inputs) {
        outputs.push(Float32Array.from(net(network).forward(Float64Array.from(input))));
        energies.push(readings.map((reading) => energyOf({ network, reading })(Float64Array.from(input)).value));
        yield {};
      }
      return { outputs, energies };
    },
  };

  const stopped = new Set();
  let queue = Promise.resolve();
  const pause = () => new Promise((resolve) => setTimeout(resolve));

  async function work({ id, job, ...given }) {
    try {
      const steps = jobs[job](given);
      let said = performance.now();
      for (;;) {
        const { value, done } = steps.next();
        if (done) return postMessage({ id, answer: value });
        if (performance.now() - said < SLICE) continue;
        postMessage({ id, news: value });
        if (value.frames) value.frames.sent = true;
        await pause();
        if (stopped.delete(id)) return postMessage({ id, answer: null });
        said = performance.now();
      }
    } catch (error) {
      postMessage({ id, error: error.message });
    }
  }

  onmessage = ({ data }) => {
    if (data.describe) Object.assign(described, data.describe);
    else if (data.stop) stopped.add(data.stop);
    else queue = queue.then(() => work(data));
  };
};
