"use strict";
// Photos are dropped, pasted or chosen; which ones is said, and a refusal leaves them as they are.

const form = document.getElementById("try");
const photo = document.getElementById("photo");
const chosen = document.getElementById("chosen");
const drop = form.querySelector(".drop");

function show() {
  chosen.replaceChildren(...[...photo.files].map((file) => {
    const item = document.createElement("li");
    item.textContent = `${file.name} (${Math.max(1, Math.round(file.size / 1024))} kB)`;
    return item;
  }));
}

function take(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return;
  const all = new DataTransfer();
  for (const file of images) all.items.add(file);
  photo.files = all.files;
  show();
  if (form.checkValidity()) form.requestSubmit();
}

photo.addEventListener("change", () => {
  show();
  if (form.checkValidity()) form.requestSubmit();
});
form.elements.category.addEventListener("change", () => { if (form.checkValidity()) form.requestSubmit(); });
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
