// The page that recognises: videos in, answers out.
import { Answer } from './answer.js';
import { record } from './camera.js';
import { saveCsv, saveJson } from './downloads.js';
import { announce, byId, count, element } from './dom.js';
import { chosen, dropArea, leftOut } from './files.js';
import { Live } from './live.js';
import { Question } from './question.js';

// Videos in work at once, as few as the server takes from one client that wants each answered soon.
const TOGETHER = 2;

export function start() {
  const question = new Question();
  const live = new Live(question);
  let answers = [];
  let working = 0;

  const bar = byId('answers-bar');
  const again = byId('ask-again');
  const given = () => answers.map((one) => one.answer).filter(Boolean);

  function refresh() {
    const waiting = answers.filter((one) => one.state === 'waiting').length;
    const now = JSON.stringify(question.current());
    const other = answers.some((one) => one.asked && one.asked !== now && one.state !== 'asked');
    bar.hidden = answers.length === 0;
    again.hidden = !(waiting || other) || working > 0;
    again.textContent = waiting ? `Recognise ${count(waiting, 'video')}` : 'Ask all again';
    for (const id of ['save-json', 'save-csv']) byId(id).disabled = given().length === 0;
  }

  async function work() {
    const asking = question.current();
    if (!asking) {
      for (const one of answers.filter((one) => one.state === 'waiting')) one.waits('Waiting for the actions to look for.');
      announce('Give the actions to look for, then press Recognise.');
      if (!byId('labels').hidden) question.labels.input.focus();
      refresh();
      return;
    }
    while (working < TOGETHER) {
      const next = answers.find((one) => one.state === 'waiting');
      if (!next) break;
      working += 1;
      next.ask(asking).finally(() => {
        working -= 1;
        work();
      });
    }
    refresh();
  }

  function take({ videos, ignored }) {
    const removed = (gone) => {
      answers = answers.filter((one) => one !== gone);
      refresh();
      byId(answers.length ? 'answers-title' : 'title-recognise').focus();
    };
    const fresh = videos.map(({ file }) => new Answer(file, removed));
    answers.push(...fresh);
    byId('answers').append(...fresh.map((one) => one.element));
    const left = leftOut(ignored);
    byId('left-out').replaceChildren(...(left ? [element('p', { class: 'notice warn' }, left)] : []));
    announce(`${count(fresh.length, 'video')} taken. ${left}`);
    work();
  }

  dropArea(byId('page-recognise'), take);
  byId('recognise-files').addEventListener('change', (event) => take(chosen(event.target)));
  byId('recognise-record').addEventListener('click', () =>
    record('Record a clip', (file) => take({ videos: [{ file }], ignored: [] })));
  byId('recognise-live').addEventListener('click', () => live.start());
  again.addEventListener('click', () => {
    for (const one of answers) if (one.state !== 'asked') one.waits('');
    work();
  });
  byId('save-json').addEventListener('click', () => saveJson(given()));
  byId('save-csv').addEventListener('click', () => saveCsv(given()));
  byId('clear-answers').addEventListener('click', () => {
    for (const one of answers) one.drop();
    answers = [];
    refresh();
    byId('title-recognise').focus();
  });
  question.addEventListener('change', refresh);
  return { leave: () => live.stop() };
}
