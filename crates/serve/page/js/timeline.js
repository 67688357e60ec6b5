// The windows of a long video: a strip to click, the parts with one answer, and the window at hand.
import { bars, inWords } from './bars.js';
import { button, count, element, time } from './dom.js';
import { frameStrip } from './frames.js';

const TONES = 8;
const label = (window) => (window.known === false ? 'none of these' : window.predictions[0].label);

// `player` is the video that is seen, or null; `opened` the hidden one that pictures are taken of.
export class Timeline {
  #windows; #opened; #player; #tones = new Map(); #current = -1;
  #buttons = []; #head = element('span', { class: 'head', hidden: true }); #now = element('div', { class: 'stack' });
  #frames = element('div');

  constructor(answer, player, opened) {
    this.#windows = answer.windows;
    this.#opened = opened;
    this.#player = player;
    for (const window of this.#windows) {
      const name = label(window);
      if (!this.#tones.has(name)) {
        this.#tones.set(name, window.known === false ? 'tone-none' : `tone-${this.#tones.size % TONES}`);
      }
    }
    player?.addEventListener('timeupdate', () => this.#follow(player.currentTime));
  }

  // The picture beside the window at hand, the strip, and its parts.
  element(picture) {
    if (this.#windows.length === 0) {
      return element('div', { class: 'answer-body' }, picture, element('p', { class: 'hint' }, 'The video is too short for a window.'));
    }
    const end = this.#windows.at(-1).end;
    const does = this.#player ? 'play from there' : 'see its answer';
    const made = element('div', { class: 'timeline' },
      element('div', { class: 'answer-body' }, picture, this.#now),
      element('div', {}, this.#strip(), element('div', { class: 'scale', 'aria-hidden': 'true' },
        ...[0, 0.25, 0.5, 0.75, 1].map((share) => element('span', {}, time(share * end))))),
      element('p', { class: 'hint' }, `${count(this.#windows.length, 'window')}. Click one to ${does}; with the keyboard, arrow keys move along and Enter chooses.`),
      this.#key(), this.#parts(), this.#frames);
    this.#show(0);
    return made;
  }

  #strip() {
    this.#buttons = this.#windows.map((window, at) => {
      const { start, end } = window;
      const words = `${time(start)} to ${time(end)}: ${inWords(window)}`;
      const made = button('', () => this.#choose(at), {
        class: this.#tones.get(label(window)), 'aria-label': words, title: words,
        'aria-pressed': 'false', tabindex: at === 0 ? '0' : '-1',
      });
      // As wide as the time to the next window.
      made.style.flexGrow = (this.#windows[at + 1]?.start ?? end) - start;
      return made;
    });
    return element('div', { class: 'strip', role: 'toolbar', 'aria-label': 'Timeline', onkeydown: (event) => this.#keyDown(event) },
      ...this.#buttons, this.#head);
  }

  // One stop for the tab key, arrow keys within.
  #keyDown(event) {
    const at = this.#buttons.indexOf(event.target);
    const last = this.#buttons.length - 1;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: last }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(last, to));
    this.#reach(next);
    this.#buttons[next].focus();
    this.#show(next);
  }

  #reach(at) {
    for (const [index, one] of this.#buttons.entries()) one.tabIndex = index === at ? 0 : -1;
  }

  #key() {
    const items = Array.from(this.#tones, ([name, tone]) =>
      element('li', {}, element('span', { class: `swatch ${tone}` }), name));
    return element('ul', { class: 'key', 'aria-label': 'Colours' }, items);
  }

  // Neighbouring windows with one answer, as a list that says in words what the colours show.
  #parts() {
    const parts = [];
    for (const [at, window] of this.#windows.entries()) {
      const last = parts.at(-1);
      // Windows may overlap; a part ends where the next begins.
      if (last && last.name !== label(window)) last.end = Math.min(last.end, window.start);
      if (last?.name === label(window)) last.end = window.end;
      else parts.push({ name: label(window), at, start: window.start, end: window.end });
    }
    const items = parts.map(({ name, at, start, end }) => element('li', {},
      element('button', { type: 'button', onclick: () => this.#choose(at) },
        element('span', { class: `swatch ${this.#tones.get(name)}` }),
        element('span', { class: 'when' }, `${time(start)} – ${time(end)}`), name)));
    return element('ol', { class: 'parts', 'aria-label': 'Parts with one answer' }, items);
  }

  #choose(at) {
    this.#show(at);
    this.#reach(at);
    if (!this.#player) return;
    this.#player.currentTime = this.#windows[at].start;
    // Playing may be refused; the place is shown anyway.
    this.#player.play().catch(() => {});
  }

  #follow(now) {
    const end = this.#windows.at(-1).end;
    this.#head.hidden = false;
    this.#head.style.left = `${Math.min(100, (100 * now) / end)}%`;
    const next = this.#windows.findIndex((window) => window.start > now + 1e-3);
    const at = next < 0 ? this.#windows.length - 1 : Math.max(0, next - 1);
    if (!this.#player.paused && at !== this.#current) this.#show(at);
  }

  #show(at) {
    if (at === this.#current) return;
    this.#buttons[this.#current]?.setAttribute('aria-pressed', 'false');
    this.#buttons[at].setAttribute('aria-pressed', 'true');
    this.#current = at;
    const window = this.#windows[at];
    this.#now.replaceChildren(element('h4', {}, `${time(window.start)} to ${time(window.end)}`), bars(window));
    this.#frames.replaceChildren(frameStrip(this.#opened, window.frames));
  }
}
