// `npm run build`: dist/ of the publishable packages. Plain tsc in the order of the references, then everything beside
// the sources that is not TypeScript (styles, SQL, assets), which tsc leaves behind.
//
// Development never needs it: inside the repository every package is imported from its source.

import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const packages = readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name));

/** True for what tsc does not carry over: what is not TypeScript, and browser scripts, which are delivered from their source. */
const isAsset = (path: string): boolean =>
  (statSync(path).isDirectory() && !/[\\/]testing$/.test(path)) ||
  (statSync(path).isFile() &&
    !/\.test\.tsx?$/.test(path) &&
    (!/\.tsx?$/.test(path) || path.includes('/browser/')));

for (const folder of packages) rmSync(join(folder, 'dist'), { recursive: true, force: true });
const compiler = join(root, 'node_modules/typescript/bin/tsc');
const built = spawnSync(process.execPath, [compiler, '-b', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
for (const folder of packages) {
  cpSync(join(folder, 'src'), join(folder, 'dist'), { recursive: true, filter: isAsset });
}

// The demo uses two of the examples; the published command has no examples folder beside it.
const demo = join(root, 'packages/server/dist/cli/demo');
copyFileSync(join(root, 'examples/giveaway/campaign.yaml'), join(demo, 'campaign.yaml'));
const sink = readFileSync(join(root, 'examples/smtp-sink/main.ts'), 'utf8');
writeFileSync(join(demo, 'smtp-sink.js'), stripTypeScriptTypes(sink));
process.exitCode = built.status ?? 1;
