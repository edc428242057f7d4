// Before `npm pack` and `npm publish`: a package without its code, or with less than its manifest promises, must not leave the house. It does not build by itself,
// because the build is that of the whole repository and clears every dist/. Not part of the package.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = new URL('../', import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL('package.json', here), 'utf8'));
const promised = ['./dist/cli/main.js', ...Object.values(exports).flatMap((one) => [one.types, one.default])];
const missing = promised.filter((path) => !existsSync(fileURLToPath(new URL(path, here))));
if (missing.length > 0) {
  process.stderr.write(
    `@doorbuster/messaging is not built: ${missing[0]} is missing, and ${missing.length - 1} more. Run "npm run build" in the repository first.\n`,
  );
  process.exitCode = 1;
}
