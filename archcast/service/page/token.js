// The token: asked for when the service refuses, kept in this tab only.

import { token } from "./api.js";
import { byId } from "./dom.js";

export function buildToken(retry) {
  const dialog = byId("token");
  const field = byId("token-field");
  const button = byId("token-open");
  button.hidden = !token.get(); // a service without one need not offer it
  const plain = byId("token-why").textContent;

  function open(why) {
    button.hidden = false;
    byId("token-why").textContent = why || plain;
    if (!dialog.open) dialog.showModal();
    field.value = "";
    field.focus();
  }
  document.addEventListener("token-needed", (event) => open(event.detail));
  byId("token-open").addEventListener("click", () => open(token.get() ? "A token is in use; another one replaces it, an empty one forgets it." : ""));
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "use") return;
    token.set(field.value.trim());
    field.value = "";
    retry();
  });
}
