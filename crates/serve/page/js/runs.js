// The page of runs: list, report, delete and undo.
import { json, Problem, problemBox } from './api.js';
import { announce, button, byId, count, element } from './dom.js';
import { follow, Training } from './follow.js';
import * as models from './models.js';
import { outcome } from './outcome.js';
import { runActions } from './run-actions.js';
import { extend } from './teach.js';

export function start() {
  let visit = new AbortController();
  return {
    enter: () => {
      visit = new AbortController();
      list(visit.signal);
    },
    leave: () => visit.abort(),
  };
}

async function list(signal) {
  const place = byId('runs');
  try {
    const { runs } = await json('v1/runs', { signal });
    runs.sort((one, other) => other.created - one.created);
    place.replaceChildren(...runs.map((run) => card(run, signal)));
    if (runs.length === 0) place.append(nothing());
  } catch (error) {
    if (error.name !== 'AbortError') place.replaceChildren(element('li', {}, problemBox(error)));
  }
}

const nothing = () => element('li', { class: 'card' }, element('p', {}, 'There are no runs yet.'),
  element('div', { class: 'actions' }, element('a', { class: 'button primary', href: '#teach' }, 'Teach your own actions')));

function card(run, signal) {
  const made = element('li', { class: 'card', id: run.id });
  show(made, run, signal);
  return made;
}

const STATES = { ready: 'Ready', training: 'Training', failed: 'Failed' };

function show(place, run, signal) {
  const { state, reason } = run.progress;
  const said = element('div');
  const when = new Date(1000 * run.created).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  const more = button('Add clips', () => extend(run), { 'aria-label': `Add clips or classes to ${run.name}` });
  const remove = button('Delete', () => deleted(place, run, signal), { class: 'danger', 'aria-label': `Delete ${run.name}` });
  const actions = state === 'ready' ? [...runActions(run, said), more, remove] : state === 'failed' ? [more, remove] : [remove];
  place.replaceChildren(
    element('div', { class: 'run-head' }, element('h2', { tabindex: '-1' }, run.name), element('span', { class: `badge ${state}` }, STATES[state])),
    element('ul', { class: 'chips', 'aria-label': 'Classes' }, run.classes.map((name) => element('li', { class: 'chip plain' }, name))),
    element('p', { class: 'facts' }, `${count(run.clips.length, 'clip')} · on ${run.model} · ${when}`));
  if (state === 'failed') place.append(problemBox(new Problem({ detail: reason })));
  if (state === 'training') watch(place, run, signal);
  if (state === 'ready') place.append(details(run, signal));
  place.append(element('div', { class: 'actions' }, actions), said);
}

function watch(place, run, signal) {
  const training = new Training();
  training.show(run.progress);
  place.append(training.element);
  follow(run.id, (now) => now.state === 'training' && training.show(now), signal).then(async () => {
    await models.reload();
    show(place, await json(`v1/runs/${run.id}`, { signal }), signal);
    announce(`${run.name}: the training has ended`);
  }).catch((error) => {
    if (error.name !== 'AbortError') training.element.replaceWith(problemBox(error));
  }).finally(() => training.end());
}

// Accuracy and mistakes, fetched when they are opened.
function details(run, signal) {
  const inside = element('div');
  const made = element('details', { class: 'options' }, element('summary', {}, 'Accuracy and mistakes'), inside);
  made.addEventListener('toggle', async () => {
    if (!made.open || inside.childElementCount) return;
    try {
      inside.replaceChildren(outcome(await json(`v1/runs/${run.id}`, { signal })));
    } catch (error) {
      if (error.name !== 'AbortError') inside.replaceChildren(problemBox(error));
    }
  });
  return made;
}

async function deleted(place, run, signal) {
  const notices = byId('runs-notices');
  try {
    const { undo, seconds } = await json(`v1/runs/${run.id}`, { method: 'DELETE' });
    await models.reload();
    place.remove();
    if (!byId('runs').childElementCount) byId('runs').append(nothing());
    const restore = button('Undo', async () => {
      try {
        await json(undo, { method: 'POST' });
        notice.remove();
        await models.reload();
        await list(signal);
        byId(run.id)?.querySelector('h2').focus();
        announce(`${run.name} is back`);
      } catch (error) {
        notice.replaceWith(problemBox(error));
      }
    });
    const notice = element('div', { class: 'notice row' },
      element('p', {}, `“${run.name}” is deleted. It can be brought back for ${count(seconds / 60, 'minute')}.`), restore);
    notices.append(notice);
    setTimeout(() => notice.remove(), 1000 * seconds);
    announce(`${run.name} is deleted. Undo brings it back.`);
    restore.focus();
  } catch (error) {
    notices.append(problemBox(error));
  }
}
