/** `doorbuster page fallback`: the page that a gateway shows while no server answers, for it to keep as a file. */
import { type Locale, memberPageHeaders, memberPageStatus, renderMemberPage } from '@doorbuster/web';
import { type Command, Option } from 'commander';
import { contextOf } from './context.ts';
import { positive } from './options.ts';

interface FallbackOptions {
  readonly lang: Locale;
  readonly retryAfter: number;
  readonly http?: boolean;
}

export function registerPage(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('page')
    .description('print pages that others serve')
    .command('fallback')
    .description(
      "print the page for a gateway's own 503: it says that entries are safe, and tries again by itself",
    )
    .addOption(new Option('--lang <language>', 'its language').choices(['ko', 'en']).default('ko'))
    .option('--retry-after <seconds>', 'about how often the page tries again', positive, 15)
    .option('--http', 'with status line and headers, as `errorfile` of HAProxy wants it')
    .action((options: FallbackOptions, command: Command) => {
      const { status, headers, html } = fallback(options);
      const text = options.http ? response(status, headers, html) : html;
      contextOf(command, env).terminal.data({ status, headers, html }, text);
    });
}

function fallback({ lang, retryAfter }: FallbackOptions) {
  const view = { state: 'fallback', retryAfterSeconds: retryAfter } as const;
  return {
    status: memberPageStatus(view),
    headers: memberPageHeaders(view, lang),
    html: renderMemberPage(view, lang),
  };
}

function response(status: number, headers: Readonly<Record<string, string>>, html: string): string {
  // With the line break that ends what is printed: a gateway refuses a file that is longer than it says.
  const length = Buffer.byteLength(html) + 1;
  const lines = Object.entries({ ...headers, 'content-length': length, connection: 'close' });
  return [
    `HTTP/1.1 ${status} Service Unavailable`,
    ...lines.map(([name, value]) => `${name}: ${value}`),
    '',
    html,
  ].join('\r\n');
}
