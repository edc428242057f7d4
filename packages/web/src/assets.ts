/**
 * The files that the page names: its script. Its address carries the hash of its content, so it may be kept for ever.
 *
 * The source is TypeScript, and no bundler stands between it and the browser: types are blanked out by Node, then comment lines,
 * indentation and spaces beside punctuation go. That is safe because `browser/` keeps rules that a test holds: a comment has its
 * lines for itself, and a text (in single quotes or backticks) ends on its line and escapes no quote. A minifier
 * would save some 0.3 KB gzip more and cost a build step.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';

export interface MemberPageAsset {
  /** `/c/assets/<hash>.js` */
  readonly path: string;
  readonly contentType: string;
  readonly body: string;
  /** Quoted, strong. */
  readonly etag: string;
}

/** Beside this file, as TypeScript in both: the build carries `browser/` over as it is. */
function browserSource(name: string): string {
  return stripTypeScriptTypes(readFileSync(new URL(`./browser/${name}.ts`, import.meta.url), 'utf8'));
}

export function compactScript(source: string): string {
  return source
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== ';' && !/^(?:\/\/|\/\*|\*\/|\* |\*$)/.test(line))
    .map(compactLine)
    .join('\n');
}

/** Spaces beside punctuation go, in what stands between the texts of the line. */
function compactLine(line: string): string {
  return line
    .split(/('[^']*'|`[^`]*`)/)
    .map((part, index) =>
      index % 2 === 1 ? part : part.replace(/ *([=+*<>?:|&,{}()!;-]+) */g, '$1').replace(/ {2,}/g, ' '),
    )
    .join('');
}

function script(name: string): MemberPageAsset {
  const body = compactScript(browserSource(name));
  const hash = createHash('sha256').update(body).digest('base64url').slice(0, 16);
  return {
    path: `/c/assets/${hash}.js`,
    contentType: 'text/javascript; charset=utf-8',
    body,
    etag: `"${hash}"`,
  };
}

/** Read once, at start. */
export const memberPageAssets: readonly MemberPageAsset[] = [script('member-page')];

/** Inline in the fallback page, which may stand alone as a file of a gateway. */
export const fallbackScript = compactScript(browserSource('fallback'));

/** For `script-src`. */
export const fallbackScriptHash = `'sha256-${createHash('sha256').update(fallbackScript).digest('base64')}'`;
