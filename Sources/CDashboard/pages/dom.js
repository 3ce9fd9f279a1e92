// Elements, tables and dialogs. Text from the API reaches the page through here alone, and only ever as text.

/**
 * Makes an element. Properties are attributes, but for `on` (listeners by event) and `data` (data attributes); false, null
 * and undefined leave one out. Children are nodes and texts.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "data") {
      Object.assign(element.dataset, value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Puts children in place of what an element holds, unless they are the same. */
export function fill(element, ...children) {
  const next = element.cloneNode(false);
  add(next, children);
  if (next.childNodes.length === 1 && element.childNodes.length === 1) {
    if (next.firstChild.isEqualNode(element.firstChild)) return element;
  } else if (next.childNodes.length === 0 && element.childNodes.length === 0) {
    return element;
  }
  element.replaceChildren(...next.childNodes);
  return element;
}

/**
 * A table that can be shown again and again: rows are known by key, and only cells that differ are touched, so that focus
 * and selection stay. Narrow screens show rows as cards; roles are written out because that takes them away.
 *
 * columns: [{title, kind: "number" | "text", narrow: false, cell: item => text or node}]
 */
export function table({ caption, columns, empty = "Nothing yet.", captionHidden = false }) {
  const body = h("tbody", { role: "rowgroup" });
  const none = h("p", { class: "empty", hidden: true }, empty);
  const kind = (column) => column.kind ?? "text";
  const element = h("div", { class: "table" },
    h("table", { role: "table" },
      h("caption", { class: captionHidden ? "unseen" : null }, caption),
      h("thead", { role: "rowgroup" },
        h("tr", { role: "row" }, columns.map((column) =>
          h("th", { scope: "col", role: "columnheader", class: kind(column) }, column.title)))),
      body),
    none);
  const rows = new Map();

  function show(items, keyOf = (item) => item.id) {
    const seen = new Set();
    let previous = null;
    for (const item of items) {
      const key = keyOf(item);
      seen.add(key);
      let row = rows.get(key);
      if (!row) {
        row = h("tr", { role: "row" }, columns.map((column) =>
          h("td", { role: "cell", class: kind(column), data: { title: column.title } })));
        rows.set(key, row);
      }
      columns.forEach((column, index) => fill(row.children[index], column.cell(item)));
      const place = previous ? previous.nextSibling : body.firstChild;
      if (place !== row) body.insertBefore(row, place);
      previous = row;
    }
    for (const [key, row] of rows) {
      if (!seen.has(key)) {
        row.remove();
        rows.delete(key);
      }
    }
    none.hidden = items.length > 0;
    element.firstChild.hidden = items.length === 0;
  }
  show([]);
  return { element, show };
}

/** A list of facts: pairs of a name and a text or node; pairs without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A panel with a heading. */
export function panel(title, ...children) {
  const heading = h("h2", {}, title);
  return h("section", { class: "panel", "aria-label": title }, heading, ...children);
}

/** Where one is: the page above, then this one's heading. */
export function heading(title, above = null, ...more) {
  return h("div", { class: "heading" },
    above ? h("p", { class: "above" }, h("a", { href: above.href }, above.title)) : null,
    h("h1", { tabindex: "-1" }, title), ...more);
}

/** Asks before something that cannot be taken back; resolves to whether the answer was yes. */
export function confirm(question, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": question },
      h("form", { method: "dialog", class: "stack" },
        h("p", {}, question),
        h("div", { class: "buttons" },
          h("button", { type: "button", class: "danger", on: { click: () => dialog.close("yes") } }, yes),
          h("button", { type: "button", autofocus: true, on: { click: () => dialog.close("") } }, "No, leave it"))));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** What went wrong, as the API said it. */
export function problem(error) {
  const list = (error.faults ?? []).map((fault) =>
    h("li", {}, fault.path ? h("code", {}, fault.path) : null, fault.path ? " " : null, fault.reason ?? ""));
  return h("div", { class: "problem", role: "alert" },
    h("strong", {}, error.title ?? "Something went wrong"),
    h("p", {}, error.message),
    list.length ? h("ul", {}, list) : null,
    error.requestID ? h("p", { class: "small" }, "Request ", h("code", {}, error.requestID)) : null);
}
