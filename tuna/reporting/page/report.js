"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = dark.matches ? "dark" : "light";
  dark.addEventListener("change", (event) => { root.dataset.theme = event.matches ? "dark" : "light"; });
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  });

  // Sorting: numbers as numbers, words as words, empty cells last whichever way.
  const valueOf = (row, index) => row.children[index].dataset.value;
  function compare(a, b) {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  }
  function sort(table, index, descending) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const filled = rows.filter((row) => valueOf(row, index) !== undefined);
    const empty = rows.filter((row) => valueOf(row, index) === undefined);
    filled.sort((a, b) => compare(valueOf(a, index), valueOf(b, index)) * (descending ? -1 : 1));
    body.append(...filled, ...empty);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
      const first = index === 0 ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
      sort(table, index, order === "descending");
    }));
  }

  // The picker shows one question of one benchmark.
  const sheet = document.getElementById("sheet");
  if (!sheet) return;
  const question = document.getElementById("question");
  const all = [...document.querySelectorAll(".question")];
  const shown = () => all.filter((item) => item.dataset.sheet === sheet.value);
  function show(index) {
    const list = shown();
    const at = (index + list.length) % list.length;
    question.value = String(at);
    for (const item of all) item.hidden = item !== list[at];
    for (const line of document.querySelectorAll(".canary")) line.hidden = line.dataset.sheet !== sheet.value;
  }
  function fill() {
    question.replaceChildren(...shown().map((item, index) => new Option(`${index + 1}. ${item.dataset.title}`, String(index))));
    show(0);
  }
  sheet.addEventListener("change", fill);
  question.addEventListener("change", () => show(Number(question.value)));
  document.getElementById("previous").addEventListener("click", () => show(Number(question.value) - 1));
  document.getElementById("next").addEventListener("click", () => show(Number(question.value) + 1));
  fill();
})();
