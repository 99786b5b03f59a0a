// Pictures: from files to numbers in a process's range, and from numbers to the screen.
"use strict";

(function (unmelt) {
  const { SIZE, PIXELS, CHANNELS } = unmelt.transforms;

  function decoded(url) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("the file is no picture that this browser can read"));
      image.src = url;
    });
  }

  /** Halve a large picture until one step is left: browsers skip pixels where they shrink a lot at once. */
  function shrunk(source, side, from) {
    let [current, size, x, y] = [source, side, ...from];
    for (;;) {
      const target = Math.max(SIZE, Math.ceil(size / 2));
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = target;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      // What is transparent counts as white.
      context.fillStyle = "white";
      context.fillRect(0, 0, target, target);
      context.imageSmoothingEnabled = size !== target;
      context.imageSmoothingQuality = "high";
      context.drawImage(current, x, y, size, size, 0, 0, target, target);
      if (target === SIZE) return context;
      [current, size, x, y] = [canvas, target, 0, 0];
    }
  }

  /** The middle square of the picture at a URL, in bytes: SIZE x SIZE pixels of red, green, blue and opacity. */
  async function load(url) {
    const image = await decoded(url);
    const side = Math.min(image.naturalWidth, image.naturalHeight);
    const from = [Math.floor((image.naturalWidth - side) / 2), Math.floor((image.naturalHeight - side) / 2)];
    return shrunk(image, side, from).getImageData(0, 0, SIZE, SIZE).data;
  }

  /** The bytes of a picture as numbers in a range, channel after channel. */
  function numbers(bytes, [low, high]) {
    return Float64Array.from({ length: CHANNELS * PIXELS }, (_, i) => {
      const byte = bytes[4 * (i % PIXELS) + Math.floor(i / PIXELS)];
      return low + ((high - low) * byte) / 255;
    });
  }

  /** Numbers as bytes, cut off at the ends of the declared range; nothing is rescaled to what the picture holds. */
  function bytes(values, [low, high]) {
    const found = new Uint8ClampedArray(4 * PIXELS).fill(255);
    // The array's own conversion rounds to the nearest byte, and clamps.
    for (let i = 0; i < values.length; i++) {
      found[4 * (i % PIXELS) + Math.floor(i / PIXELS)] = ((values[i] - low) / (high - low)) * 255;
    }
    return found;
  }

  function paint(canvas, pixels) {
    canvas.getContext("2d").putImageData(new ImageData(pixels, SIZE, SIZE), 0, 0);
  }

  unmelt.pictures = { load, numbers, bytes, paint };
})(window.unmelt);
