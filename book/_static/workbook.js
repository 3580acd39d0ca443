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
});

// Two runs of one cell stand side by side, opened, where both have nothing but pictures that are small enough.
window.addEventListener("load", () => {
  const WIDEST = 440; // pixels as drawn
  for (const own of document.querySelectorAll(".bd-article .cell.tag_own-run")) {
    const long = own.previousElementSibling;
    if (!long?.classList.contains("tag_long-run")) continue;
    const shown = [long, own].map((cell) => cell.querySelector(".cell_output"));
    const small = shown.every(
      (output) =>
        output?.querySelector("img") &&
        !output.querySelector("table, pre, .animation") &&
        [...output.querySelectorAll("img")].every((img) => img.naturalWidth && img.naturalWidth <= WIDEST),
    );
    if (!small) continue;
    const pair = document.createElement("div");
    pair.className = "two-runs";
    const left = document.createElement("div");
    left.className = "cell tag_long-run";
    left.append(shown[0]); // its code stays above, at the width of the column
    long.after(pair);
    pair.append(left, own);
    own.querySelector("details").open = true;
  }
});
