// What the keyboard needs: tables wider than the page are scrolled by it, moving pictures are held.
const reachable = () => {
  for (const one of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
    const wide = one.scrollWidth > one.clientWidth;
    one.toggleAttribute("tabindex", wide);
    if (wide) one.tabIndex = 0;
    if (wide && one.matches(".md-typeset__scrollwrap")) {
      one.setAttribute("role", "region");
      one.setAttribute("aria-label", "Table, wider than the page");
    }
  }
};
for (const picture of document.querySelectorAll("img.slide")) {
  const button = document.createElement("button"), moving = picture.getAttribute("src");
  button.className = "still";
  button.type = "button";
  button.textContent = "Hold";
  button.setAttribute("aria-label", `Hold: ${picture.alt}`);
  button.addEventListener("click", () => {
    const held = button.textContent === "Hold";
    picture.src = held ? `${moving}#held` : moving;
    button.textContent = held ? "Play" : "Hold";
    button.setAttribute("aria-label", `${button.textContent}: ${picture.alt}`);
  });
  picture.after(button);
}
reachable();
addEventListener("resize", reachable);
new MutationObserver(reachable).observe(document.body, { childList: true, subtree: true });
