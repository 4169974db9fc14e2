// The token: asked for when the service refuses, kept in this tab only.

import { token } from "./api.js";
import { byId } from "./dom.js";

const NEEDED = ["A token is needed", "This service wants its token; whoever runs it can give it to you."];
const WRONG = ["The token was not accepted", "That was not the token of this service. Look for a missing or an extra character, or ask whoever runs it."];
const IN_USE = ["Another token", "A token is in use; another one replaces it, an empty one forgets it."];

export function buildToken(retry) {
  const dialog = byId("token");
  const field = byId("token-field");
  const button = byId("token-open");
  button.hidden = !token.get(); // a service without one need not offer it

  function open([title, why], wrong = false) {
    button.hidden = false;
    byId("token-title").textContent = title;
    byId("token-why").textContent = why;
    field.setAttribute("aria-invalid", String(wrong));
    if (dialog.open) return; // calls go out side by side; what is being typed stays
    dialog.showModal();
    field.value = "";
    field.focus();
  }
  document.addEventListener("token-needed", (event) => open(event.detail.wrong ? WRONG : NEEDED, event.detail.wrong));
  button.addEventListener("click", () => open(token.get() ? IN_USE : NEEDED));
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "use") return;
    token.set(field.value.trim());
    field.value = "";
    retry();
  });
}
