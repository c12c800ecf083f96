"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const view = document.getElementById("view");
  const svg = view.querySelector("svg");
  const side = document.getElementById("details");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const home = svg.viewBox.baseVal;
  const whole = { x: home.x, y: home.y, w: home.width, h: home.height };
  let box = { ...whole };
  const nodes = new Map();
  for (const element of svg.querySelectorAll(".node")) {
    if (data.nodes[element.id]) nodes.set(element.id, element);
  }
  const edges = [...svg.querySelectorAll(".edge")];

  // Pan and zoom move the viewBox, so that text stays sharp.
  const show = () => svg.setAttribute("viewBox", `${box.x} ${box.y} ${box.w} ${box.h}`);
  const scale = () => Math.min(view.clientWidth / box.w, view.clientHeight / box.h);
  const toPicture = (clientX, clientY) => {
    const frame = view.getBoundingClientRect(), s = scale();
    return {
      x: box.x + box.w / 2 + (clientX - frame.left - frame.width / 2) / s,
      y: box.y + box.h / 2 + (clientY - frame.top - frame.height / 2) / s,
    };
  };
  const zoom = (factor, at) => {
    const w = Math.min(Math.max(box.w * factor, whole.w / 400), whole.w * 4), k = w / box.w;
    const p = at || { x: box.x + box.w / 2, y: box.y + box.h / 2 };
    box = { x: p.x - (p.x - box.x) * k, y: p.y - (p.y - box.y) * k, w, h: box.h * k };
    show();
  };
  const pan = (dx, dy) => { box.x += dx; box.y += dy; show(); };
  const fit = () => { box = { ...whole }; show(); };
  // A tall or wide picture starts at a size that can be read, at its beginning.
  const begin = () => {
    fit();
    const readable = 0.9;
    if (scale() < readable) {
      const w = view.clientWidth / readable, h = view.clientHeight / readable;
      box = { x: w > whole.w ? whole.x - (w - whole.w) / 2 : whole.x, y: whole.y, w, h };
      show();
    }
  };
  const centre = (element) => {
    const s = scale(), frame = element.getBoundingClientRect();
    const p = toPicture(frame.left + frame.width / 2, frame.top + frame.height / 2);
    if (s < 0.7) { box.w *= s / 0.9; box.h *= s / 0.9; }
    box.x = p.x - box.w / 2;
    box.y = p.y - box.h / 2;
    show();
  };
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode ? 18 : 1))) * 0.004), toPicture(event.clientX, event.clientY));
  }, { passive: false });

  const pointers = new Map();
  let moved = 0;
  view.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 1) moved = 0;
  });
  view.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const was = Math.hypot(before.x - other.x, before.y - other.y), is = Math.hypot(now.x - other.x, now.y - other.y);
      if (was > 0 && is > 0) zoom(was / is, toPicture((now.x + other.x) / 2, (now.y + other.y) / 2));
      moved += 9;
    } else {
      moved += Math.hypot(now.x - before.x, now.y - before.y);
      if (moved > 3) {
        view.classList.add("dragging");
        if (!view.hasPointerCapture(event.pointerId)) view.setPointerCapture(event.pointerId);
        const s = scale();
        pan((before.x - now.x) / s, (before.y - now.y) / s);
      }
    }
    pointers.set(event.pointerId, now);
  });
  const release = (event) => { pointers.delete(event.pointerId); if (!pointers.size) view.classList.remove("dragging"); };
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) view.addEventListener(name, release);

  // Details of one node, and its edges.
  const put = (parent, tag, text, kind) => {
    const child = document.createElement(tag);
    if (text !== undefined) child.textContent = text;
    if (kind) child.className = kind;
    parent.append(child);
    return child;
  };
  const link = (parent, key) => {
    const button = put(put(parent, "div"), "button", data.nodes[key].title, "link");
    button.type = "button";
    button.addEventListener("click", () => { choose(key); centre(nodes.get(key)); });
  };
  const choose = (key) => {
    for (const element of nodes.values()) element.classList.toggle("chosen", element.id === key);
    for (const edge of edges) edge.classList.toggle("near", key !== null && (edge.dataset.from === key || edge.dataset.to === key));
    side.replaceChildren();
    if (key === null) { put(side, "p", "Click a box to see what it is."); return; }
    const node = data.nodes[key];
    put(side, "h2", node.title);
    const list = put(side, "dl");
    for (const [name, lines] of node.details) {
      put(list, "dt", name);
      if (name === "refers to") { const place = put(list, "dd"); lines.filter((k) => nodes.has(k)).forEach((k) => link(place, k)); continue; }
      const code = name === "body" || name === "attributes" || name === "arguments";
      put(list, "dd", lines.join("\n"), code ? "code" : "");
    }
    for (const [name, keys] of [["reads", node.inputs], ["is read by", node.outputs]]) {
      if (!keys.length) continue;
      put(list, "dt", name);
      const place = put(list, "dd");
      keys.filter((k) => nodes.has(k)).forEach((k) => link(place, k));
    }
  };
  for (const [key, element] of nodes) {
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
    element.addEventListener("click", () => { if (moved <= 3) choose(key); });
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(key); }
    });
  }
  view.addEventListener("click", (event) => { if (moved <= 3 && !event.target.closest(".node")) choose(null); });

  // Search by op, name, layer, source line or attribute: all words must occur.
  const words = new Map([...nodes.keys()].map((key) => {
    const node = data.nodes[key];
    return [key, [node.title, node.kind, ...node.details.filter(([name]) => name !== "body").flatMap(([, lines]) => lines)].join(" ").toLowerCase()];
  }));
  let hits = [], at = -1;
  const look = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits = wanted.length ? [...nodes.keys()].filter((key) => wanted.every((word) => words.get(key).includes(word))) : [];
    at = -1;
    const chosen = new Set(hits);
    svg.classList.toggle("searching", wanted.length > 0);
    for (const [key, element] of nodes) element.classList.toggle("hit", chosen.has(key));
    found.textContent = wanted.length ? `${hits.length} found` : "";
  };
  const next = (step) => {
    if (!hits.length) return;
    at = (at + step + hits.length) % hits.length;
    found.textContent = `${at + 1} of ${hits.length}`;
    choose(hits[at]);
    centre(nodes.get(hits[at]));
  };
  search.addEventListener("input", look);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); next(event.shiftKey ? -1 : 1); }
    if (event.key === "Escape") { search.value = ""; look(); search.blur(); }
    event.stopPropagation();
  });

  const theme = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  const actions = { in: () => zoom(0.75), out: () => zoom(1 / 0.75), fit, theme };
  for (const button of document.querySelectorAll("[data-action]")) button.addEventListener("click", actions[button.dataset.action]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = box.w * 0.08;
    const keys = {
      "+": actions.in, "=": actions.in, "-": actions.out, "0": fit, "/": () => { event.preventDefault(); search.focus(); },
      Escape: () => choose(null), ArrowLeft: () => pan(-step, 0), ArrowRight: () => pan(step, 0), ArrowUp: () => pan(0, -step), ArrowDown: () => pan(0, step),
    };
    if (keys[event.key]) keys[event.key]();
  });
  choose(null);
  begin();
})();
