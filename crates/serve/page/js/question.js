// The question that videos are asked: a model, labels, and for which spans of time.
import { byId, count, element } from './dom.js';
import { LabelList } from './labels.js';
import * as models from './models.js';

// Fires `change` when another question would be asked.
export class Question extends EventTarget {
  #form = byId('question');
  #select = byId('model');
  labels = new LabelList(byId('labels'));

  constructor() {
    super();
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    this.#form.addEventListener('change', () => this.#changed());
    this.labels.addEventListener('change', () => this.#changed());
    models.onModels(() => this.#list());
    models.onChosen((id) => {
      this.#select.value = id;
      this.#form.elements.whose.value = 'own';
      this.#changed();
    });
  }

  get model() { return models.find(this.#select.value); }

  get #own() { return this.model?.labels.length > 0 && this.#form.elements.whose.value === 'own'; }

  // The question as it is now; null while labels are missing or a number is wrong.
  current() {
    this.labels.commit();
    const labels = this.#own ? null : this.labels.values;
    if (!this.model || labels?.length === 0 || !this.#form.reportValidity()) return null;
    return {
      model: this.model.id,
      labels,
      span: this.#form.elements.span.value,
      window: Number(byId('window').value),
      stride: Number(byId('stride').value),
    };
  }

  #list() {
    const before = this.#select.value;
    this.#select.replaceChildren(...models.all().map((model) =>
      element('option', { value: model.id }, model.name)));
    if (models.find(before)) this.#select.value = before;
    this.#changed();
  }

  #changed() {
    const own = this.model?.labels ?? [];
    byId('whose-labels').hidden = own.length === 0;
    byId('labels').hidden = this.#own;
    byId('own-labels').hidden = !this.#own;
    byId('own-count').textContent = `Its own ${own.length}`;
    byId('own-labels').replaceChildren(...own.map((label) => element('li', { class: 'chip plain' }, label)));
    byId('model-about').textContent = own.length
      ? `A run that was taught ${count(own.length, 'action')}.`
      : 'A CLIP checkpoint: it looks for any words that you give it.';
    this.dispatchEvent(new Event('change'));
  }
}
