"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const details = byId("details");
  const sides = ["before", "after"];
  const changeOf = new Map();
  data.changes.forEach((change) => {
    for (const side of sides) {
      for (const id of change[side]) {
        const element = byId(`${side}-${id}`);
        if (!element) continue;
        changeOf.set(element.id, change);
        const marked = { merged: "merged", split: "merged", rewritten: "merged", removed: "removed", changed: "changed", added: "changed" };
        if (marked[change.kind]) element.classList.add(marked[change.kind]);
      }
    }
  });
  const members = (element) => {
    const change = changeOf.get(element.id);
    if (!change) return [element];
    return sides.flatMap((side) => change[side].map((id) => byId(`${side}-${id}`))).filter(Boolean);
  };
  const clear = (name) => document.querySelectorAll(`.node.${name}`).forEach((node) => node.classList.remove(name));
  const title = (element) => element.querySelector("title").textContent;
  const sourcesOf = (element) => {
    const [side, id] = [element.id.slice(0, element.id.indexOf("-")), element.id.slice(element.id.indexOf("-") + 1)];
    return data.sources[side][id] || [];
  };
  const block = (heading, lines) => {
    if (!lines.length) return;
    const part = document.createElement("div");
    const head = document.createElement("h3");
    const body = document.createElement("pre");
    head.textContent = heading;
    body.className = "mono";
    body.textContent = lines.join("\n");
    part.append(head, body);
    details.append(part);
  };
  // Only the pane moves, not the page.
  const show = (element) => {
    const pane = element.closest(".scroll");
    const [box, frame] = [element.getBoundingClientRect(), pane.getBoundingClientRect()];
    if (box.top < frame.top || box.bottom > frame.bottom || box.left < frame.left || box.right > frame.right) {
      pane.scrollTop += box.top - frame.top - frame.height / 2 + box.height / 2;
      pane.scrollLeft += box.left - frame.left - frame.width / 2 + box.width / 2;
    }
  };
  const select = (element) => {
    clear("selected");
    const all = members(element);
    const change = changeOf.get(element.id);
    all.forEach((node) => node.classList.add("selected"));
    for (const side of sides) {
      const first = all.find((node) => node.id.startsWith(side));
      if (first) show(element.id.startsWith(side) ? element : first);
    }
    details.replaceChildren();
    block("node", [title(element)]);
    const others = all.filter((node) => node !== element);
    if (change) {
      const more = others.map((node) => `${node.id.startsWith("before") ? "before" : "after"}: ${title(node).split("\n")[0]}`);
      block(`${change.kind}`, [...change.details, ...more]);
    }
    const names = new Set(sourcesOf(element));
    const about = (list, key) =>
      list.filter((entry) => entry.nodes.some((name) => names.has(name))).map((entry) => `${entry.pass}: ${entry[key]}`);
    block("rewrites", about(data.rewrites, "result"));
    block("refusals", about(data.refusals, "reason"));
    const steps = data.steps.filter((step) => step.nodes.some((name) => names.has(name)));
    block("plan", steps.map((step) => `${step.step} ${step.kind} ${step.name}`));
  };
  const nodes = [...document.querySelectorAll(".pane .node[id]")];
  for (const node of nodes) {
    node.addEventListener("click", () => select(node));
    node.addEventListener("mouseenter", () => {
      clear("near");
      members(node).forEach((other) => other.classList.add("near"));
    });
    node.addEventListener("mouseleave", () => clear("near"));
  }
  byId("search").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    details.replaceChildren();
    if (!wanted) return;
    const found = nodes.filter((node) => title(node).toLowerCase().includes(wanted));
    const list = document.createElement("div");
    const head = document.createElement("h3");
    head.textContent = `${found.length} nodes`;
    list.append(head);
    for (const node of found.slice(0, 200)) {
      const button = document.createElement("button");
      button.textContent = `${node.id.startsWith("before") ? "before" : "after"}  ${title(node).split("\n")[0]}`;
      button.addEventListener("click", () => select(node));
      list.append(button);
    }
    details.append(list);
  });
  byId("fit").addEventListener("change", (event) => byId("panes").classList.toggle("fit", event.target.checked));
  // A row of a table shows the nodes that it is about.
  const first = new Map();
  for (const side of ["before", "after"]) {
    for (const [id, names] of Object.entries(data.sources[side])) {
      names.forEach((name) => first.set(name, byId(`${side}-${id}`)));
    }
  }
  document.querySelectorAll("tr[data-node]").forEach((row) => {
    row.classList.add("pick");
    row.addEventListener("click", () => {
      const element = first.get(row.dataset.node);
      if (element) {
        byId("graph").scrollIntoView();
        select(element);
      }
    });
  });
})();
