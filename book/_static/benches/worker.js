// The worker of a page's benches: it holds the networks, and does one job after the other, in slices, so that a job can be
// stopped. Its text is made of the other files' (frame.js).
(globalThis.BENCHES ??= {}).worker = function (network, chains, toy, objectives, mixture) {
  const SLICE = 25; // milliseconds between two messages to the page
  const described = {}, damaged = {}, built = {};
  function net(name) {
    if (damaged[name]) throw damaged[name];
    return (built[name] ??= network.build(described[name]));
  }
  const codebook = (name) => (built[`${name} codes`] ??= network.numbers(described[`${name}.decoder`].codebook));
  const bytes = (x) => Uint8ClampedArray.from(x, (value) => (value + 1) * 127.5); // rounds

  const energyOf = ({ network, reading }) => chains.energyOf(net(network), reading);

  const jobs = {
    // A Langevin chain from start, or from uniform noise. Yields the frames that were kept since the last message: at
    // every step, or where steps are many, so that their numbers grow by a fiftieth. readings: by step, where it changes.
    *chain({ network, reading, changes = [], keep = [], start, seed, steps, settings }) {
      const random = chains.random(seed);
      const x = start ? Float64Array.from(start) : Float64Array.from({ length: 784 }, () => 2 * random.uniform() - 1);
      const kernel = { ...described[network].sampler, ...settings };
      let walk = chains.langevin(energyOf({ network, reading }), x, kernel, random.normal);
      let frames = [{ step: 0, energy: walk.start, x: bytes(x) }], last = 0, energy = walk.start;
      for (let step = 1; step <= steps; step++) {
        const change = changes.find((each) => each.after === step - 1);
        if (change) walk = chains.langevin(energyOf({ network, reading: change.reading }), x, kernel, random.normal);
        energy = walk.step();
        if (steps <= 512 || step === steps || step >= last * 1.02 || keep.includes(step)) {
          frames.push({ step, energy, x: bytes(x) });
          last = step;
        }
        yield { frames, done: step / steps };
        if (frames.sent) frames = [];
      }
      return { x: Float32Array.from(x), energy, frames };
    },

    // From one noise, MALA at temperature 1 and the sampler of the card, side by side. Frames hold both; distance is the
    // mean square over pixels from the start.
    *race({ network, seed, steps, step_size }) {
      const noise = chains.random(seed), x = Float64Array.from({ length: 784 }, () => 2 * noise.uniform() - 1), y = x.slice();
      const energy = energyOf({ network, reading: { kind: "energy" } }), start = x.slice();
      const warm = chains.clampedMala(energy, x, { step_size, bounds: [-1, 1] }, noise);
      const cold = chains.langevin(energy, y, described[network].sampler, chains.random(seed + 1).normal);
      const far = (state) => state.reduce((sum, value, i) => sum + (value - start[i]) ** 2, 0) / state.length;
      let frames = [{ step: 0, warm: { energy: warm.start, x: bytes(x), far: 0 }, cold: { energy: cold.start, x: bytes(y), far: 0 } }];
      for (let step = 1; step <= steps; step++) {
        const energies = [warm.step(), cold.step()];
        const both = [x, y].map((state, i) => ({ energy: energies[i], x: bytes(state), far: far(state) }));
        frames.push({ step, warm: both[0], cold: both[1] });
        yield { frames };
        if (frames.sent) frames = [];
      }
      return { frames, accepted: warm.accepted / steps };
    },

    // A picture -> its 7 × 7 tokens, each the nearest code; and tokens -> pictures.
    *tokens({ network, x }) {
      const z = net(`${network}.encoder`).forward(Float64Array.from(x)), codes = codebook(network), width = z.length / 49;
      const nearest = (p) => {
        let best = 0, least = Infinity;
        for (let k = 0; k < codes.length / width; k++) {
          let far = 0;
          for (let c = 0; c < width; c++) far += (z[p * width + c] - codes[k * width + c]) ** 2;
          if (far < least) [least, best] = [far, k];
        }
        return best;
      };
      return Array.from({ length: 49 }, (_, p) => nearest(p));
    },

    *paint({ network, grids }) {
      const codes = codebook(network), width = codes.length / 256, pictures = [];
      for (const grid of grids) {
        const z = Float64Array.from({ length: 49 * width }, (_, i) => codes[grid[Math.floor(i / width)] * width + (i % width)]);
        pictures.push(Float32Array.from(net(`${network}.decoder`).forward(z)));
        yield {};
      }
      return pictures;
    },

    // Draws of a VAE's digits, and the same after so many steps in ε, in (x, z), and among the pixels alone, each with the
    // step that moves a pixel about as far. Where there is a code, the picture is the decoder's mean.
    *spaces({ network, seeds, steps }) {
      const decoder = net(`${network}.decoder`), { sigma, sampler } = described[`${network}.decoder`], pixels = 784;
      const energy = chains.energyOf(net(`${network}.energy`), { kind: "energy" }), mean = (z) => decoder.forward(z).slice();
      const rows = [];
      for (const seed of seeds) {
        const random = chains.random(seed), eps = Float64Array.from({ length: pixels + 16 }, random.normal);
        const first = mean(eps.subarray(pixels)), pair = eps.map((value, i) => (i < pixels ? first[i] + sigma * value : value));
        const x = pair.slice(0, pixels), honest = { step_size: sampler.step_size * sigma ** 2 };
        const walks = [
          chains.langevin(chains.inEpsilon(energy, decoder, sigma, pixels), eps, sampler, random.normal),
          chains.langevin(chains.inPair(energy, decoder, sigma, pixels), pair, honest, random.normal),
          chains.langevin(energy, x, honest, random.normal),
        ];
        for (const walk of walks)
          for (let k = 0; k < steps; k++) {
            walk.step();
            yield {};
          }
        rows.push([first, mean(eps.subarray(pixels)), mean(pair.subarray(pixels)), x].map((each) => Float32Array.from(each)));
        yield { rows };
      }
      return rows;
    },

    // Games from the same first weights, round by round, side by side: for each the fakes of one set of vectors, and what
    // share of them lies on each island.
    *games({ seed, rounds, games, batch }) {
      const shown = Float64Array.from({ length: 1000 }, chains.random(seed + 1).normal);
      const players = games.map((game) => {
        const random = chains.random(seed);
        return { game, random, nets: [toy.dense([2, 64, 64, 2], random.uniform), toy.dense([2, 64, 64, 1], random.uniform)] };
      });
      const look = () => players.map(({ nets }) => {
        const points = nets[0].forward(shown);
        return { points, shares: toy.shares(points) };
      });
      let frames = [{ step: 0, sides: look() }];
      for (let step = 1; step <= rounds; step++) {
        for (const { game, random, nets } of players)
          toy.round(...nets, toy.ring(batch, random), Float64Array.from({ length: 2 * batch }, random.normal), { lr: 1e-3, ...game });
        if (step % 5 === 0 || step === rounds) frames.push({ step, sides: look() });
        yield { frames };
        if (frames.sent) frames = [];
      }
      return { frames };
    },

    // Five objectives with equally many passes, side by side, on points of one mixture. A frame holds for each its KL, the
    // shares of the modes, and its density at the plane's cells, 255 being the data's highest. The flow of denoising comes last.
    *five({ world, seed, passes, width, looks }) {
      const points = mixture.sample(20000, world, chains.random(seed + 1)), truth = mixture.onPlane(world);
      const learners = Object.keys(objectives.OBJECTIVES).map((name) => objectives.learner(name, points, { passes, width, seed }, chains.random));
      const top = Math.exp(truth.reduce((a, b) => Math.max(a, b)));
      const seen = (name, logs) => ({
        name, kl: mixture.kl(truth, logs), map: Uint8ClampedArray.from(logs, (value) => (255 * Math.exp(value)) / top),
        shares: mixture.shares(world, logs),
      });
      const frame = (share) => ({ passes: Math.round(share * passes), sides: learners.map((each) => seen(each.name, objectives.density(each))) });
      let frames = [frame(0)];
      for (let look = 1; look <= looks; look++) {
        for (const learner of learners)
          while (learner.share < look / looks - 1e-9) {
            learner.step();
            yield { frames, share: (look - 1 + (learners.indexOf(learner) + 1) / learners.length) / looks };
            if (frames.sent) frames = [];
          }
        frames.push(frame(look / looks));
      }
      const { net } = learners.find(({ name }) => name === "denoising"), walk = objectives.flow(net, mixture.centres, 20);
      for (;;) {
        const { value, done } = walk.next();
        if (done) return { frames, flow: seen("flow", mixture.normal(value)) };
        yield { frames, share: 1 };
        if (frames.sent) frames = [];
      }
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

  async function describe({ name, network: given }) {
    try {
      described[name] = await network.unpacked(given);
    } catch (error) {
      damaged[name] = error;
    }
  }

  onmessage = ({ data }) => {
    if (data.describe) queue = queue.then(() => describe(data.describe));
    else if (data.stop) stopped.add(data.stop);
    else queue = queue.then(() => work(data));
  };
};
