// What a reader expected and what it was, kept in this browser only, and shown at the chapter's end.
globalThis.BENCHES ??= {};
BENCHES.log = (() => {
  const KEY = "bench predictions", PAGE = location.pathname.split("/").pop(), MOST = 60;

  // Entries of all pages; none where the browser keeps nothing.
  function kept() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return Array.isArray(found) ? found : [];
    } catch {
      return [];
    }
  }

  function keep(entries) {
    try {
      localStorage.setItem(KEY, JSON.stringify(entries.slice(-MOST)));
    } catch {} // switched off: the log is off
  }

  function add(bench, question, expected, was, right) {
    const entry = { page: PAGE, bench: bench.name, title: bench.title, question, expected, was, right };
    const same = ({ page, bench: name, expected: guess }) => page === PAGE && name === bench.name && guess === expected;
    keep([...kept().filter((each) => !same(each)), entry]);
    show();
  }

  function show() {
    const mine = kept().filter((entry) => entry?.page === PAGE && typeof entry.title === "string");
    const place = document.querySelector("article.bd-article");
    document.querySelector(".bench-log")?.remove();
    if (!mine.length || !place) return;
    const make = BENCHES.make;
    const forget = make("button", { type: "button", className: "bench-tool" }, "Forget them");
    forget.addEventListener("click", () => {
      keep(kept().filter((entry) => entry?.page !== PAGE));
      show();
    });
    const rows = mine.map(({ title, question, expected, was, right }) =>
      make(
        "li", {},
        make("span", { className: "bench-log-title" }, `${title} ${question}`),
        make("span", {}, `You expected: ${expected} `, right ? make("strong", {}, "So it was.") : `It was: ${was}`),
      ),
    );
    const heading = make("h2", { id: "your-predictions" }, "Your predictions");
    const note = make("p", {}, `${mine.filter((entry) => entry.right).length} of ${mine.length} as expected. Kept in this browser only. `);
    const log = make("section", { className: "bench-log", "aria-labelledby": "your-predictions" }, heading, note, make("ul", {}, ...rows), forget);
    place.append(log);
  }

  document.addEventListener("DOMContentLoaded", show);
  return { add, show };
})();
