// What networks are made of: one product of matrices, and the layers that are built on it.
//
// Arrays are flat and in double precision, maps are channels-last (height, width, channels), and one picture is computed at
// a time. A layer is {forward(x) -> y, backward(dy) -> dx}; both return a buffer of the layer's own, valid until its next
// call, and backward is for the x of the last forward. Each file here adds one function without a closure to BENCHES, so
// that a worker can be made of its text (worker.js): a page that is opened from a file cannot load one.
(globalThis.BENCHES ??= {}).ops = function () {
  // c[i, j] = bias[j] + Σₖ a[i, k] b[j, k]. Blocks of 4 × 4 read each number four times less often.
  function product(a, b, c, rows, columns, depth, bias) {
    let i = 0;
    for (; i + 3 < rows; i += 4) {
      const p = i * depth, q = p + depth, r = q + depth, s = r + depth;
      let j = 0;
      for (; j + 3 < columns; j += 4) {
        const t = j * depth, u = t + depth, v = u + depth, w = v + depth;
        let d00 = 0, d01 = 0, d02 = 0, d03 = 0, d10 = 0, d11 = 0, d12 = 0, d13 = 0;
        let d20 = 0, d21 = 0, d22 = 0, d23 = 0, d30 = 0, d31 = 0, d32 = 0, d33 = 0;
        for (let k = 0; k < depth; k++) {
          const a0 = a[p + k], a1 = a[q + k], a2 = a[r + k], a3 = a[s + k];
          const b0 = b[t + k], b1 = b[u + k], b2 = b[v + k], b3 = b[w + k];
          d00 += a0 * b0; d01 += a0 * b1; d02 += a0 * b2; d03 += a0 * b3;
          d10 += a1 * b0; d11 += a1 * b1; d12 += a1 * b2; d13 += a1 * b3;
          d20 += a2 * b0; d21 += a2 * b1; d22 += a2 * b2; d23 += a2 * b3;
          d30 += a3 * b0; d31 += a3 * b1; d32 += a3 * b2; d33 += a3 * b3;
        }
        let o = i * columns + j;
        c[o] = d00; c[o + 1] = d01; c[o + 2] = d02; c[o + 3] = d03;
        o += columns;
        c[o] = d10; c[o + 1] = d11; c[o + 2] = d12; c[o + 3] = d13;
        o += columns;
        c[o] = d20; c[o + 1] = d21; c[o + 2] = d22; c[o + 3] = d23;
        o += columns;
        c[o] = d30; c[o + 1] = d31; c[o + 2] = d32; c[o + 3] = d33;
      }
      for (; j < columns; j++)
        for (let row = i; row < i + 4; row++) c[row * columns + j] = dot(a, row * depth, b, j * depth, depth);
    }
    for (; i < rows; i++)
      for (let j = 0; j < columns; j++) c[i * columns + j] = dot(a, i * depth, b, j * depth, depth);
    if (bias) for (let o = 0; o < rows * columns; ) for (let j = 0; j < columns; j++) c[o++] += bias[j];
  }

  function dot(a, p, b, q, n) {
    let even = 0, odd = 0, k = 0; // two sums: an addition need not wait for the last
    for (; k + 1 < n; k += 2) {
      even += a[p + k] * b[q + k];
      odd += a[p + k + 1] * b[q + k + 1];
    }
    return even + odd + (k < n ? a[p + k] * b[q + k] : 0);
  }

  function transposed(a, rows, columns) {
    const b = new Float64Array(a.length);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) b[j * rows + i] = a[i * columns + j];
    return b;
  }

  // Where each window of a large map (side² pixels) reads: for every place of the small map and every element of the
  // window, the first channel's offset, or -1 beyond the border.
  function windows({ channels, side, small, kernel, stride, padding }) {
    const table = new Int32Array(small * small * kernel * kernel);
    let o = 0;
    for (let i = 0; i < small * small; i++)
      for (let k = 0; k < kernel * kernel; k++) {
        const y = Math.floor(i / small) * stride - padding + Math.floor(k / kernel);
        const x = (i % small) * stride - padding + (k % kernel);
        table[o++] = y < 0 || x < 0 || y >= side || x >= side ? -1 : (y * side + x) * channels;
      }
    return table;
  }

  function gather(map, columns, table, channels) {
    for (let i = 0, o = 0; i < table.length; i++, o += channels) {
      const from = table[i];
      if (from >= 0) for (let c = 0; c < channels; c++) columns[o + c] = map[from + c];
    } // beyond the border the columns stay zero
  }

  function scatter(columns, map, table, channels) {
    for (let i = 0, o = 0; i < table.length; i++, o += channels) {
      const to = table[i];
      if (to >= 0) for (let c = 0; c < channels; c++) map[to + c] += columns[o + c];
    }
  }

  // A convolution from a large map to a small one, and the same turned round (a transposed convolution). Each one's
  // backward is the other's forward. weight: (small's channels, kernel², large's channels).
  function convolution({ large, small, kernel, stride, padding, up }, weight, bias) {
    const channels = large.channels, width = small.channels, places = small.side ** 2, depth = kernel ** 2 * channels;
    const table = windows({ channels, side: large.side, small: small.side, kernel, stride, padding });
    const back = transposed(weight, width, depth);
    const columns = new Float64Array(places * depth);
    const at = { small: new Float64Array(places * width), large: new Float64Array(large.side ** 2 * channels) };
    function down(map, bias) {
      gather(map, columns, table, channels);
      product(columns, weight, at.small, places, width, depth, bias);
      return at.small;
    }
    const spread = new Float64Array(places * depth);
    function upward(map, bias) {
      product(map, back, spread, places, depth, width);
      if (bias) for (let o = 0; o < at.large.length; ) for (let c = 0; c < channels; c++) at.large[o++] = bias[c];
      else at.large.fill(0);
      scatter(spread, at.large, table, channels);
      return at.large;
    }
    return up
      ? { forward: (x) => upward(x, bias), backward: (dy) => down(dy) }
      : { forward: (x) => down(x, bias), backward: (dy) => upward(dy) };
  }

  function linear(n, m, weight, bias) {
    const back = transposed(weight, m, n), y = new Float64Array(m), dx = new Float64Array(n);
    return {
      forward: (x) => (product(x, weight, y, 1, m, n, bias), y),
      backward: (dy) => (product(dy, back, dx, 1, n, m), dx),
    };
  }

  // An activation from value(x) and slope(x, y).
  function activation(n, value, slope) {
    const y = new Float64Array(n), dx = new Float64Array(n);
    let x;
    return {
      forward(input) {
        x = input;
        for (let i = 0; i < n; i++) y[i] = value(x[i]);
        return y;
      },
      backward(dy) {
        for (let i = 0; i < n; i++) dx[i] = dy[i] * slope(x[i], y[i]);
        return dx;
      },
    };
  }

  // x σ(x). Its own loops: the exponential is kept, and is most of the cost.
  function silu(n) {
    const y = new Float64Array(n), dx = new Float64Array(n), gate = new Float64Array(n);
    return {
      forward(x) {
        for (let i = 0; i < n; i++) y[i] = x[i] * (gate[i] = 1 / (1 + Math.exp(-x[i])));
        return y;
      },
      backward(dy) {
        for (let i = 0; i < n; i++) dx[i] = dy[i] * (gate[i] + y[i] * (1 - gate[i]));
        return dx;
      },
    };
  }

  // Batch norm in evaluation: a scale and a shift for each channel.
  function norm(n, channels, { weight, bias, mean, variance, eps }) {
    const scale = variance.map((v, c) => (weight ? weight[c] : 1) / Math.sqrt(v + eps));
    const shift = mean.map((m, c) => (bias ? bias[c] : 0) - m * scale[c]);
    const y = new Float64Array(n), dx = new Float64Array(n);
    return {
      forward(x) {
        for (let o = 0; o < n; ) for (let c = 0; c < channels; c++, o++) y[o] = x[o] * scale[c] + shift[c];
        return y;
      },
      backward(dy) {
        for (let o = 0; o < n; ) for (let c = 0; c < channels; c++, o++) dx[o] = dy[o] * scale[c];
        return dx;
      },
    };
  }

  // Means over out × out windows, as PyTorch cuts them: they overlap where out does not divide the side.
  function pool(channels, side, out) {
    const y = new Float64Array(out * out * channels), dx = new Float64Array(side * side * channels);
    const cut = (i) => [Math.floor((i * side) / out), Math.ceil(((i + 1) * side) / out)];
    const visit = (what) => {
      for (let i = 0; i < out * out; i++) {
        const [top, bottom] = cut(Math.floor(i / out)), [left, right] = cut(i % out);
        const share = 1 / ((bottom - top) * (right - left));
        for (let v = top; v < bottom; v++)
          for (let u = left; u < right; u++)
            for (let c = 0; c < channels; c++) what(i * channels + c, (v * side + u) * channels + c, share);
      }
    };
    return {
      forward: (x) => (y.fill(0), visit((o, i, share) => (y[o] += x[i] * share)), y),
      backward: (dy) => (dx.fill(0), visit((o, i, share) => (dx[i] += dy[o] * share)), dx),
    };
  }

  // x + body(x).
  function residual(n, body) {
    const y = new Float64Array(n), dx = new Float64Array(n);
    return {
      forward(x) {
        const z = body.forward(x);
        for (let i = 0; i < n; i++) y[i] = x[i] + z[i];
        return y;
      },
      backward(dy) {
        const dz = body.backward(dy);
        for (let i = 0; i < n; i++) dx[i] = dy[i] + dz[i];
        return dx;
      },
    };
  }

  function chain(layers) {
    const back = [...layers].reverse();
    return {
      forward: (x) => layers.reduce((value, layer) => layer.forward(value), x),
      backward: (dy) => back.reduce((value, layer) => layer.backward(value), dy),
    };
  }

  // One step of Adam; the slopes are zero again. kept: what learning() made; age: steps so far, this one among them.
  function adam(values, { slope, mean, square }, age, { lr, betas: [first, second] }) {
    const pace = lr / (1 - first ** age), scale = 1 / (1 - second ** age);
    for (let k = 0; k < values.length; k++) {
      mean[k] = first * mean[k] + (1 - first) * slope[k];
      square[k] = second * square[k] + (1 - second) * slope[k] ** 2;
      values[k] -= (pace * mean[k]) / (Math.sqrt(square[k] * scale) + 1e-8);
      slope[k] = 0;
    }
  }

  // What is kept of each number that learns: the slope of a loss by it, and two means over steps.
  const learning = (values) => ({ slope: new Float64Array(values.length), mean: new Float64Array(values.length), square: new Float64Array(values.length) });

  return { adam, learning, product, transposed, convolution, linear, activation, silu, norm, pool, residual, chain };
};
