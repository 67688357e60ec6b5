// A class that is taught: its name and its clips.
import { record } from './camera.js';
import { announce, button, count, element } from './dom.js';
import { chosen, dropArea, leftOut } from './files.js';
import * as media from './media.js';

let number = 0;

// Fires `change` when its name or its clips change, and `remove` when it is taken away.
export class ClassCard extends EventTarget {
  files = [];
  #id = `class-${(number += 1)}`;
  #clips = element('ul', { class: 'clips', 'aria-label': 'Clips' });
  #count = element('p', { class: 'count' });
  #left = element('p', { class: 'hint', role: 'status' });
  #there;
  name;
  element;

  // `there` is the number of clips that a run has of it already; such a class keeps its name.
  constructor(name = '', there = 0) {
    super();
    this.#there = there;
    this.name = element('input', { id: this.#id, value: name, type: 'text', maxlength: 128, autocomplete: 'off', placeholder: 'such as push ups', oninput: () => this.#changed() });
    this.name.readOnly = there > 0;
    const input = element('input', { type: 'file', accept: 'video/*,.mkv,.avi,.mov,.3gp', multiple: true, 'aria-label': 'Choose clips', onchange: () => this.#take(chosen(input)) });
    const shoot = () => record(`Clips of ${this.title || 'this class'}`, (file) => this.add([file]));
    const remove = button('Remove class', () => this.dispatchEvent(new Event('remove')), { class: 'quiet' });
    this.element = element('div', { class: 'card class-card', role: 'group', 'aria-label': 'Class' },
      element('div', { class: 'class-head' }, element('div', { class: 'field' },
        element('label', { for: this.#id }, 'Class'), this.name), there > 0 ? null : remove),
      element('div', { class: 'drop compact' }, element('p', { class: 'hint' }, 'Drop clips of it here, or'),
        element('div', { class: 'actions' }, element('label', { class: 'button' }, input, 'Choose clips'), button('Record', shoot))),
      this.#count, this.#left, this.#clips);
    dropArea(this.element, (found) => this.#take(found));
    this.#changed();
  }

  get title() { return this.name.value.trim(); }
  get total() { return this.#there + this.files.length; }

  #take({ videos, ignored }) {
    this.#left.textContent = leftOut(ignored);
    this.add(videos.map(({ file }) => file));
  }

  add(files) {
    for (const file of files) {
      this.files.push(file);
      this.#clips.append(this.#clip(file));
    }
    if (files.length) announce(`${count(files.length, 'clip')} added to ${this.title || 'the class'}`);
    this.#changed();
  }

  #clip(file) {
    const url = URL.createObjectURL(file);
    const item = element('li', { class: 'clip' }, element('p', { class: 'no-picture' }, 'No picture'),
      element('p', { title: file.name }, file.name),
      button('×', () => {
        const at = this.files.indexOf(file);
        this.files.splice(at, 1);
        item.remove();
        URL.revokeObjectURL(url);
        (this.#clips.querySelectorAll('button')[Math.min(at, this.files.length - 1)] ?? this.name).focus();
        announce(`${file.name} removed`);
        this.#changed();
      }, { 'aria-label': `Remove ${file.name}` }));
    media.open(url).then((video) => {
      if (!video) return;
      video.setAttribute('aria-hidden', 'true');
      item.querySelector('.no-picture').replaceWith(video);
    });
    return item;
  }

  #changed() {
    this.element.setAttribute('aria-label', this.title ? `Class ${this.title}` : 'Class without a name');
    const had = this.#there ? `${this.#there} there, ${this.files.length} new` : count(this.files.length, 'clip');
    const enough = this.total >= 5 ? '' : ' · five or more are good';
    this.#count.textContent = `${had}${enough}`;
    this.dispatchEvent(new Event('change'));
  }
}
