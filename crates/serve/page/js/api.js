// Requests to the server, and the reasons that it gives for refusing one.
import { element } from './dom.js';
import { askForToken, forgetToken, token } from './token.js';

// A refused request: the fields of application/problem+json.
export class Problem extends Error {
  constructor({ detail, help = '', status = 0 }, retryAfter = null) {
    super(detail);
    this.help = help;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  static of(error) {
    if (error instanceof Problem) return error;
    return new Problem({ detail: `this page failed: ${error.message}` });
  }
}

// The response to a request; asks for the token if the server wants one.
export async function request(path, { method = 'GET', body, signal } = {}) {
  for (;;) {
    const sent = token();
    const headers = sent ? { Authorization: `Bearer ${sent}` } : {};
    let response;
    try {
      response = await fetch(path, { method, body, signal, headers, cache: 'no-store' });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Problem({
        detail: 'the server did not answer',
        help: 'it may have been stopped, or the upload may be larger than it takes: see the limits above',
      });
    }
    if (response.status === 401) {
      // Another request may have brought a token meanwhile.
      if (sent === token()) {
        forgetToken();
        if (!(await askForToken(Boolean(sent)))) throw await problem(response);
      }
      continue;
    }
    if (!response.ok) throw await problem(response);
    return response;
  }
}

export const json = async (path, options) => (await request(path, options)).json();

async function problem(response) {
  const retryAfter = Number(response.headers.get('retry-after')) || null;
  const said = await response.json().catch(() => ({}));
  const detail = said.detail ?? `the server answered ${response.status} ${response.statusText}`;
  return new Problem({ ...said, detail, status: response.status }, retryAfter);
}

// The same, again while the server is busy.
export async function patiently(ask, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 503 || attempt === 60) throw error;
      const seconds = (error.retryAfter ?? 1) * Math.min(attempt, 4);
      await new Promise((resolve) => setTimeout(resolve, 500 * seconds));
      signal?.throwIfAborted();
    }
  }
}

// A problem in words, with what to do.
export function problemBox(error, ...actions) {
  const { message, help } = Problem.of(error);
  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? '' : '.');
  return element('div', { class: 'notice problem', role: 'alert' },
    element('p', {}, element('strong', {}, sentence(message))),
    help ? element('p', {}, sentence(help)) : null,
    actions.length ? element('div', { class: 'actions' }, ...actions) : null);
}
