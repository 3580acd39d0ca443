// A place to draw 28 × 28 pixels: with a finger, a mouse, or the arrow keys and the space bar.
(globalThis.BENCHES ??= {}).pad = (() => {
  const SIDE = 28, REACH = 1.9; // pixels from a stroke's middle to where its ink ends
  // Corners of strokes in pixels, x y x y …; strokes are separated by a bar.
  const EXAMPLES = [
    "14 5 10 7 8 12 8 17 10 21 14 23 18 21 20 16 20 11 18 7 14 5",
    "11 9 15 5 15 23",
    "8 9 11 5 16 5 19 9 18 13 13 18 8 23 20 22",
    "8 7 13 5 18 7 18 11 13 13 18 15 19 19 15 23 8 21",
    "9 5 8 14 19 14|18 6 17 23",
    "19 5 10 5 9 13 15 12 19 16 17 21 9 22",
    "16 5 11 10 8 17 10 22 16 22 18 17 14 14 9 17",
    "8 6 20 6 15 14 12 23",
    "14 13 9 9 12 5 17 6 17 10 14 13 9 18 12 23 17 22 18 17 14 13",
    "18 9 15 5 10 7 9 12 14 14 18 10 18 8 17 23",
    // No digits: a house, a cross, a bird, a spiral, an A, a blot.
    "7 13 14 6 21 13 21 22 7 22 7 13",
    "7 7 21 21|21 7 7 21",
    "5 14 8 10 11 14 14 18 17 14 20 10 23 14",
    "14 14 16 13 17 15 14 18 10 16 10 11 15 8 20 11 21 17 17 22",
    "9 23 14 5 19 23|11 17 17 17",
    "13 14 15 14",
  ];

  const blank = () => new Float32Array(SIDE * SIDE);

  // Ink along a line from (x, y) to (u, v), in pixels.
  function stroke(ink, x, y, u, v) {
    const length = Math.max((u - x) ** 2 + (v - y) ** 2, 1e-9);
    for (let row = 0; row < SIDE; row++)
      for (let column = 0; column < SIDE; column++) {
        const t = Math.max(0, Math.min(1, ((column + 0.5 - x) * (u - x) + (row + 0.5 - y) * (v - y)) / length));
        const far = Math.hypot(column + 0.5 - x - t * (u - x), row + 0.5 - y - t * (v - y));
        const i = row * SIDE + column;
        ink[i] = Math.max(ink[i], Math.min(1, Math.max(0, 1.5 * (REACH - far))));
      }
  }

  function example(digit) {
    const ink = blank();
    for (const line of EXAMPLES[digit].split("|")) {
      const at = line.split(" ").map(Number);
      for (let i = 0; i + 3 < at.length; i += 2) stroke(ink, at[i], at[i + 1], at[i + 2], at[i + 3]);
    }
    return ink;
  }

  // Ink in [0, 1] -> a picture in [-1, 1], its centre of mass in the middle, as MNIST has it. None where there is no ink.
  function picture(ink) {
    let mass = 0, across = 0, down = 0;
    ink.forEach((value, i) => {
      mass += value;
      across += value * (i % SIDE);
      down += value * Math.floor(i / SIDE);
    });
    if (mass < 5) return null;
    const right = Math.round(SIDE / 2 - across / mass - 0.5), below = Math.round(SIDE / 2 - down / mass - 0.5);
    const x = new Float32Array(SIDE * SIDE).fill(-1);
    ink.forEach((value, i) => {
      const column = (i % SIDE) + right, row = Math.floor(i / SIDE) + below;
      if (column >= 0 && column < SIDE && row >= 0 && row < SIDE) x[row * SIDE + column] = 2 * value - 1;
    });
    return x;
  }

  // Four levels of ink a pixel, as text for an address; and back.
  function written(ink) {
    let bytes = "";
    for (let i = 0; i < ink.length; i += 4)
      bytes += String.fromCharCode([0, 1, 2, 3].reduce((byte, k) => byte * 4 + Math.round(3 * ink[i + k]), 0));
    return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_");
  }

  function read(text) {
    const ink = blank();
    try {
      const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
      for (let i = 0; i < Math.min(ink.length, 4 * bytes.length); i++)
        ink[i] = ((bytes.charCodeAt(i >> 2) >> (6 - 2 * (i & 3))) & 3) / 3;
    } catch {} // not a drawing: nothing is drawn
    return ink;
  }

  // A canvas to draw on. changed() is called when a stroke ends; {ink, show(ink), canvas}.
  function make(changed) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: SIDE, height: SIDE, tabIndex: 0, className: "bench-picture bench-pad" });
    canvas.setAttribute("role", "application");
    canvas.setAttribute(
      "aria-label", "Your drawing, 28 by 28 pixels. Arrow keys move the pen; the space bar puts it down and lifts it.",
    );
    const pad = { canvas, ink: blank(), show };
    let pen = null, key = { x: 14, y: 14, down: false };
    function draw() {
      BENCHES.picture(canvas, pad.ink.map((value) => 2 * value - 1));
      if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
        const context = canvas.getContext("2d");
        context.fillStyle = key.down ? "#ff8c1a" : "#58a6ff";
        context.fillRect(Math.floor(key.x), Math.floor(key.y), 1, 1);
      }
    }
    function show(ink) {
      pad.ink = ink;
      draw();
    }
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pen = place(event);
      stroke(pad.ink, ...pen, ...pen);
      draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pen) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) {
        const to = place(each);
        stroke(pad.ink, ...pen, ...to);
        pen = to;
      }
      draw();
    });
    const lift = () => {
      if (pen) changed();
      pen = null;
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (move) {
        const to = { x: key.x + move[0], y: key.y + move[1] };
        if (Math.min(to.x, to.y) < 1 || Math.max(to.x, to.y) > SIDE - 1) return event.preventDefault();
        if (key.down) stroke(pad.ink, key.x, key.y, to.x, to.y);
        Object.assign(key, to);
      } else if (event.key === " ") {
        key.down = !key.down;
        if (key.down) stroke(pad.ink, key.x, key.y, key.x, key.y);
        else changed();
      } else return;
      event.preventDefault();
      draw();
    });
    canvas.addEventListener("focus", draw);
    canvas.addEventListener("blur", () => {
      if (key.down) changed();
      key.down = false;
      draw();
    });
    draw();
    return pad;
  }

  return { make, blank, example, picture, written, read };
})();
