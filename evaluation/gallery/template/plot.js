// Plots: lines with bands in the page's own colours, read with a pointer, a finger or arrow keys.
"use strict";

(function (unmelt) {
  const { element, drawing } = unmelt.parts;
  const { text, ends, scale } = unmelt.scales;
  const MARGIN = { left: 58, right: 12, top: 10, bottom: 42 };
  const HEIGHT = 250;
  const HINT = "Point at the plot, or focus it and press arrow keys, to read values.";

  /** Scales that hold the lines of all runs, so that what stands side by side is read alike. */
  function frame(figure, lines, width) {
    const all = (names) => lines.flatMap((line) => names.flatMap((name) => line[name]));
    const level = figure.level === null ? [] : [figure.level];
    const heights = [...all(["y", "low", "high"]), ...level].filter((value) => value > 0 || !figure.y.logarithmic);
    // A band that reaches down to nothing would press all else together.
    const least = figure.y.logarithmic ? Math.min(...all(["y"])) / 10 : -Infinity;
    const bottom = HEIGHT - MARGIN.bottom;
    return {
      width,
      bottom,
      x: scale(ends(all(["x"]), figure.x.logarithmic), figure.x.logarithmic, MARGIN.left, width - MARGIN.right, Math.max(3, width / 90)),
      y: scale(ends(heights.filter((value) => value >= least), figure.y.logarithmic), figure.y.logarithmic, bottom, MARGIN.top, 5),
    };
  }

  function axes(figure, { x, y, width, bottom }) {
    const label = (attributes, words) => drawing("text", attributes, words);
    const right = width - MARGIN.right;
    return [
      ...y.ticks.map((tick) => drawing("path", { class: "across", d: `M${MARGIN.left} ${y.at(tick)}H${right}` })),
      ...y.ticks.map((tick) => label({ x: MARGIN.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, text(tick))),
      ...x.ticks.map((tick) => label({ x: x.at(tick), y: bottom + 17, "text-anchor": "middle" }, text(tick))),
      label({ x: (MARGIN.left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, figure.x.label),
      label({ transform: `translate(12 ${(MARGIN.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, figure.y.label),
    ];
  }

  function drawn(line, number, { x, y }) {
    const points = (values) => line.x.map((at, i) => `${x.at(at).toFixed(2)} ${y.at(values[i]).toFixed(2)}`);
    const parts = [drawing("path", { class: `line of-${number}`, d: `M${points(line.y).join("L")}` })];
    if (line.low.length) {
      const around = [...points(line.low), ...points(line.high).reverse()];
      parts.unshift(drawing("path", { class: `band of-${number}`, d: `M${around.join("L")}Z` }));
    }
    if (line.dots) parts.push(...line.x.map((at, i) => drawing("circle", { class: `dot of-${number}`, cx: x.at(at), cy: y.at(line.y[i]), r: 3 })));
    return parts;
  }

  function nearest(values, wanted, at) {
    const distances = values.map((value) => Math.abs(at(value) - at(wanted)));
    return distances.indexOf(Math.min(...distances));
  }

  /** What all lines have where it is nearest to a value of the x axis. */
  function reading(figure, value, at) {
    const found = figure.lines.map((line) => {
      const i = nearest(line.x, value, at);
      const band = line.low.length ? ` (${text(line.low[i])} to ${text(line.high[i])})` : "";
      const elsewhere = line.x[i] === value ? "" : ` at ${text(line.x[i])}`;
      return `${line.name} ${text(line.y[i])}${band}${elsewhere}`;
    });
    return `${figure.x.label} ${text(value)}: ${found.join("; ")}`;
  }

  function key(figure) {
    return element("ul", { class: "key" }, ...figure.lines.map((line, number) =>
      element("li", {}, drawing("svg", { width: 26, height: 10, "aria-hidden": "true" },
        drawing("path", { class: `line of-${number}`, d: "M0 5H26" })), line.name)));
  }

  /** Keeps a mark over the value that was pointed at, and says what is there. */
  function reader(figure, svg, says) {
    const places = [...new Set(figure.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const mark = drawing("path", { class: "mark" });
    let [at, scales] = [null, null];

    function read(index) {
      at = Math.min(places.length - 1, Math.max(0, index));
      const x = scales.x.at(places[at]);
      mark.setAttribute("d", `M${x} ${MARGIN.top}V${scales.bottom}`);
      says.textContent = reading(figure, places[at], scales.x.at);
    }

    function point(event) {
      const left = event.clientX - svg.getBoundingClientRect().left;
      const distances = places.map((place) => Math.abs(scales.x.at(place) - left));
      read(distances.indexOf(Math.min(...distances)));
    }

    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      read(at === null ? (step > 0 ? 0 : places.length - 1) : at + step);
    });
    return { mark, renew: (found) => { scales = found; if (at !== null) read(at); } };
  }

  function plot(figure, level, peers) {
    const svg = drawing("svg", { class: "plot", role: "img", tabindex: "0", height: HEIGHT, "aria-label": `${figure.title}. ${figure.says}` });
    const says = element("output", { class: "reading" }, HINT);
    const { mark, renew } = reader(figure, svg, says);

    function draw(width) {
      const scales = frame(figure, peers.flatMap(({ lines }) => lines), width);
      const across = figure.level === null ? [] : [drawing("path", { class: "level", d: `M${MARGIN.left} ${scales.y.at(figure.level)}H${width - MARGIN.right}` })];
      svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      svg.replaceChildren(...axes(figure, scales), ...across, ...figure.lines.flatMap((line, i) => drawn(line, i, scales)), mark);
      renew(scales);
    }

    new ResizeObserver(([{ contentRect }]) => { if (contentRect.width > 0) draw(contentRect.width); }).observe(svg);
    return element("figure", {}, element(`h${level}`, {}, figure.title), key(figure), svg, says, element("figcaption", {}, figure.says));
  }

  unmelt.plot = plot;
})(window.unmelt);
