// The page that teaches: classes with clips, the training, and what came of it.
import { json, Problem, problemBox } from './api.js';
import { ClassCard } from './class-card.js';
import { announce, button, byId, count, element } from './dom.js';
import { chosen, dropArea, leftOut } from './files.js';
import { follow, Training } from './follow.js';
import * as models from './models.js';
import { outcome } from './outcome.js';
import { runActions } from './run-actions.js';

// The form that is shown, if one is.
let form = null;

export function start() {
  dropArea(byId('page-teach'), (found) => form?.tree(found));
  models.onModels(() => form?.listBases());
  teach();
  return {};
}

// Opens the page for more clips of a run, or more classes.
export function extend(run) {
  teach(run);
  location.hash = '#teach';
}

// A form for a new run, or for one that is there.
function teach(run = null) {
  const cards = [];
  const grid = element('div', { class: 'teach-grid' });
  const said = element('div');
  const ready = element('p', { class: 'hint', id: 'teach-ready' });
  const go = button(run ? 'Train again' : 'Teach', () => send(), { class: 'primary', 'aria-describedby': 'teach-ready' });

  const name = element('input', { id: 'run-name', type: 'text', maxlength: 100, value: 'my actions', autocomplete: 'off' });
  const base = element('select', { id: 'run-base' });
  const baseField = element('div', { class: 'field' }, element('label', { for: 'run-base' }, 'On the checkpoint'), base);
  const folder = element('input', { type: 'file', webkitdirectory: '', 'aria-label': 'Choose a folder', onchange: () => tree(chosen(folder)) });
  const drop = element('div', { class: 'drop compact' },
    element('p', {}, element('strong', {}, 'Drop a folder with one folder for each class')),
    element('p', { class: 'hint' }, 'Or fill the classes below. A class called none holds examples of anything else, and helps to say “none of these”.'),
    element('div', { class: 'actions' }, element('label', { class: 'button' }, folder, 'Choose a folder')));

  function add(title = '', there = 0) {
    const card = new ClassCard(title, there);
    card.addEventListener('change', refresh);
    card.addEventListener('remove', () => {
      cards.splice(cards.indexOf(card), 1);
      card.element.remove();
      announce(`Class ${card.title} removed`);
      more.focus();
      refresh();
    });
    cards.push(card);
    grid.append(card.element);
    refresh();
    return card;
  }

  // The first folders that differ are classes; what lies deeper belongs to them.
  function tree({ videos, ignored }) {
    const depth = videos.every(({ folders }) => folders.length > 1 && folders[0] === videos[0].folders[0]) ? 1 : 0;
    const classes = Map.groupBy(videos, ({ folders }) => folders[depth] ?? '');
    for (const [title, found] of classes) {
      const same = cards.find((card) => card.title.toLowerCase() === title.toLowerCase());
      const empty = cards.find((card) => !card.title && card.files.length === 0);
      const card = same ?? empty ?? add();
      if (!card.title) card.name.value = title;
      card.add(found.map(({ file }) => file));
    }
    const left = leftOut(ignored);
    said.replaceChildren(...(left ? [element('p', { class: 'notice warn' }, left)] : []));
    announce(`${count(videos.length, 'clip')} in ${count(classes.size, 'class', 'classes')}. ${left}`);
  }

  // What is missing, in words; empty if nothing is.
  function missing() {
    const filled = cards.filter((card) => card.files.length > 0);
    if (filled.some((card) => !card.title)) return 'A class with clips has no name yet.';
    const names = new Set(cards.filter((card) => card.total > 0 && card.title).map((card) => card.title.toLowerCase()));
    names.delete('none');
    if (names.size < 2) return 'Two classes with clips are needed.';
    if (run && filled.length === 0) return 'There are no new clips yet.';
    return '';
  }

  function refresh() {
    const clips = cards.reduce((sum, card) => sum + card.files.length, 0);
    const lacks = missing();
    const filled = cards.filter((card) => card.files.length > 0).length;
    ready.textContent = lacks || `${count(clips, run ? 'new clip' : 'clip')} in ${count(filled, 'class', 'classes')}.`;
    go.disabled = Boolean(lacks);
  }

  async function send() {
    const body = new FormData();
    if (!run) {
      body.append('name', name.value.trim() || 'my actions');
      body.append('model', base.value);
    }
    for (const card of cards) for (const file of card.files) body.append(card.title, file, file.name);
    go.disabled = true;
    said.replaceChildren(element('p', { role: 'status' }, 'Sending the clips; each is decoded once before the training begins …'), element('progress', { 'aria-label': 'Sending' }));
    try {
      const made = await json(run ? `v1/runs/${run.id}/clips` : 'v1/runs', { method: 'POST', body });
      await trained(made);
    } catch (error) {
      said.replaceChildren(problemBox(error));
      refresh();
    }
  }

  const more = button('Add a class', () => add().name.focus());
  const listBases = () => {
    base.replaceChildren(...models.checkpoints().map((model) => element('option', { value: model.id }, model.name)));
    baseField.hidden = models.checkpoints().length < 2;
  };
  form = { tree, listBases };
  listBases();
  const top = run
    ? element('div', { class: 'notice row' }, element('p', {}, `More clips or classes for “${run.name}”.`), button('Teach something new instead', () => teach(), { class: 'small' }))
    : element('div', { class: 'card' }, element('div', { class: 'pair' },
      element('div', { class: 'field' }, element('label', { for: 'run-name' }, 'Name'), name), baseField), drop);
  byId('teach').replaceChildren(element('div', { class: 'stack' },
    element('p', { class: 'lead' }, 'Give five or more short clips of each action. The accuracy that you can expect is measured on clips that were held out.'),
    top, grid, element('div', { class: 'actions' }, more), element('div', { class: 'card' },
      element('div', { class: 'actions' }, go, ready), said)));
  if (run) {
    for (const title of run.classes) add(title, run.clips.filter((clip) => clip.class === title).length);
  } else {
    add();
  }
  add();
}

// The training of a run, in place of the form, and its outcome.
async function trained(run) {
  form = null;
  const training = new Training();
  const title = element('h2', { tabindex: '-1' }, `Training “${run.name}”`);
  const card = element('div', { class: 'card' }, title, training.element,
    element('p', { class: 'hint' }, 'It goes on if this page is closed, and is found under Runs.'));
  byId('teach').replaceChildren(card);
  title.focus();
  try {
    const last = await follow(run.id, (now) => now.state === 'training' && training.show(now));
    if (last.state !== 'ready') {
      const reason = last.state === 'deleted' ? 'the run was deleted' : last.reason;
      throw new Problem({ detail: reason });
    }
    await models.reload();
    const done = await json(`v1/runs/${run.id}`);
    const said = element('div');
    const heading = element('h2', { tabindex: '-1' }, `“${done.name}” is ready`);
    card.replaceChildren(heading, outcome(done),
      element('div', { class: 'actions' }, runActions(done, said), button('Add clips or a class', () => teach(done)),
        button('Teach something new', () => teach())), said);
    announce(`${done.name} is ready`);
    heading.focus();
  } catch (error) {
    card.replaceChildren(title, problemBox(error), element('div', { class: 'actions' }, button('Start again', () => teach())));
  } finally {
    training.end();
  }
}
