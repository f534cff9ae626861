// Shows a photo large, with what stands beside it: a click, Enter or the space bar opens it, the arrow keys
// go to the next and the previous one that is on the page, Escape closes.
const photos = [...document.querySelectorAll("header img, main img")];
if (photos.length) {
  const image = make("img", {});
  const caption = make("figcaption", {});
  const button = (className, name, sign) => make("button", { type: "button", className, ariaLabel: name }, sign);
  const close = button("close", "Close", "×");
  const previous = button("previous", "Previous photo", "‹");
  const next = button("next", "Next photo", "›");
  const dialog = make("dialog", { className: "large" }, make("figure", {}, image, caption), previous, next, close);
  let current = photos[0];
  close.autofocus = true;

  // The largest list item or figure that has this photo alone.
  const surroundings = (photo) => {
    let found = null;
    for (let each = photo.closest("li, figure"); each; each = each.parentElement.closest("li, figure"))
      if (each.querySelectorAll("img").length === 1) found = each;
    return found;
  };
  const describe = (photo) => {
    const copy = surroundings(photo)?.cloneNode(true);
    if (!copy) return [photo.alt];
    copy.querySelector("img").remove();
    return copy.tagName === "FIGURE" ? [make("p", { textContent: photo.alt }), copy] : [copy];
  };
  const show = (photo) => {
    current = photo;
    image.src = photo.src;
    image.alt = photo.alt;
    image.style.setProperty("--width", `${3 * photo.naturalWidth}px`);
    caption.replaceChildren(...describe(photo));
    dialog.scrollTop = 0;
    dialog.setAttribute("aria-label", photo.alt);
    if (!dialog.open) dialog.showModal();
  };
  const step = (by) => {
    const shown = photos.filter((photo) => photo.getClientRects().length);
    show(shown[(shown.indexOf(current) + by + shown.length) % shown.length]);
  };

  for (const photo of photos) {
    photo.tabIndex = 0;
    photo.setAttribute("role", "button");
    photo.setAttribute("aria-haspopup", "dialog");
    photo.addEventListener("click", () => show(photo));
    photo.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      show(photo);
    });
  }
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => current.focus());
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    step(by);
  });
  document.body.append(dialog);
}

// A link into a folded part opens it.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let each = target; each; each = each.parentElement.closest("details")) {
    if (each.tagName === "DETAILS") each.open = true;
  }
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
