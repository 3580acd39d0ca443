// Curves as SVG, in the colours of the page.
globalThis.BENCHES ??= {};
BENCHES.plot = (() => {
  const HEIGHT = 160, LEFT = 46, RIGHT = 12, TOP = 20, BOTTOM = 34;
  const SVG = "http://www.w3.org/2000/svg";

  function draw(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const short = (value) => {
    const text = Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toPrecision(2));
    return text.replace("-", "−");
  };

  // A picture of curves over steps. curves: [{name, points: [[x, y], …]}]; log: x counts from 1 and is shown by its
  // logarithm, from begin; marks: [{x, text}];
  // at: an x that is pointed to; low, high: of y, at least; cap: at most.
  function curve(svg, { curves, label, across, log, begin = 1, end, ticks, marks = [], at, low = Infinity, high = -Infinity, cap = Infinity }) {
    const WIDTH = Math.max(260, Math.round(svg.clientWidth) || 560); // so that words keep their size
    const place = (x) => (log ? Math.log(Math.max(begin, x) / begin) / Math.log(end / begin) : x / end);
    const ys = curves.flatMap((each) => each.points.map((point) => point[1])).filter(Number.isFinite);
    const bottom = Math.min(low, ...ys, 0), top = Math.min(cap, Math.max(high, ...ys, bottom + 1e-6));
    const u = (x) => LEFT + place(x) * (WIDTH - LEFT - RIGHT);
    const v = (y) => TOP + ((top - y) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.replaceChildren();
    for (const y of [bottom, (bottom + top) / 2, top]) {
      svg.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: v(y), y2: v(y), class: "bench-grid" }));
      svg.append(draw("text", { x: LEFT - 6, y: v(y) + 4, "text-anchor": "end" }, short(y)));
    }
    ticks ??= log ? [1, 4, 16, 64, 256, 1024, 4096].filter((x) => x <= end) : [0, end / 2, end];
    for (const x of ticks) {
      const anchor = x === end ? "end" : "middle";
      svg.append(draw("text", { x: u(x), y: HEIGHT - 18, "text-anchor": anchor }, short(x)));
    }
    svg.append(draw("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, across));
    svg.append(draw("text", { x: LEFT + 6, y: 12 }, label));
    for (const mark of marks) {
      svg.append(draw("line", { x1: u(mark.x), x2: u(mark.x), y1: TOP, y2: HEIGHT - BOTTOM, class: "bench-mark" }));
      if (mark.text) svg.append(draw("text", { x: u(mark.x) - 5, y: HEIGHT - BOTTOM - 6, "text-anchor": "end" }, mark.text));
    }
    curves.forEach(({ points }, i) => {
      const line = points.map(([x, y]) => `${u(x).toFixed(1)},${v(Math.max(bottom, Math.min(top, y))).toFixed(1)}`).join(" ");
      svg.append(draw("polyline", { points: line, class: `bench-curve bench-curve-${i}` }));
    });
    const near = at !== undefined && curves[0].points.findLast(([x]) => x <= at);
    if (near) svg.append(draw("circle", { cx: u(near[0]), cy: v(near[1]), r: 5, class: "bench-point" }));
  }

  // Bars side by side. series: [values in [0, 1], …]; names: below the bars.
  function bars(svg, { series, names, label }) {
    const WIDTH = Math.max(260, Math.round(svg.clientWidth) || 560), wide = (WIDTH - LEFT - RIGHT) / names.length;
    const v = (y) => TOP + (1 - y) * (HEIGHT - TOP - BOTTOM);
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT - 12}`);
    svg.replaceChildren(draw("text", { x: LEFT + 6, y: 12 }, label));
    for (const y of [0, 0.5, 1]) {
      svg.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: v(y), y2: v(y), class: "bench-grid" }));
      svg.append(draw("text", { x: LEFT - 6, y: v(y) + 4, "text-anchor": "end" }, short(y)));
    }
    names.forEach((name, i) => {
      const left = LEFT + i * wide, thick = (0.7 * wide) / series.length;
      svg.append(draw("text", { x: left + wide / 2, y: HEIGHT - 18, "text-anchor": "middle" }, name));
      series.forEach((values, k) => {
        const box = { x: left + 0.15 * wide + k * thick, width: thick * 0.9, y: v(values[i]), height: v(0) - v(values[i]) };
        svg.append(draw("rect", { ...box, class: `bench-bar bench-bar-${k}` }));
      });
    });
  }

  function make(description) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "bench-plot");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", description);
    return svg;
  }

  return { make, curve, bars };
})();
