// The models of the server, and the one that is chosen.
import { json } from './api.js';

const changes = new EventTarget();
let models = [];

export const all = () => models;
export const find = (id) => models.find((model) => model.id === id);
// Checkpoints without labels of their own, which runs are trained on.
export const checkpoints = () => models.filter((model) => model.labels.length === 0);
export const onModels = (listener) => changes.addEventListener('models', listener);

export async function reload() {
  ({ models } = await json('v1/models'));
  changes.dispatchEvent(new Event('models'));
}

// Asks the page Recognise to use a model.
export const onChosen = (listener) => changes.addEventListener('chosen', (event) => listener(event.detail));
export async function choose(id) {
  await reload();
  changes.dispatchEvent(new CustomEvent('chosen', { detail: id }));
}
