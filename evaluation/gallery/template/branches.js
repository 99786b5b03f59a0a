// A tree of tiles: every one stands over the middle of its descendants.
"use strict";

(function (unmelt) {
  const { element, drawing, scrolling, choice } = unmelt.parts;
  const { open, canvas, size } = unmelt.sheets;

  function lines(parents, above, leaves) {
    const [width, parentWidth] = [leaves / parents.length, leaves / above];
    const paths = parents.map((parent, i) =>
      drawing("path", { d: `M${parentWidth * (parent + 0.5)} 0V0.5H${width * (i + 0.5)}V1`, "vector-effect": "non-scaling-stroke" }));
    return drawing("svg", { class: "branches", viewBox: `0 0 ${leaves} 1`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...paths);
  }

  function generation(sheet, title, count) {
    const tiles = Array.from({ length: count }, (_, i) => canvas(sheet, `${title}, ${i + 1} of ${count}`));
    const nodes = tiles.map((tile) => element("li", {}, tile));
    return { tiles, row: element("ul", { class: "generation", "--count": count }, ...nodes) };
  }

  function branches(figure) {
    const sheets = figure.views.map((view) => open(view.sheet));
    const leaves = figure.parents.at(-1).length;
    const all = [];
    const rows = figure.titles.flatMap((title, depth) => {
      const parents = figure.parents[depth];
      const { tiles, row } = generation(sheets[0], title, parents.length);
      all.push(...tiles);
      const joined = depth ? [lines(parents, figure.parents[depth - 1].length, leaves)] : [];
      return [...joined, element("p", { class: "when" }, title), row];
    });

    function show(view) {
      const sheet = sheets[view];
      sheet.decoded.then(() => all.forEach((tile, i) => sheet.draw(tile, i)));
    }

    show(0);
    const views = choice("What is shown", figure.views.map(({ name }) => name), show);
    const tree = element("div", { class: "tree", "--size": size(sheets[0]), "--leaves": leaves }, ...rows);
    return element("figure", {}, views, scrolling(figure.says, {}, tree), element("figcaption", {}, figure.says));
  }

  unmelt.branches = branches;
})(window.unmelt);
