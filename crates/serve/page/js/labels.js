// A list of labels that is typed or pasted, as chips.
import { announce, button, count, element } from './dom.js';

const KEY = 'labels';

// The labels in a text: separated by commas, semicolons or lines; one with a comma in double quotes.
export function parse(text) {
  const found = text.matchAll(/"((?:[^"]|"")*)"|[^,;\t\r\n]+/g);
  const labels = Array.from(found, ([whole, quoted]) => (quoted?.replaceAll('""', '"') ?? whole).trim());
  return labels.map((label) => label.replace(/\s+/g, ' ')).filter(Boolean);
}

// The same as the server reads it.
export const written = (labels) =>
  labels.map((label) => (/[",]/.test(label) ? `"${label.replaceAll('"', '""')}"` : label)).join(',');

export class LabelList extends EventTarget {
  #labels = [];
  #list = element('ul', { class: 'chips', 'aria-label': 'Labels' });
  #about = element('p', { class: 'hint', id: 'labels-about' });
  #clear = button('Clear all', () => this.#set([], 'All labels are removed'), { class: 'quiet small' });
  input = element('input', {
    id: 'label-input', type: 'text', autocomplete: 'off', enterkeyhint: 'done',
    placeholder: 'archery, juggling balls, push ups', 'aria-describedby': 'labels-about',
    onkeydown: (event) => this.#key(event),
    oninput: () => this.#typed(),
    onpaste: (event) => this.#pasted(event),
    onblur: () => this.commit(),
  });

  constructor(place) {
    super();
    place.replaceChildren(element('div', { class: 'field' },
      element('label', { for: 'label-input' }, 'Actions to look for'),
      this.input, this.#about, this.#list, element('div', { class: 'actions' }, this.#clear)));
    this.#labels = JSON.parse(sessionStorage.getItem(KEY) ?? '[]');
    this.#draw();
  }

  get values() { return [...this.#labels]; }

  // Takes what is typed but not ended.
  commit() { this.#add(this.input.value); }

  #key(event) {
    if (event.key === 'Enter' && !event.isComposing) {
      event.preventDefault();
      this.commit();
    } else if (event.key === 'Backspace' && !this.input.value && this.#labels.length) {
      this.#remove(this.#labels.length - 1);
    }
  }

  // A comma ends a label, unless it is inside quotes.
  #typed() {
    const text = this.input.value;
    const quotes = text.split('"').length - 1;
    if (/[,;]\s*$/.test(text) && quotes % 2 === 0) this.commit();
  }

  #pasted(event) {
    const text = event.clipboardData.getData('text');
    if (!/[,;\t\n]/.test(text)) return;
    event.preventDefault();
    this.#add(`${this.input.value}${text}`);
  }

  #add(text) {
    const known = new Set(this.#labels.map((label) => label.toLowerCase()));
    const fresh = [];
    for (const label of parse(text)) {
      if (!known.has(label.toLowerCase())) fresh.push(label);
      known.add(label.toLowerCase());
    }
    this.input.value = '';
    if (fresh.length) this.#set([...this.#labels, ...fresh], `${fresh.slice(0, 5).join(', ')} added`);
  }

  #remove(at) {
    const [gone] = this.#labels.splice(at, 1);
    this.#set(this.#labels, `${gone} removed`);
  }

  #set(labels, said) {
    this.#labels = labels;
    sessionStorage.setItem(KEY, JSON.stringify(labels));
    this.#draw();
    announce(`${said}. ${count(labels.length, 'label')}.`);
    this.dispatchEvent(new Event('change'));
  }

  #draw() {
    const chips = this.#labels.map((label, at) => element('li', { class: 'chip' }, label,
      button('×', () => {
        this.#remove(at);
        // The focus stays among the labels.
        const next = this.#list.querySelectorAll('button')[Math.min(at, this.#labels.length - 1)];
        (next ?? this.input).focus();
      }, { 'aria-label': `Remove ${label}` })));
    this.#list.replaceChildren(...chips);
    this.#clear.hidden = this.#labels.length < 2;
    this.#about.textContent = this.#labels.length === 0
      ? 'Type or paste a list: commas or lines between labels.'
      : `${count(this.#labels.length, 'label')}. Commas or lines between more.`;
  }
}
