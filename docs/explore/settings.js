// The controls of a family's settings: a slider or a list for each, made from what the family says of it.
"use strict";

(function (unmelt) {
  function list({ name, choices, value }) {
    const select = document.createElement("select");
    select.id = `setting-${name}`;
    for (const [key, { title }] of Object.entries(choices)) select.add(new Option(title, key, false, key === value));
    return select;
  }

  function slider({ name, low, high, step, value }) {
    const input = document.createElement("input");
    Object.assign(input, { type: "range", id: `setting-${name}`, min: low, max: high, step, value });
    return input;
  }

  function field(setting, value, changed) {
    const label = document.createElement("label");
    label.htmlFor = `setting-${setting.name}`;
    const given = { ...setting, value };
    const control = setting.choices ? list(given) : slider(given);
    label.append(setting.label);
    if (setting.choices) {
      control.addEventListener("change", () => changed(setting.name, control.value));
      label.append(control);
    } else {
      const shown = document.createElement("output");
      shown.htmlFor = control.id;
      shown.value = value;
      control.addEventListener("input", () => {
        shown.value = control.value;
        changed(setting.name, Number(control.value));
      });
      label.append(control, shown);
    }
    return label;
  }

  /** Put a control for each setting into a box; `changed(name, value)` is told of what is chosen. */
  function show(box, settings, values, changed) {
    box.replaceChildren(...settings.map((setting) => field(setting, values[setting.name], changed)));
  }

  /** Fill a list with the titles of a table of choices. */
  function fill(select, choices) {
    for (const [key, { title }] of Object.entries(choices)) select.add(new Option(title, key));
  }

  unmelt.settings = { show, fill };
})(window.unmelt);
