// The self-test: each choice becomes a button that says whether it is right, and first tries are counted.
// Without scripts the choices are a list, and the answers are folded below.
document.addEventListener("DOMContentLoaded", () => {
  const tests = [...document.querySelectorAll(".self-test")];
  const score = document.querySelector(".self-test-score");
  const first = new Map(); // test -> was the first try right?
  const told = () => {
    const right = [...first.values()].filter(Boolean).length;
    const left = tests.length - first.size;
    if (score) score.textContent = `${right} of ${first.size} right at the first try${left ? `; ${left} to go` : ""}.`;
  };
  tests.forEach((test, i) => {
    const right = Number([...test.classList].find((name) => /^right-\d+$/.test(name))?.slice(6));
    const list = test.querySelector("ol");
    const answer = test.querySelector("details");
    if (!right || !list) return;
    list.classList.add("self-test-choices");
    const verdict = document.createElement("p");
    verdict.className = "self-test-verdict";
    verdict.setAttribute("role", "status");
    list.after(verdict);
    [...list.children].forEach((choice, k) => {
      choice.id ||= `self-test-${i + 1}-${k + 1}`;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = k + 1;
      button.setAttribute("aria-describedby", choice.id);
      button.setAttribute("aria-label", `Choose ${k + 1}`);
      choice.prepend(button);
      choice.addEventListener("click", () => {
        const yes = k + 1 === right;
        if (!first.has(test)) first.set(test, yes);
        choice.classList.add(yes ? "is-right" : "is-wrong");
        button.textContent = yes ? "✓" : "✗";
        verdict.textContent = yes ? "Right." : `Not ${k + 1}. Try again, or unfold the answer.`;
        if (yes && answer) answer.open = true;
        told();
      });
    });
  });
});
