// Orthonormal transforms of images: three channels of SIZE x SIZE numbers, one after the other.
"use strict";

(function (unmelt) {
  const SIZE = 128;
  const PIXELS = SIZE * SIZE;
  const CHANNELS = 3;

  /** Cosines as rows, row n of frequency n: the DCT-II. */
  function cosineTable() {
    const table = new Float64Array(PIXELS);
    for (let n = 0; n < SIZE; n++) {
      const scale = Math.sqrt((n ? 2 : 1) / SIZE);
      for (let i = 0; i < SIZE; i++) table[n * SIZE + i] = scale * Math.cos((Math.PI / SIZE) * n * (i + 0.5));
    }
    return table;
  }

  function transposed(table) {
    return table.map((_, k) => table[(k % SIZE) * SIZE + Math.floor(k / SIZE)]);
  }

  /** Multiply each row of an image by each row of a table; the result is turned over its diagonal. */
  function multiplyRows(image, table) {
    const result = new Float64Array(PIXELS);
    for (let row = 0; row < PIXELS; row += SIZE) {
      for (let n = 0; n < SIZE; n++) result[n * SIZE + row / SIZE] = product(image, row, table, n * SIZE);
    }
    return result;
  }

  /** Four sums at a time, which a processor adds up side by side: four times as fast. */
  function product(a, from, b, start) {
    let [p, q, r, s] = [0, 0, 0, 0];
    for (let i = 0; i < SIZE; i += 4) {
      p += a[from + i] * b[start + i];
      q += a[from + i + 1] * b[start + i + 1];
      r += a[from + i + 2] * b[start + i + 2];
      s += a[from + i + 3] * b[start + i + 3];
    }
    return p + q + (r + s);
  }

  /** Apply a function of one channel to all of them. */
  function perChannel(images, transform) {
    const result = new Float64Array(images.length);
    for (let from = 0; from < images.length; from += PIXELS) {
      result.set(transform(images.subarray(from, from + PIXELS)), from);
    }
    return result;
  }

  const analysis = cosineTable();
  const synthesis = transposed(analysis);
  // Twice, once for either axis, which turns the image back.
  const separable = (table) => (image) => multiplyRows(multiplyRows(image, table), table);

  const cosine = {
    analyse: (images) => perChannel(images, separable(analysis)),
    synthesise: (images) => perChannel(images, separable(synthesis)),
  };

  const HALF = Math.sqrt(0.5);

  /** Replace pairs along one axis of a corner by sums, then differences. */
  function splitAxis(image, size, step, across) {
    const line = new Float64Array(size);
    for (let other = 0; other < size; other++) {
      for (let i = 0; i < size / 2; i++) {
        const [a, b] = [image[other * across + 2 * i * step], image[other * across + (2 * i + 1) * step]];
        line[i] = HALF * (a + b);
        line[size / 2 + i] = HALF * (a - b);
      }
      for (let i = 0; i < size; i++) image[other * across + i * step] = line[i];
    }
  }

  /** The way back: sums and differences become pairs. */
  function joinAxis(image, size, step, across) {
    const line = new Float64Array(size);
    for (let other = 0; other < size; other++) {
      for (let i = 0; i < size / 2; i++) {
        const [sum, rest] = [image[other * across + i * step], image[other * across + (size / 2 + i) * step]];
        line[2 * i] = HALF * (sum + rest);
        line[2 * i + 1] = HALF * (sum - rest);
      }
      for (let i = 0; i < size; i++) image[other * across + i * step] = line[i];
    }
  }

  /** Do something to the corners of sums, largest first or last. */
  function pyramid(image, sizes, change) {
    const result = Float64Array.from(image);
    for (const size of sizes) {
      change(result, size, 1, SIZE);
      change(result, size, SIZE, 1);
    }
    return result;
  }

  const SIZES = Array.from({ length: Math.log2(SIZE) }, (_, j) => SIZE >> j);

  const haar = {
    analyse: (images) => perChannel(images, (image) => pyramid(image, SIZES, splitAxis)),
    synthesise: (images) => perChannel(images, (image) => pyramid(image, [...SIZES].reverse(), joinAxis)),
  };

  const pixel = { analyse: (images) => images, synthesise: (images) => images };

  unmelt.transforms = { SIZE, PIXELS, CHANNELS, cosine, haar, pixel };
})(window.unmelt);
