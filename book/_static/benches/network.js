// A network from its description, as the press writes it (gen_utils/publishing/benches/networks.py): layers in order, and
// their numbers in one text.
(globalThis.BENCHES ??= {}).network = function (ops) {
  function decoded(data) {
    const text = atob(data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // A description whose numbers were deflated, with their bytes; any other as it is.
  async function unpacked(network) {
    const { weights } = network;
    if (!weights?.packed) return network;
    try {
      const stream = new Blob([decoded(weights.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
      const planes = new Uint8Array(await new Response(stream).arrayBuffer());
      const { count } = weights, wide = planes.length / count;
      return { ...network, weights: { ...weights, bytes: planes.map((_, i) => planes[(i % wide) * count + Math.floor(i / wide)]) } };
    } catch {
      throw new Error("the weights are damaged, or this browser cannot unpack them");
    }
  }

  // Numbers as they were written; throws where they are others.
  function numbers({ data, bytes = decoded(data), type, count, checksum }) {
    let low = 1, high = 0; // Adler-32
    for (let i = 0; i < bytes.length; i++) {
      low = (low + bytes[i]) % 65521;
      high = (high + low) % 65521;
    }
    if (high * 65536 + low !== checksum || bytes.length !== count * (type === "float16" ? 2 : 4))
      throw new Error("the weights are damaged");
    if (type !== "float16") return new Float32Array(bytes.buffer);
    return Float32Array.from(new Uint16Array(bytes.buffer), half);
  }

  function half(h) {
    const exponent = (h >> 10) & 31, fraction = h & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    return h & 32768 ? -size : size;
  }

  const slopes = {
    relu: (n) => ops.activation(n, (x) => (x > 0 ? x : 0), (x) => (x > 0 ? 1 : 0)),
    leaky: (n, { slope }) => ops.activation(n, (x) => (x > 0 ? x : slope * x), (x) => (x > 0 ? 1 : slope)),
    tanh: (n) => ops.activation(n, Math.tanh, (x, y) => 1 - y * y),
    sigmoid: (n) => ops.activation(n, (x) => 1 / (1 + Math.exp(-x)), (x, y) => y * (1 - y)),
    silu: (n) => ops.silu(n),
  };

  // {layers, weights} -> {forward(x) -> y, backward(dy) -> dx}; x and y as in ops.js.
  function build({ layers, weights }) {
    const all = numbers(weights);
    let at = 0;
    const take = (n) => Float64Array.from(all.subarray(at, (at += n)));
    const made = ops.chain(layers.map((layer) => one(layer, take)));
    if (at !== all.length) throw new Error("the weights do not fit the layers");
    return made;
  }

  function one(layer, take) {
    switch (layer.op) {
      case "convolution": {
        const { large, small, kernel, up } = layer;
        const weight = take(small.channels * kernel ** 2 * large.channels);
        return ops.convolution(layer, weight, layer.bias && take((up ? large : small).channels));
      }
      case "linear": {
        const weight = take(layer.from * layer.to);
        return ops.linear(layer.from, layer.to, weight, layer.bias && take(layer.to));
      }
      case "norm": {
        const c = layer.channels, weight = layer.affine && take(c), bias = layer.affine && take(c);
        return ops.norm(layer.n, c, { weight, bias, mean: take(c), variance: take(c), eps: layer.eps });
      }
      case "pool":
        return ops.pool(layer.channels, layer.side, layer.out);
      case "residual":
        return ops.residual(layer.n, ops.chain(layer.body.map((inner) => one(inner, take))));
      default:
        return slopes[layer.op](layer.n, layer);
    }
  }

  return { build, numbers, unpacked };
};
