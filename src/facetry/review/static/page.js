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
