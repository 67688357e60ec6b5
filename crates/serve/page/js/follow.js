// Follows a run to the end of its training.
import { json, request } from './api.js';
import { count, element } from './dom.js';

// Calls `each` with the progress as it comes; the last one is returned.
export async function follow(id, each, signal) {
  for (;;) {
    const response = await request(`v1/runs/${id}/events`, { signal });
    let last = null;
    for await (const data of events(response)) {
      last = JSON.parse(data);
      each(last);
    }
    if (last && last.state !== 'training') return last;
    // The connection was cut: the run says whether it goes on.
    const { progress } = await json(`v1/runs/${id}`, { signal });
    each(progress);
    if (progress.state !== 'training') return progress;
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
}

// The data of server-sent events. An EventSource could not send a token.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === 'AbortError') throw error;
      return { done: true };
    });
    if (done) return;
    const blocks = (text + value).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split('\n').filter((line) => line.startsWith('data:'));
      if (data.length) yield data.map((line) => line.slice(5).trim()).join('\n');
    }
  }
}

// The stages of a training, the last one first: what its process says, and what people read.
const STAGES = [
  [/^step (\d+)\/(\d+)/, 'Training on all clips …'],
  [/^cross-validating/, 'Judging by cross-validation: each clip is recognised by models that did not see it …'],
  [/^/, 'Looking at the clips …'],
];

// How far a training is, drawn anew with each `show`.
export class Training {
  #began = performance.now(); #clock = 0; #facts = [];
  #bar = element('progress', { 'aria-label': 'Training' });
  #words = element('p', { role: 'status' }, 'Training has begun.');
  #about = element('p', { class: 'hint' });
  element = element('div', { class: 'stack training' }, this.#words, this.#bar, this.#about);

  constructor() {
    this.#clock = setInterval(() => this.#tick(), 1000);
  }

  show({ step, loss, message }) {
    const total = Number(STAGES[0][0].exec(message)?.[2]);
    if (step > 0 && total >= step) {
      this.#bar.max = total;
      this.#bar.value = step;
    }
    // Screen readers hear of a change of stage, not of each step.
    const [, words] = step > 0 ? STAGES[0] : STAGES.find(([begins]) => begins.test(message));
    if (this.#words.textContent !== words) this.#words.textContent = words;
    this.#facts = [];
    if (step > 0) this.#facts.push(total ? `step ${step} of ${total}` : `step ${step}`);
    if (loss !== undefined) this.#facts.push(`loss ${loss.toPrecision(3)}`);
    this.#tick();
  }

  // To be called when it has ended.
  end() { clearInterval(this.#clock); }

  #tick() {
    const seconds = Math.round((performance.now() - this.#began) / 1000);
    this.#about.textContent = [count(seconds, 'second'), ...this.#facts].join(' · ');
  }
}
