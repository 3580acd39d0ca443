// On the site, where every release has a folder of its own: a list of the versions, above the contents.
document.addEventListener("DOMContentLoaded", async () => {
  if (!location.protocol.startsWith("http")) return; // a file has no siblings that it may read
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href);
  const answer = await fetch(new URL("../versions.json", root)).catch(() => null);
  if (!answer?.ok) return; // a book that stands alone
  const versions = await answer.json().catch(() => []);
  const here = root.pathname.split("/").at(-2);
  const place = document.querySelector(".bd-sidebar-primary .sidebar-header-items");
  if (versions.length < 2 || !versions.includes(here) || !place) return;
  const choice = document.createElement("select");
  choice.setAttribute("aria-label", "Version of the book");
  choice.className = "versions";
  for (const version of versions) choice.add(new Option(version, version, false, version === here));
  choice.addEventListener("change", async () => {
    const page = location.pathname.slice(root.pathname.length);
    const same = new URL(`../${choice.value}/${page}`, root);
    const found = await fetch(same, { method: "HEAD" }).catch(() => null);
    location.href = found?.ok ? same : new URL(`../${choice.value}/`, root); // a page that this version does not have
  });
  place.after(choice);
});
