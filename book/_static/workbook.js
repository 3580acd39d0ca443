// What the theme leaves out for readers who use a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  const mark = () => {
    for (const table of document.querySelectorAll(".bd-article table")) {
      // A table that scrolls must be reachable with the keyboard; one that fits should not be a stop.
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
      else table.removeAttribute("tabindex");
    }
  };
  mark();
  window.addEventListener("resize", mark);
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "listitem");
  const side = document.querySelector(".bd-sidebar-primary");
  if (side) {
    side.setAttribute("role", "navigation");
    side.setAttribute("aria-label", "Book");
    // The arrow that unfolds a page's own pages has no words.
    for (const summary of side.querySelectorAll("summary")) {
      const page = summary.closest("li")?.querySelector("a")?.textContent.trim();
      summary.setAttribute("aria-label", `Pages of ${page}`);
    }
  }
  // A chapter's opening has a button that unfolds the code of all cells, and folds it again.
  for (const button of document.querySelectorAll("button.show-code")) {
    const folded = () => document.querySelectorAll(".bd-article details.above-input");
    if (folded().length === 0) continue;
    button.hidden = false;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-pressed") !== "true";
      for (const details of folded()) details.open = open;
      button.setAttribute("aria-pressed", String(open));
      button.textContent = open ? "Fold the code again" : "Show all code";
    });
  }
});
