for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column]?.dataset.value ?? row.cells[column]?.innerText ?? "";
      const compare = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const isNumber = !isNaN(a) && !isNaN(b);
        return (isNumber ? a - b : a.localeCompare(b)) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  });
}
