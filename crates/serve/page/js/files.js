// Files that are dropped, chosen, or found in folders.

const VIDEO = /\.(mp4|m4v|mov|qt|3gp|3g2|mkv|webm|avi)$/i;
// What systems leave in folders.
const HIDDEN = /^(\.|__MACOSX$|@eaDir$|Thumbs\.db$|desktop\.ini$)/i;

// Files with the folders that they lie in, outermost first; `ignored` are the names of others.
export class Found {
  videos = [];
  ignored = [];

  add(file, folders) {
    if (HIDDEN.test(file.name) || folders.some((folder) => HIDDEN.test(folder))) return;
    // Files without a kind are left to the server, which looks at their content.
    const named = file.type.startsWith('video/') || VIDEO.test(file.name) || (!file.type && !/\./.test(file.name));
    if (named) this.videos.push({ file, folders });
    else this.ignored.push(file.name);
  }

  // In the order of names, with numbers by value.
  sorted() {
    const path = ({ file, folders }) => [...folders, file.name].join('/');
    this.videos.sort((one, other) => path(one).localeCompare(path(other), undefined, { numeric: true }));
    return this;
  }
}

// The names of files that are no videos, in words; empty if there are none.
export function leftOut(ignored) {
  if (ignored.length === 0) return '';
  const names = ignored.slice(0, 5).join(', ') + (ignored.length > 5 ? ', …' : '');
  return `Left out, because their names are not those of videos: ${names}.`;
}

// The files of a file input, also of one that takes folders.
export function chosen(input) {
  const found = new Found();
  for (const file of input.files) {
    const folders = (file.webkitRelativePath || file.name).split('/').slice(0, -1);
    found.add(file, folders);
  }
  input.value = '';
  return found.sorted();
}

// The files of a drop, with the trees of its folders.
async function dropped(transfer) {
  const found = new Found();
  // Entries have to be taken before the first pause.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  for (const entry of entries) await walk(entry, [], found);
  return found.sorted();
}

async function walk(entry, folders, found) {
  if (entry.isFile) {
    found.add(await new Promise((resolve, reject) => entry.file(resolve, reject)), folders);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A folder is read in parts.
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return;
    for (const inner of part) await walk(inner, [...folders, entry.name], found);
  }
}

// Lets files be dropped on an element.
export function dropArea(area, take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  area.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    area.classList.add('over');
  });
  area.addEventListener('dragleave', (event) => {
    if (!area.contains(event.relatedTarget)) area.classList.remove('over');
  });
  area.addEventListener('drop', async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    area.classList.remove('over');
    take(await dropped(event.dataTransfer));
  });
}
