// The theme's switches are labels of inputs that nobody sees: here each becomes a button that Tab
// reaches, Enter and Space press, and a screen reader names.
{
  const narrow = matchMedia("(max-width: 76.234375em)");
  const input = (label) => document.getElementById(label.htmlFor);

  const button = (label, name) => {
    label.tabIndex = 0;
    label.setAttribute("role", "button");
    if (name) label.setAttribute("aria-label", name);
  };
  const plain = (label) => {
    for (const name of ["role", "tabindex", "aria-expanded"]) label.removeAttribute(name);
  };
  const expands = (label) => {
    const told = () => label.setAttribute("aria-expanded", input(label).checked);
    input(label).addEventListener("change", told);
    told();
  };

  // Light or dark: the button that was pressed gives way to its opposite, and hands the focus on.
  const themes = [...document.querySelectorAll("[data-md-component=palette] label")];
  for (const option of document.querySelectorAll("[data-md-component=palette] input")) {
    option.tabIndex = -1;
    option.setAttribute("aria-hidden", "true");
  }
  for (const label of themes) {
    button(label, label.title);
    let focused = false;
    label.addEventListener("click", () => { focused = document.activeElement === label; });
    // Once the theme has changed, and at once: a key pressed next finds the focus where it belongs.
    input(label).addEventListener("change", () => {
      if (focused) themes.find((one) => one.checkVisibility())?.focus();
      focused = false;
    });
  }

  const drawer = document.querySelector(".md-header__button[for=__drawer]");
  const contents = document.querySelector(".md-sidebar-button[for=__toc]");
  const search = document.querySelector(".md-header__button[for=__search]");
  const folded = [drawer, contents].filter(Boolean);
  if (drawer) button(drawer, "Navigation");
  if (contents) button(contents, "On this page");
  if (search) button(search, "Search");
  folded.forEach(expands);

  // Sections of the navigation fold where it is narrow; where it is wide, their names are headings.
  const sections = [...document.querySelectorAll(".md-nav__link[for^=__nav_]")];
  const foldable = () => {
    for (const label of sections) {
      if (!narrow.matches) plain(label);
      else { button(label); label.setAttribute("aria-expanded", input(label).checked); }
    }
  };
  for (const label of sections) input(label).addEventListener("change", foldable);
  narrow.addEventListener("change", foldable);
  foldable();

  document.addEventListener("keydown", (event) => {
    const label = event.target.closest?.("label[role=button]");
    if (label && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      event.stopPropagation();
      label.click();
      if (label === drawer && input(label).checked) document.querySelector(".md-nav--primary a")?.focus();
    }
    const open = folded.find((one) => input(one).checked);
    if (event.key === "Escape" && open) {
      open.click();
      open.focus();
    }
  }, true);

  // What lies over the page folds when the focus leaves it; search gives the focus back where it was.
  let last = null;
  document.addEventListener("focusin", ({ target }) => {
    if (!target.shadowRoot) last = target;
    for (const [label, panel] of [[drawer, ".md-sidebar--primary"], [contents, ".md-sidebar--secondary"]]) {
      if (label && input(label).checked && target !== label && !target.closest(panel)) label.click();
    }
  });
  document.addEventListener("focusout", ({ target }) => {
    if (!target.shadowRoot) return;
    setTimeout(() => document.activeElement === document.body && last?.focus());
  });

  // Names: what is pressed keeps its own while its tooltip shows, which takes the title away; links to
  // headings would all be called the same.
  const named = () => {
    for (const one of document.querySelectorAll(".md-code__button:not([aria-label])")) {
      one.setAttribute("aria-label", one.title || "Copy to clipboard");
    }
  };
  named();
  new MutationObserver(named).observe(document.body, { childList: true, subtree: true });
  for (const link of document.querySelectorAll(".headerlink")) {
    const heading = link.parentElement.textContent.replace(link.textContent, "").trim();
    link.setAttribute("aria-label", `Link to “${heading}”`);
  }
}
