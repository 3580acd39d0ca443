// What all benches share: a prediction first, then the run, then both side by side; the state in the address, a reset, the
// same call in Python, and errors in one sentence. A bench is {question, options, state, networks, build, run, python}; see
// digits.js for one.
globalThis.BENCHES ??= {};
(() => {
  const HERE = new URL(".", document.currentScript.src).href;
  const PARTS = ["ops", "network", "chains", "toy", "mixture", "energy", "objectives", "worker"];
  BENCHES.networks ??= {};
  BENCHES.kinds = {};
  BENCHES.define = (name, kind) => (BENCHES.kinds[name] = kind);

  // make("button", {className: "x"}, child, "text"): an element with its properties and children.
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties))
      if (key in element && key !== "list") element[key] = value;
      else element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // A square picture on a canvas: numbers in [-1, 1] or bytes, grey or in colour with its channels last.
  function picture(canvas, x) {
    const isBytes = x instanceof Uint8ClampedArray, channels = Number.isInteger(Math.sqrt(x.length)) ? 1 : 3;
    const side = Math.sqrt(x.length / channels), image = new ImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      for (let c = 0; c < 3; c++) {
        const value = x[channels * i + (channels > 1 ? c : 0)];
        image.data[4 * i + c] = isBytes ? value : (value + 1) * 127.5; // rounded and cut by the array
      }
      image.data[4 * i + 3] = 255;
    }
    canvas.width = canvas.height = side;
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // Bytes of a picture -> numbers in [-1, 1]; and the share of a picture's pixels that are neither black nor white.
  const values = (bytes) => Float32Array.from(bytes, (value) => value / 127.5 - 1);
  const grey = (x) => x.reduce((sum, value) => sum + (Math.abs(value) < 0.8), 0) / x.length;

  // The colour of a density, in [0, 1] of the highest, as bytes.
  const glow = (p) => [12 + 190 * p * p, 26 + 150 * p, 62 + 60 * p * (1 - p) * 4, 255];

  // A canvas with words below it.
  const shot = (caption, canvas) => {
    const words = make("figcaption", {}, caption);
    canvas ??= make("canvas", { width: 28, height: 28, className: "bench-picture", role: "img", "aria-label": caption });
    return { canvas, words, figure: make("figure", {}, canvas, words) };
  };

  const button = (text, act) => {
    const made = make("button", { type: "button", className: "bench-tool" }, text);
    made.addEventListener("click", act);
    return made;
  };

  // A digit in words: "a 3", "an 8".
  const a = (digit) => `${digit === 8 ? "an" : "a"} ${digit}`;

  // -0.0213 -> "−0.021"
  const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");

  // Numbers in [0, 1) for a picture of noise before anything is loaded.
  const noise = (seed) => () => ((seed = (seed * 16807 + 11) % 2147483647), seed / 2147483647);

  const script = (name) =>
    new Promise((resolve, reject) => {
      const element = make("script", { src: `${HERE}${name}.js` });
      element.onload = resolve;
      element.onerror = () => reject(new Error(`the file ${name}.js is not beside this page`));
      document.head.append(element);
    });

  // The worker of this page, made at the first click. ask(job, given, news) resolves with the job's answer, null if it was
  // stopped.
  const engine = (() => {
    let worker, number = 0;
    const open = new Map(), known = new Set();
    async function start() {
      await Promise.all(PARTS.filter((part) => !BENCHES[part]).map(script));
      const text =
        `const ops = (${BENCHES.ops})(), chains = (${BENCHES.chains})(), mixture = (${BENCHES.mixture})();\n` +
        `const objectives = (${BENCHES.objectives})((${BENCHES.energy})(ops), mixture);\n` +
        `(${BENCHES.worker})((${BENCHES.network})(ops), chains, (${BENCHES.toy})(ops), objectives, mixture);`;
      const made = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
      const fail = (message) => {
        for (const { reject } of open.values()) reject(new Error(message));
        open.clear();
      };
      made.onerror = () => fail("the browser stopped the worker, perhaps for want of memory");
      made.onmessageerror = made.onerror;
      made.onmessage = ({ data: { id, news, answer, error } }) => {
        const asked = open.get(id);
        if (!asked) return;
        if (news) return asked.news?.(news);
        open.delete(id);
        if (error) asked.reject(new Error(error));
        else asked.resolve(answer);
      };
      return made;
    }
    return {
      async load(names) {
        try {
          worker ??= await start();
        } catch (error) {
          throw error.message.includes("beside") ? error : new Error("this browser starts no worker for a page like this one");
        }
        for (const name of names.filter((each) => !known.has(each))) {
          await script(`networks/${name}`);
          if (!BENCHES.networks[name]) throw new Error(`the weights of ${name} are damaged`);
          worker.postMessage({ describe: { name, network: BENCHES.networks[name] } });
          delete BENCHES.networks[name];
          known.add(name);
        }
      },
      ask: (job, given, news) =>
        new Promise((resolve, reject) => {
          const id = ++number;
          open.set(id, { resolve, reject, news });
          worker.postMessage({ id, job, ...given });
        }),
      stop() {
        for (const id of open.keys()) worker.postMessage({ stop: id });
      },
    };
  })();

  // #bench-digits:seed=3&steps=256 -> the state of that bench; unknown names and values of another type are left out.
  function addressed(name, defaults) {
    const state = { ...defaults };
    const [anchor, text] = location.hash.split(/:(.*)/s);
    if (anchor !== `#bench-${name}` || !text) return state;
    for (const [key, value] of new URLSearchParams(text)) {
      if (!(key in defaults)) continue;
      const read = typeof defaults[key] === "number" ? Number(value) : value;
      if (typeof read === "string" || Number.isFinite(read)) state[key] = read;
    }
    return state;
  }

  function written(bench) {
    const said = new URLSearchParams();
    for (const [key, value] of Object.entries(bench.state)) if (value !== bench.kind.state[key]) said.set(key, value);
    return `#bench-${bench.name}${[...said].length ? `:${said}` : ""}`;
  }

  function install(section) {
    const name = section.dataset.bench, kind = BENCHES.kinds[name];
    if (!kind || section.classList.contains("bench-live")) return;
    section.classList.add("bench-live");
    const bench = { name, kind, engine, section, state: addressed(name, { guess: "", ...kind.state }), title: section.querySelector(".bench-title").textContent };
    kind.state = { guess: "", ...kind.state };
    const names = section.dataset.networks.split(" ").filter(Boolean);

    const guesses = kind.options.map(([value, label]) => {
      const input = make("input", { type: "radio", name: `bench-${name}`, value, checked: bench.state.guess === value });
      input.addEventListener("change", () => {
        bench.state.guess = value;
        bench.status("");
        verdict.replaceChildren();
        bench.changed();
      });
      return make("label", {}, input, make("span", {}, label));
    });
    const question = make("fieldset", { className: "bench-guess" }, make("legend", {}, kind.question), ...guesses);
    const body = make("div", { className: "bench-body" });
    const run = make("button", { type: "button", className: "bench-run" }, kind.verb ?? "Run");
    const status = make("p", { className: "bench-status", role: "status" });
    const verdict = make("div", { className: "bench-verdict", "aria-live": "polite" });
    const tool = (text, act) => {
      const button = make("button", { type: "button", className: "bench-tool" }, text);
      button.addEventListener("click", () => act(button));
      return button;
    };
    const copied = async (button, text) => {
      try {
        await navigator.clipboard.writeText(text);
        bench.status("Copied.");
      } catch { // a page from a file may not: show it to be copied by hand
        shown.textContent = text;
        shown.hidden = false;
        getSelection().selectAllChildren(shown);
        bench.status("Here it is, selected: copy it.");
      }
      button.focus();
    };
    const shown = make("pre", { className: "bench-shown", tabIndex: 0, hidden: true });
    const tools = make(
      "div", { className: "bench-tools" },
      tool("Copy as Python", (button) => copied(button, kind.python(bench.state))),
      tool("Copy a link to this", (button) => copied(button, location.href.split("#")[0] + written(bench))),
      tool("Reset", () => {
        engine.stop();
        bench.state = { ...kind.state };
        for (const input of section.querySelectorAll(`input[name="bench-${name}"]`)) input.checked = false;
        verdict.replaceChildren();
        shown.hidden = true;
        kind.show(bench);
        bench.status("As at the beginning.");
        bench.changed();
      }),
    );

    Object.assign(bench, {
      make,
      body,
      status: (text) => (status.textContent = text),
      // The state was changed: the address follows, without a step in the history.
      changed() {
        try {
          history.replaceState(null, "", written(bench));
        } catch {} // some browsers do not allow it to a file's page
      },
      stopped: false,
    });

    async function go() {
      if (run.dataset.running) {
        bench.stopped = true;
        return engine.stop();
      }
      if (!kind.options.some(([value]) => value === bench.state.guess)) {
        bench.status("First say what you expect; then run it.");
        return question.querySelector("input").focus();
      }
      run.dataset.running = "yes";
      run.textContent = "Stop";
      bench.stopped = false;
      verdict.replaceChildren();
      try {
        bench.status("Loading …");
        await engine.load(names);
        bench.status("");
        const found = await kind.run(bench);
        if (found) {
          // Without an outcome it was another situation than the one that was asked about.
          const said = Object.fromEntries(kind.options), right = found.outcome === bench.state.guess;
          const both = [
            make("p", {}, make("strong", {}, "You expected: "), said[bench.state.guess]),
            make("p", {}, make("strong", {}, right ? "And so it was: " : "It was: "), said[found.outcome]),
          ];
          verdict.replaceChildren(...(found.outcome ? both : []), make("p", {}, found.said));
          verdict.dataset.right = right ? "yes" : "no";
          if (found.outcome) BENCHES.log.add(bench, kind.question, said[bench.state.guess], said[found.outcome], right);
        } else bench.status("Stopped.");
      } catch (error) {
        bench.status(`This bench cannot go on: ${error.message}. The page reads on without it.`);
      }
      run.textContent = kind.verb ?? "Run";
      delete run.dataset.running;
      bench.changed();
    }
    run.addEventListener("click", go);
    bench.go = go;
    bench.run = run;

    section.append(question, body, make("div", { className: "bench-go" }, run, status), verdict, tools, shown);
    kind.build(bench);
    kind.show(bench);
    if (location.hash.startsWith(`#bench-${name}:`)) section.scrollIntoView();
  }

  Object.assign(BENCHES, { make, picture, values, grey, glow, shot, button, number, a, noise, engine });
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".bench").forEach(install));
})();
