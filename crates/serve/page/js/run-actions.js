// What can be done with a trained run: ask it, open its report, take it elsewhere.
import { problemBox, request } from './api.js';
import { button, element, save } from './dom.js';
import * as models from './models.js';
import { token } from './token.js';

// The buttons of a run; problems appear in `place`.
export function runActions(run, place) {
  const guarded = (work) => async () => {
    place.replaceChildren();
    try {
      await work();
    } catch (error) {
      place.replaceChildren(problemBox(error));
    }
  };
  const use = guarded(async () => {
    await models.choose(run.id);
    location.hash = '#recognise';
  });
  const download = guarded(async () => {
    const response = await request(`v1/runs/${run.id}/archive`);
    save(`${fileName(run.name)}.zip`, await response.blob());
    place.replaceChildren(element('p', { class: 'notice' }, 'Unpack it, then: ',
      element('code', {}, 'trainer predict VIDEO --checkpoint run'),
      '. On another machine --backbone names the CLIP checkpoint.'));
  });
  return [button('Use', use, { class: 'primary', 'aria-label': `Use ${run.name}` }),
    button('Download', download, { 'aria-label': `Download ${run.name}` }), report(run, guarded)];
}

const fileName = (name) => name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '') || 'run';

// The report in a tab of its own, or as a file: a tab cannot send the token.
function report(run, guarded) {
  if (!token()) {
    return element('a', { class: 'button', href: `v1/runs/${run.id}/report`, target: '_blank', rel: 'noopener', 'aria-label': `Report of ${run.name}, in a new tab` }, 'Report');
  }
  return button('Report', guarded(async () => {
    const response = await request(`v1/runs/${run.id}/report`);
    save(`${fileName(run.name)}.html`, await response.blob());
  }), { 'aria-label': `Report of ${run.name}, as a file` });
}
