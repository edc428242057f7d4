// Where this machine keeps a Chromium, for the screenshots and for the tests that look at a page. Nothing is downloaded: Debian's
// package `chromium` is enough. `CHROMIUM_PATH` names another one.

import { existsSync } from 'node:fs';

const places = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** The program's path, or null when there is none. */
export function findChromium(environment: Readonly<Record<string, string | undefined>>): string | null {
  const named = environment['CHROMIUM_PATH'];
  return [...(named ? [named] : []), ...places].find((path) => existsSync(path)) ?? null;
}

/** Options for playwright's `chromium.launch`: a container's root has no use for Chromium's own sandbox. */
export function launchOptions(executablePath: string): { executablePath: string; args: string[] } {
  return { executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] };
}
