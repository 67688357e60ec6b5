// A video that is asked about: waiting, answered, or refused.
import { json, patiently, Problem, problemBox } from './api.js';
import { bars, inWords } from './bars.js';
import { announce, button, count, element, size, time } from './dom.js';
import { frameStrip } from './frames.js';
import { written } from './labels.js';
import * as media from './media.js';
import { Timeline } from './timeline.js';

// Seconds from which a video is answered window by window, unless the user says otherwise.
const LONG = 10;

export class Answer {
  state = 'waiting';
  answer = null;
  asked = null;
  element = element('li', { class: 'card answer' });
  #file; #url; #opened; #stop = new AbortController(); #about = element('span', { class: 'hint' }); #body = element('div');
  #again = element('div', { class: 'actions' });

  // `removed` is called when the user takes it away.
  constructor(file, removed) {
    this.#file = file;
    this.#url = URL.createObjectURL(file);
    this.#opened = media.open(this.#url);
    this.element.append(
      element('div', { class: 'answer-head' }, element('div', {}, element('h3', {}, file.name), this.#about),
        button('Remove', () => { this.drop(); removed(this); }, { class: 'quiet small', 'aria-label': `Remove ${file.name}` })),
      this.#body);
    this.#describe();
    this.waits('');
  }

  // Gives back what it holds.
  drop() {
    this.#stop.abort();
    URL.revokeObjectURL(this.#url);
    this.element.remove();
  }

  waits(words) {
    this.state = 'waiting';
    this.#body.replaceChildren(element('p', { class: 'hint' }, words || 'Waiting …'));
  }

  async #describe() {
    const video = await this.#opened;
    const parts = [size(this.#file.size)];
    if (video && Number.isFinite(video.duration)) parts.unshift(time(video.duration));
    this.#about.textContent = parts.join(' · ');
  }

  // Asks the server. `span` is whole, windows or auto.
  async ask(question) {
    this.state = 'asked';
    this.asked = JSON.stringify(question);
    this.answer = null;
    const opened = await this.#opened;
    const long = opened && opened.duration > LONG;
    const windows = question.span === 'windows' || (question.span === 'auto' && long);
    this.#body.replaceChildren(element('p', { class: 'hint' }, windows ? 'Looking at each window …' : 'Looking …'), element('progress', { 'aria-label': `Recognising ${this.#file.name}` }));
    try {
      const signal = this.#stop.signal;
      const path = windows ? 'v1/timeline' : 'v1/predict';
      this.answer = await patiently(() => json(path, { method: 'POST', body: this.#form(question, windows), signal }), signal);
      this.state = 'answered';
      this.#show(opened, question);
    } catch (error) {
      if (error.name === 'AbortError') return;
      this.state = 'refused';
      const retry = button('Ask again', () => this.ask(question), { class: 'small' });
      this.#body.replaceChildren(problemBox(Problem.of(error), retry));
    }
  }

  #form({ model, labels, window, stride }, windows) {
    const form = new FormData();
    form.append('model', model);
    if (labels) form.append('labels', written(labels));
    form.append('top', '5');
    if (windows) {
      form.append('window', `${window}s`);
      form.append('stride', `${stride}s`);
    }
    form.append('video', this.#file, this.#file.name);
    return form;
  }

  #show(opened, question) {
    const { answer } = this;
    const player = opened ? element('video', { src: this.#url, controls: true, muted: true, playsInline: true, preload: 'metadata', 'aria-label': this.#file.name }) : null;
    const picture = player
      ? element('div', { class: 'picture' }, player)
      : element('p', { class: 'no-picture' }, 'This browser cannot play this format. The server has read it.');
    const notes = [answer.note, ...(answer.notes ?? [])].filter(Boolean);
    const words = notes.map((note) => element('p', { class: 'hint' }, note.charAt(0).toUpperCase() + note.slice(1)));
    const other = answer.windows ? 'whole' : 'windows';
    const name = other === 'whole' ? 'Answer for the whole video' : 'Answer as a timeline';
    this.#again.replaceChildren(button(name, () => this.ask({ ...question, span: other }), { class: 'small' }));
    if (answer.windows) {
      this.#body.replaceChildren(element('div', { class: 'stack' },
        new Timeline(answer, player, opened).element(picture), ...words, this.#again));
      announce(`${this.#file.name}: ${count(answer.windows.length, 'window')} answered`);
    } else {
      this.#body.replaceChildren(element('div', { class: 'answer-body' }, picture,
        element('div', { class: 'stack' }, bars(answer), ...words, frameStrip(opened, answer.frames), this.#again)));
      announce(`${this.#file.name}: ${inWords(answer)}`);
    }
  }
}
