/**
 * HTML by tagged template: everything interpolated is escaped unless it is HTML made here. One rule, applied by the tag, instead
 * of a call that somebody forgets in one place. Not a template engine: no attributes built from objects, no streaming.
 */

/** Text that is HTML already. Made by `html` and `trusted` only. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type HtmlValue = Html | string | number | null | undefined | false | readonly HtmlValue[];

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Escapes for text and quoted attributes alike. Control characters other than tab and line breaks are dropped: they show nothing and
 * HTML forbids them. So are the marks that turn the direction of writing round, with which a title could rewrite its neighbours.
 */
export function escapeHtml(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '')
    .replace(/[&<>"']/g, (character) => entities[character] as string);
}

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(render).join('');
  return escapeHtml(`${value as string | number}`);
}

export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  let text = strings[0] as string;
  for (let i = 0; i < values.length; i++) text += render(values[i]) + strings[i + 1];
  return new Html(text);
}

/** For text written in this package (style sheet, JSON block), never for anything of a shop or a member. */
export function trusted(text: string): Html {
  return new Html(text);
}

/** JSON for a `<script type="application/json">`: nothing in it can end the element or open a comment. */
export function jsonBlock(value: unknown): Html {
  return new Html(
    JSON.stringify(value).replace(
      /[<>&\u2028-\u202e\u2066-\u2069]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ),
  );
}

/** An absolute http(s) address, or null: keeps `javascript:` and its kin out of links. */
export function webUrl(url: string | undefined): string | null {
  if (!url || !URL.canParse(url)) return null;
  return /^https?:$/.test(new URL(url).protocol) ? url : null;
}
