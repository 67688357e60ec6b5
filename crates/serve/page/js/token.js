// The token of a server that others can reach. It is kept for as long as the tab is open.
import { byId } from './dom.js';

const KEY = 'token';
let asked = null;

export const token = () => sessionStorage.getItem(KEY);
export const forgetToken = () => sessionStorage.removeItem(KEY);

// Asks once, whoever else asks meanwhile. False if the user would rather not.
export function askForToken(wasWrong) {
  asked ??= new Promise((resolve) => {
    const dialog = byId('token');
    const value = byId('token-value');
    const problem = byId('token-problem');
    value.value = '';
    problem.textContent = wasWrong ? 'This was not the server’s token.' : '';
    dialog.returnValue = '';
    dialog.addEventListener('close', () => {
      asked = null;
      const given = value.value.trim();
      if (dialog.returnValue === 'given' && given) sessionStorage.setItem(KEY, given);
      resolve(Boolean(token()));
    }, { once: true });
    dialog.showModal();
    value.focus();
  });
  return asked;
}
