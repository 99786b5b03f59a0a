// Tiles that stand still: side by side, or in rows and columns.
"use strict";

(function (unmelt) {
  const { element, scrolling } = unmelt.parts;
  const { open, canvas, size } = unmelt.sheets;

  /** Tiles with a word below each; returns their canvases beside what holds them. */
  function tiles(sheet, names) {
    const canvases = names.map((name) => canvas(sheet, name));
    const items = canvases.map((tile, i) =>
      element("li", {}, tile, element("span", { "aria-hidden": "true" }, names[i])));
    return { canvases, holder: element("ul", { class: "tiles", "--size": size(sheet) }, ...items) };
  }

  function wall(figure) {
    const sheet = open(figure.sheet);
    const { canvases, holder } = tiles(sheet, figure.tiles);
    sheet.decoded.then(() => canvases.forEach((tile, i) => sheet.draw(tile, i)));
    return element("figure", {}, holder, element("figcaption", {}, figure.says));
  }

  /** The last of the columns that stand apart has a wider gap behind it, in its head too. */
  const gap = (figure, column) => (column === figure.apart - 1 ? "apart" : "");

  function cell(sheet, figure, row, column) {
    const note = figure.notes[row]?.[column] ?? "";
    const words = [figure.rows[row], figure.heads[column], note].filter((word) => word).join(", ");
    const tile = canvas(sheet, words);
    sheet.decoded.then(() => sheet.draw(tile, row * figure.heads.length + column));
    return element("td", { class: gap(figure, column) }, tile, ...(note ? [element("span", {}, note)] : []));
  }

  function table(figure) {
    const sheet = open(figure.sheet);
    const heads = figure.heads.map((head, column) => element("th", { scope: "col", class: gap(figure, column) }, head));
    const rows = figure.rows.map((title, row) =>
      element("tr", {}, element("th", { scope: "row" }, title), ...heads.map((_, column) => cell(sheet, figure, row, column))));
    const settings = { "--size": size(sheet), "--columns": heads.length };
    const whole = element("table", { class: "pictures" },
      element("thead", {}, element("tr", {}, element("td"), ...heads)), element("tbody", {}, ...rows));
    return element("figure", {}, scrolling(figure.says, settings, whole), element("figcaption", {}, figure.says));
  }

  unmelt.walls = { tiles, wall, table };
})(window.unmelt);
