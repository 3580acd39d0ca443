// A chain as it was kept: its energy as a curve, and a slider that goes back in it.
globalThis.BENCHES ??= {};
BENCHES.film = ({ canvas, words, end, log, marks, low, high, cap, strip = 0 }) => {
  const make = BENCHES.make, curve = BENCHES.plot.make("The energy after each step of the chain");
  const slider = make("input", { type: "range", min: 0, "aria-label": "Step of the chain" });
  const stills = Array.from({ length: strip }, () => make("canvas", { className: "bench-picture", "aria-hidden": "true" }));
  const film = { frames: [], elements: [...(strip ? [make("div", { className: "bench-strip" }, ...stills)] : []), slider, curve] };

  function plot(at) {
    const points = film.frames.map(({ step, energy }) => [step, energy]);
    BENCHES.plot.curve(curve, {
      curves: [{ points }], label: "energy (nats)", across: "step of the chain", log, end, marks, at,
      low, cap, high: points.length ? undefined : (high ?? 1),
    });
  }

  const name = ({ step, energy }) => `step ${step.toLocaleString("en")}: energy ${BENCHES.number(energy, 3)}`;

  film.look = (frame) => {
    BENCHES.picture(canvas, frame.x);
    words.textContent = name(frame);
    slider.setAttribute("aria-valuetext", words.textContent);
    plot(frame.step);
  };

  // Frames that have come; the last is shown.
  film.add = (frames) => {
    if (!frames.length) return;
    film.frames.push(...frames);
    const last = film.frames.length - 1;
    Object.assign(slider, { max: last, value: last, disabled: false });
    film.look(film.frames[last]);
    const time = ({ step }) => (log ? Math.log(1 + step) / Math.log(1 + end) : step / end);
    stills.forEach((still, i) => {
      const frame = film.frames.find((each) => time(each) >= i / (strip - 1) - 1e-9);
      if (frame && !still.dataset.step) {
        BENCHES.picture(still, frame.x);
        still.dataset.step = frame.step;
      }
    });
  };

  film.clear = () => {
    film.frames = [];
    Object.assign(slider, { max: 0, value: 0, disabled: true });
    for (const each of [canvas, ...stills]) each.getContext("2d").clearRect(0, 0, each.width, each.height);
    for (const still of stills) delete still.dataset.step;
    plot();
  };

  // Steps that are marked in the curve.
  film.marks = (steps) => {
    marks = steps;
    plot();
  };

  slider.addEventListener("input", () => film.look(film.frames[Number(slider.value)]));
  film.clear();
  return film;
};
