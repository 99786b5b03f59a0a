// Parts of the page: elements with attributes and children. Texts are only ever texts, never markup.
"use strict";
window.unmelt = {};

(function (unmelt) {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("--")) node.style.setProperty(name, value);
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  const element = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const drawing = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

  /** What may be wider than the page scrolls by itself, with keys too. */
  function scrolling(label, attributes, ...children) {
    return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label, ...attributes }, ...children);
  }

  /** Buttons of which one is pressed; `choose(index)` is called when another one is. */
  function choice(label, names, choose) {
    const buttons = names.map((name) => element("button", { type: "button" }, name));
    function press(index) {
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", `${i === index}`));
      choose(index);
    }
    buttons.forEach((button, index) => button.addEventListener("click", () => press(index)));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", `${i === 0}`));
    return element("div", { class: "switch", role: "group", "aria-label": label }, ...buttons);
  }

  unmelt.parts = { element, drawing, scrolling, choice };
})(window.unmelt);
