"use strict";
// What all pages of a review share: a request that is refused says why.

document.body.addEventListener("htmx:responseError", (event) => {
  const status = document.getElementById("status");
  try {
    const { error } = JSON.parse(event.detail.xhr.responseText);
    status.textContent = `${error.message} ${error.hint}`.trim();
  } catch {
    status.textContent = "That did not work. Reload the page.";
  }
});
document.body.addEventListener("htmx:sendError", () => {
  document.getElementById("status").textContent = "The server cannot be reached. Try again.";
});
document.body.addEventListener("htmx:beforeRequest", () => {
  document.getElementById("status").textContent = "";
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (!form || event.target.tagName !== "SELECT") return;
  if (event.target.name === "category" || event.target.name === "attribute") {
    for (const name of ["attribute", "value"]) { // those of another category are none here
      const other = form.elements[name];
      if (other && other !== event.target) other.value = "";
    }
  }
  form.requestSubmit();
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-auto]")) return;
  for (const field of event.target.elements) field.disabled ||= Boolean(field.name) && field.value === "";
});
window.addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-auto] :disabled")) field.disabled = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") event.target.closest("form")?.querySelector("[data-cancel]")?.click();
});
