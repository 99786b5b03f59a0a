// Sprite sheets: pictures of many tiles, from which a tile is put on a canvas of its own, pixel for pixel.
"use strict";

(function (unmelt) {
  const { element } = unmelt.parts;
  // A tile's longer side on the screen, about, and that of one that is much wider than high.
  const [SIDE, WIDE] = [80, 200];
  const waiting = [];

  /** A sheet that tiles are drawn from as soon as it is decoded. */
  function open(sheet) {
    const image = new Image();
    image.src = sheet.src;
    const decoded = image.decode();
    waiting.push(decoded);

    function draw(canvas, index) {
      const [column, row] = [index % sheet.columns, Math.floor(index / sheet.columns)];
      const { width, height } = sheet;
      canvas.getContext("2d").drawImage(image, column * width, row * height, width, height, 0, 0, width, height);
    }

    return { ...sheet, draw, decoded };
  }

  /** A canvas for tiles of a sheet; its words are for those who do not see it. */
  function canvas(sheet, words) {
    return element("canvas", { width: sheet.width, height: sheet.height, role: "img", "aria-label": words });
  }

  /** How wide a tile is shown: whole pixels of the screen for each of its own, where there is room. */
  function size(sheet) {
    const longest = Math.max(sheet.width, sheet.height);
    const wanted = sheet.width > 2 * sheet.height ? WIDE : SIDE;
    return `${Math.max(1, Math.round(wanted / longest)) * sheet.width}px`;
  }

  unmelt.sheets = { open, canvas, size, ready: () => Promise.all(waiting) };
})(window.unmelt);
