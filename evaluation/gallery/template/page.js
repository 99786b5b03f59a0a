// The page: sections and what they show of each run, side by side.
"use strict";

(function (unmelt) {
  const { element, scrolling } = unmelt.parts;
  const content = JSON.parse(document.getElementById("content").textContent);
  const several = content.runs.length > 1;
  // Below a section's heading, or below a run's in it.
  const level = several ? 4 : 3;

  function facts(figure) {
    const rows = figure.rows.map(([name, told]) => element("div", {}, element("dt", {}, name), element("dd", {}, told)));
    const says = figure.says ? [element("p", { class: "says" }, figure.says)] : [];
    return element("div", { class: "facts" }, element(`h${level}`, {}, figure.title), element("dl", {}, ...rows), ...says);
  }

  function record(figure) {
    const text = element("pre", { tabindex: "0", role: "region", "aria-label": figure.title }, figure.text);
    return element("details", {}, element("summary", {}, figure.title), text);
  }

  /** The plots of the same thing, one for each run that has it. */
  function peers(figure, section) {
    return section.panels.flatMap(({ figures }) => figures).filter(({ kind, title }) => kind === figure.kind && title === figure.title);
  }

  function draw(figure, section, run, group) {
    const label = several ? `${section.title}, ${run}` : section.title;
    switch (figure.kind) {
      case "player": return unmelt.player(figure, label, group);
      case "wall": return unmelt.walls.wall(figure);
      case "table": return unmelt.walls.table(figure);
      case "branches": return unmelt.branches(figure);
      case "plot": return unmelt.plot(figure, level, peers(figure, section));
      case "facts": return facts(figure);
      default: return record(figure);
    }
  }

  function panel({ figures, missing }, section, number, group) {
    const run = content.runs[number];
    const heading = several ? [element("h3", { class: "run" }, run)] : [];
    const shown = missing ? [element("p", { class: "missing" }, missing)] : figures.map((figure) => draw(figure, section, run, group));
    return element("article", { "aria-label": run }, ...heading, ...shown);
  }

  function sectionOf(section) {
    const group = [];
    const panels = section.panels.map((found, number) => panel(found, section, number, group));
    return element("section", { id: section.name, "aria-labelledby": `${section.name}-title` },
      element("h2", { id: `${section.name}-title` }, section.title), element("p", { class: "about" }, section.about),
      element("div", { class: "panels" }, ...panels));
  }

  function keyNumbers() {
    const heads = content.runs.map((run) => element("th", { scope: "col" }, run));
    const rows = content.key.map(([name, told]) =>
      element("tr", {}, element("th", { scope: "row" }, name), ...told.map((text) => element("td", {}, text))));
    const head = several ? [element("thead", {}, element("tr", {}, element("td"), ...heads))] : [];
    const table = element("table", { class: "key-numbers", "--runs": heads.length }, ...head, element("tbody", {}, ...rows));
    return element("section", { id: "key", "aria-labelledby": "key-title" },
      element("h2", { id: "key-title" }, several ? "Side by side" : "In numbers"), scrolling("Key numbers", {}, table));
  }

  const sections = [{ name: "key", title: several ? "Side by side" : "In numbers" }, ...content.sections];
  document.getElementById("title").textContent = content.runs.join(", ");
  document.getElementById("contents").append(...sections.map(({ name, title }) =>
    element("li", {}, element("a", { href: `#${name}` }, title))));
  document.getElementById("main").append(keyNumbers(), ...content.sections.map(sectionOf));
  unmelt.ready = unmelt.sheets.ready();
})(window.unmelt);
