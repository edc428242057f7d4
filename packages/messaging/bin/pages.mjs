// Before `npm pack` and `npm publish`: copies the guides of docs/messaging into the package, because a stranger has nothing but the package. What a page links to is there too, or is named as
// what only the repository has. The copy is not in git; every packing makes it anew. Not part of the package.

import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { posix } from 'node:path';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
const own = 'packages/messaging/';
const pages = [...globSync('docs/messaging/**/*.md', { cwd: repository }), 'docs/reference/errors.md'];
const examples = globSync('examples/*.ts', { cwd: posix.join(repository, own) });
const inPackage = new Set([...pages, 'README.md', ...examples.filter((path) => !path.includes('.test.'))]);

/**
 * A link of `page`, as it has to be in the package. What is no path of the repository stays: an address, a place on the page, code that looks like a link.
 *
 * @param {string} page
 * @param {string} whole
 * @param {string} text
 * @param {string} target
 */
function linkIn(page, whole, text, target) {
  const [path = '', place] = target.split('#', 2);
  const meant = posix.join(posix.dirname(page), path);
  if (path === '' || !existsSync(posix.join(repository, meant))) return whole;
  const packed = meant.startsWith(own) ? meant.slice(own.length) : meant;
  if (!inPackage.has(packed)) return `${text} (\`${meant}\` of the repository)`;
  const from = posix.relative(posix.dirname(page), packed);
  return `[${text}](${from}${place === undefined ? '' : `#${place}`})`;
}

const to = posix.join(repository, own);
rmSync(posix.join(to, 'docs'), { recursive: true, force: true });
for (const page of pages) {
  const text = readFileSync(posix.join(repository, page), 'utf8');
  const target = posix.join(to, page);
  mkdirSync(posix.dirname(target), { recursive: true });
  writeFileSync(
    target,
    text.replaceAll(/\[([^\]]*)\]\(([^)\s]+)\)/g, (whole, words, link) => linkIn(page, whole, words, link)),
  );
}
