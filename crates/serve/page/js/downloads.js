// Answers as files.
import { save } from './dom.js';

const COLUMNS = ['video', 'model', 'start', 'end', 'rank', 'label', 'score', 'known', 'belonging', 'threshold'];

// A cell; one that a spreadsheet would compute is text for it.
function cell(value) {
  const text = value === undefined || value === null ? '' : String(value);
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// One line for each class of each answer or window.
export function csv(answers) {
  const lines = [COLUMNS];
  for (const answer of answers) {
    for (const part of answer.windows ?? [answer]) {
      const { start, end, known, belonging, threshold } = part;
      part.predictions.forEach(({ label, score }, at) => {
        lines.push([answer.video, answer.model, start, end, at + 1, label, score, known, belonging, threshold]);
      });
    }
  }
  return lines.map((line) => `${line.map(cell).join(',')}\r\n`).join('');
}

export const saveJson = (answers) => save('answers.json', `${JSON.stringify(answers, null, 2)}\n`, 'application/json');
export const saveCsv = (answers) => save('answers.csv', csv(answers), 'text/csv');
