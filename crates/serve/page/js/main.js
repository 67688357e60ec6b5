// The pages, chosen by the address.
import { problemBox } from './api.js';
import { byId } from './dom.js';
import * as models from './models.js';
import * as recognise from './recognise.js';
import * as runs from './runs.js';
import * as teach from './teach.js';

const PAGES = {
  recognise: { title: 'Recognise', ...recognise.start() },
  teach: { title: 'Teach', ...teach.start() },
  runs: { title: 'Runs', ...runs.start() },
};
let shown = null;

function show() {
  const name = location.hash.slice(1).split('/')[0] || 'recognise';
  // The link that skips the navigation names no page.
  const page = PAGES[name] ? name : shown ?? 'recognise';
  if (page === shown) return;
  PAGES[shown]?.leave?.();
  for (const one of Object.keys(PAGES)) byId(`page-${one}`).hidden = one !== page;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${page}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${PAGES[page].title} · Seeing in Flowing`;
  // A page that was gone to is read from its title.
  if (shown) {
    scrollTo(0, 0);
    byId(`title-${page}`).focus();
  }
  shown = page;
  PAGES[page].enter?.();
}

addEventListener('hashchange', show);
// A file dropped beside an area would replace the page.
for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
show();
models.reload().catch((error) => byId('content').prepend(problemBox(error)));
