"use strict";
// Photos are dropped, pasted or chosen, and shown; a refusal leaves them as they are.

const form = document.getElementById("try");
const photo = document.getElementById("photo");
const chosen = document.getElementById("chosen");
const drop = form.querySelector(".drop");

const SIDE = 120; // of a preview, in pixels

function preview(file) {
  const item = document.createElement("li");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [SIDE, SIDE];
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", file.name);
  item.append(canvas, `${file.name} (${Math.max(1, Math.round(file.size / 1024))} kB)`);
  createImageBitmap(file).then((bitmap) => {
    const scale = Math.min(SIDE / bitmap.width, SIDE / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
  }, () => canvas.remove()); // the service says what is wrong with it
  return item;
}

function show() {
  chosen.replaceChildren(...[...photo.files].map(preview));
}

function take(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return;
  const all = new DataTransfer();
  for (const file of [...photo.files, ...images]) all.items.add(file);
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
