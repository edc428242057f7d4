// The rules of the house that no linter knows: what a folder may be called, how long a file may get, which words of the
// glossary stand for which, where time and randomness may come from, which files every engine has. Each rule is a pure
// function over one file, or over the paths of all where it is about what is missing, and its message names what to
// write instead.
//
// It reads the files of the tree itself, not git's list, so that it holds in an unpacked archive too.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `path` is relative to the repository, with forward slashes. */
export type TidyFile = { readonly path: string; readonly text: string };

/** Of one file, or of the tree as a whole: there the message begins with the place it speaks of. */
export type TidyRule = { readonly name: string } & (
  | {
      /** @returns one message per fault, each naming the remedy */
      readonly faultsIn: (file: TidyFile) => string[];
    }
  | {
      /** @returns one message per fault, each naming the place and the remedy */
      readonly faultsAmong: (paths: readonly string[]) => string[];
    }
);

const longestFile = 600;
const headerFrom = 60;

const isCode = (path: string): boolean => /\.(ts|tsx|mjs|js)$/.test(path);
const isTest = (path: string): boolean => /\.test\.tsx?$/.test(path);
/** The product's code: what runs in the simulator, and so may not reach for time or randomness by itself. */
const isProduct = (path: string): boolean =>
  /^packages\/[^/]+\/src\//.test(path) && isCode(path) && !isTest(path);

/** The line number of every match, with what matched. */
function matches(text: string, pattern: RegExp): { readonly line: number; readonly found: string }[] {
  return text.split('\n').flatMap((content, index) => {
    const match = pattern.exec(content);
    return match ? [{ line: index + 1, found: match[0].trim() }] : [];
  });
}

/** A rule that is one pattern, for the files `applies` picks. */
function patternRule(
  name: string,
  pattern: RegExp,
  applies: (path: string) => boolean,
  instead: string,
): TidyRule {
  const faultsIn = ({ path, text }: TidyFile): string[] =>
    applies(path) ? matches(text, pattern).map((at) => `line ${at.line}: "${at.found}": ${instead}`) : [];
  return { name, faultsIn };
}

const folders: TidyRule = {
  name: 'folder-names',
  faultsIn: ({ path }) => {
    const folder = path.split('/').find((part) => /^(utils?|helpers?|common|shared|misc|lib)$/.test(part));
    return folder ? [`folder "${folder}": name it for what it holds, or put the file beside its user`] : [];
  },
};

const barrels: TidyRule = {
  name: 'no-barrels',
  faultsIn: ({ path, text }) => {
    if (!isCode(path)) return [];
    const inner = /\/index\.tsx?$/.test(path) && !/^packages\/[^/]+\/src\/index\.ts$/.test(path);
    return [
      ...(inner ? ['an inner index file: import the file itself, or name this one for its noun'] : []),
      ...matches(text, /^export \* /).map((at) => `line ${at.line}: "export *": write the names out`),
    ];
  },
};

const header: TidyRule = {
  name: 'header',
  faultsIn: ({ path, text }) => {
    if (!isCode(path) || isTest(path) || text.split('\n').length <= headerFrom) return [];
    const start = text.replace(/^#!.*\n/, '').trimStart();
    const opened = start.startsWith('//') || start.startsWith('/*');
    return opened
      ? []
      : [`more than ${headerFrom} lines and no header: say what it is, why this way, what it is not`];
  },
};

const length: TidyRule = {
  name: 'file-length',
  faultsIn: ({ path, text }) => {
    const lines = text.split('\n').length;
    const tooLong = isCode(path) && lines > longestFile;
    return tooLong ? [`${lines} lines, at most ${longestFile}: split it by its nouns`] : [];
  },
};

const sleeps = patternRule(
  'no-sleep-in-tests',
  /setTimeout\(\s*(resolve|res|r|done|ok|fulfill?)\b|\bawait (sleep|delay|pause)\(|node:timers\/promises/,
  isTest,
  'wait for a signal (a promise of the thing itself, an event, a fake clock), never for a guessed time',
);

const unfinished = patternRule(
  'no-unfinished',
  /\b(TO(?:DO)|FIX(?:ME)|X(?:XX)|HA(?:CK))\b/,
  (path) => isCode(path) || path.endsWith('.md'),
  'do it now or open an issue',
);

/**
 * The only places that may be ambient: adapters of the ports for time and randomness, what runs in a browser, and the
 * command line with the demo's crowd, which are processes of their own that the simulator never runs.
 */
const ambientAdapters: readonly RegExp[] = [
  /\/(system-)?clock\.ts$/,
  /\/(system-)?randomness\.ts$/,
  /\/browser\//,
  /^packages\/server\/src\/cli\//,
];

const ambient = patternRule(
  'no-ambient-time',
  /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\brandomUUID\(|\bperformance\.now\(|\bprocess\.hrtime\b|(?<![.\w])set(Timeout|Interval)\(/,
  (path) => isProduct(path) && !ambientAdapters.some((adapter) => adapter.test(path)),
  'take a Clock, an ids or a randomness port as an argument, so that the simulator can drive it',
);

/**
 * Spreads of what has a bound that nobody can raise, by file and by what is spread. A list that grows with the messages, the letters or the rows of a team is not
 * among them: a call takes some 120,000 arguments, and beyond that it throws.
 */
const boundedSpreads: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'packages/core/src/model-ledger.ts': { added: 'one batch of the model' },
  'packages/messaging/src/cli/help.ts': { 'pairs.map': 'the lines of a help' },
  'packages/messaging/src/cli/terminal.ts': { 'lines.map': 'the rows of a page, at most 1,000' },
  'packages/messaging/src/engines/redis/consumer.ts': {
    'this.#order.end': 'what one key has out, below the prefetch',
  },
  'packages/messaging/src/reconciliation.ts': { 'await Promise.all': 'one for each recorder' },
  'packages/messaging/src/stores/inbox-purge.ts': { 'rows.map': 'one run, of a few thousand' },
  'packages/messaging/src/stores/sql-outbox.ts': { 'this.#reader.advance': 'a few statements' },
  'packages/server/src/cli/doctor.ts': { checkDataDir: 'a few findings' },
  'packages/server/src/cli/terminal.ts': { 'cells.map': 'the rows of a page' },
  'packages/server/src/fulfilment/longest-run.ts': {
    bySource: 'one for each source',
    byMessenger: 'one for each messenger',
  },
  'packages/server/src/http/member/fast-entries.ts': { originHeaders: 'a few headers' },
  'packages/server/src/ledgers/sqlite/ledger-facade.ts': { 'await backend.writeLater': 'one slice' },
};

/** What lays data out as the arguments of a call; a call may be written over several lines. */
const spreadCall =
  /(?:\.(?:push|unshift|concat)|\bMath\.(?:min|max)|\bString\.from(?:CharCode|CodePoint))\((?:[^()[\]{}]|\([^()]*\)|\[[^[\]]*\]|\{[^{}]*\})*?\.\.\.\(?((?:await )?[\w.#?]+)/g;

/** Of suites and fixtures the author knows how much they spread. */
const isSuite = (path: string): boolean =>
  /\/(testing|conformance)\/|-(cases|case-parts|contract-rows|fixture|defects|child)\.ts$/.test(path);

/** @returns what each file spreads into calls and may not, and each exemption whose spread is gone */
export function spreadFaults(
  { path, text }: TidyFile,
  exemptions: Readonly<Record<string, Readonly<Record<string, string>>>> = boundedSpreads,
): string[] {
  if (!isProduct(path) || isSuite(path)) return [];
  const exempt = new Set(Object.keys(exemptions[path] ?? {}));
  const found = [...text.matchAll(spreadCall)].map(({ index, 1: spread = '' }) => ({
    line: text.slice(0, index).split('\n').length,
    spread,
  }));
  const spreads = new Set(found.map(({ spread }) => spread));
  return [
    ...found
      .filter(({ spread }) => !exempt.has(spread))
      .map(
        ({ line, spread }) =>
          `line ${line}: "...${spread}" as arguments, which throws when there are many: loop, concat or reduce, or exempt it by name with its bound`,
      ),
    ...[...exempt]
      .filter((spread) => !spreads.has(spread))
      .map((spread) => `"...${spread}" is not spread any more: take its exemption out of scripts/tidy.ts`),
  ];
}

const spreads: TidyRule = { name: 'no-spread-of-data', faultsIn: (file) => spreadFaults(file) };

/** Words that crept into other systems of this kind, and the one of the glossary that stands for each. */
const glossary: Readonly<Record<string, string>> = {
  'user(Id|Key)': 'memberKey (or memberId for the shop’s own id)',
  'customer(Id|Key)': 'memberKey (or memberId for the shop’s own id)',
  'waiting ?[lL]ist': 'waitlist',
  'sequenceNumber|sequenceNo|orderNo|ticketNo': 'seq',
  'couponCode|giftCode|promoCode': 'voucher, voucher code',
  '(delivery|notification|sms|email)Channel': 'messenger',
  'CampaignEvent|eventCampaign': 'campaign (an event is a message)',
  inventory: 'stock, units',
  '[dD]eadletterQueue|deadLetterQueue': 'dead letter',
};

const words: TidyRule = {
  name: 'glossary',
  faultsIn: ({ path, text }) =>
    !isProduct(path)
      ? []
      : Object.entries(glossary).flatMap(([synonym, word]) =>
          matches(text, new RegExp(`\\b(${synonym})\\b`)).map(
            (at) => `line ${at.line}: "${at.found}": the glossary says ${word}`,
          ),
        ),
};

const names = patternRule(
  'class-names',
  /\b(class|interface|type) \w*(Manager|Helper|Utils?|Impl)\b/,
  isCode,
  'name it for its one noun',
);

const machinePaths = patternRule(
  'no-machine-paths',
  // In brackets so that this line is not a finding itself.
  /(?<![\w.])\/(wor[k]|roo[t]|hom[e]\/\w+)\//,
  () => true,
  'a path of one machine: make it relative, or take os.tmpdir()',
);

const authorship = patternRule(
  'no-authorship',
  // In brackets so that this line is not a finding itself.
  /\bA[I]\b|\bL[L]Ms?\b|\b[Ll]anguage mode[l]|\b[Cc]o-[Aa]uthored-[Bb][y]\b|\b[Cc]opilo[t]\b|\b[Cc]laud[e]\b|\bChatGP[T]\b/,
  () => true,
  'the repository speaks of the product, not of who or what wrote it',
);

/** A pattern is used for what it promises; where it ends has to be as easy to find. */
const patternPromises: TidyRule = {
  name: 'pattern-promises',
  faultsIn: ({ path, text }) =>
    !/^docs\/messaging\/patterns\/[^/]+\.md$/.test(path)
      ? []
      : ['## What it promises', '## What it does not promise']
          .filter((heading) => !text.split('\n').includes(heading))
          .map((heading) => `no "${heading}": say it in a part of its own`),
};

/** What an author finds in every engine folder under the same name; docs/internals/engine-folders.md says more of each. */
export const engineFiles: Readonly<Record<string, string>> = {
  'engine.ts': 'the factory',
  'options.ts': 'options, their defaults and checks',
  'capabilities.ts': 'what it can do, asked of the server where that decides',
  'connection.ts': 'the EngineConnection',
  'topology.ts': 'how channels and subscriptions are declared',
  'publisher.ts': 'publishing and its confirmation',
  'consumer.ts': 'handing out and settling',
  'dead-letters.ts': 'what is parked, and redrive',
  'view.ts': 'the counts of inspect',
  'conformance-fixture.ts': 'the fixture for the suite',
  'engine.conformance.int.test.ts': 'the suite on the real server, and what it leaves out',
  'engine.int.test.ts': 'what is particular to this engine',
  'planted-defects.int.test.ts': 'defects in this engine that the suite has to catch',
};

/** By `folder/file`: what an engine honestly has no part for, and why. An empty file in its place would be for show. */
const engineExemptions: Readonly<Record<string, string>> = {
  'redis-pubsub/dead-letters.ts': 'Pub/Sub keeps nothing, so there is nothing to park and nothing to redrive',
};

/** What every engine folder lacks. An exemption from what is there is a fault too, or it would outlive its reason. */
export function engineFolderFaults(
  paths: readonly string[],
  exemptions: Readonly<Record<string, string>> = engineExemptions,
): string[] {
  const engines = new Set(
    paths.flatMap((path) => /^packages\/messaging\/src\/engines\/[^/]+\//.exec(path) ?? []),
  );
  const all = new Set(paths);
  return [...engines].flatMap((engine) =>
    Object.keys(engineFiles).flatMap((file) => {
      const fault = faultOfEngineFile(engine, file, all, exemptions);
      return fault === undefined ? [] : [`${engine}${file}: ${fault}`];
    }),
  );
}

function faultOfEngineFile(
  engine: string,
  file: string,
  paths: ReadonlySet<string>,
  exemptions: Readonly<Record<string, string>>,
): string | undefined {
  const isThere = paths.has(`${engine}${file}`);
  const isExempt = `${engine.split('/').at(-2)}/${file}` in exemptions;
  if (isThere && isExempt) return 'is there: take its exemption out of scripts/tidy.ts';
  if (isThere || isExempt) return undefined;
  return `missing (${engineFiles[file]}): move that there, or exempt the engine from it by name with the reason`;
}

const engineFolders: TidyRule = {
  name: 'engine-folders',
  faultsAmong: (paths) => engineFolderFaults(paths),
};

export const rules: readonly TidyRule[] = [
  folders,
  barrels,
  header,
  length,
  sleeps,
  unfinished,
  ambient,
  spreads,
  words,
  names,
  machinePaths,
  authorship,
  patternPromises,
  engineFolders,
];

const skippedFolders = new Set(['node_modules', 'dist', '.git', '.cache', 'data', 'demo-data', 'coverage']);
const textFile =
  /\.(ts|tsx|mjs|js|json|md|yaml|yml|css|html|sql|sh|csv|service)$|(^|\/)(Dockerfile|LICENSE|run)$|\/?\.[a-z]+(rc|ignore|attributes|config)(\.json)?$/;

/** Every text file of the repository, generated and installed ones left out. */
export function readTree(root: string, folder = ''): TidyFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder ? `${folder}/${entry.name}` : entry.name;
    if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : readTree(root, path);
    return entry.isFile() && textFile.test(path)
      ? [{ path, text: readFileSync(join(root, path), 'utf8') }]
      : [];
  });
}

/** @returns every fault as `path: message`, for one rule */
export function faultsOf(rule: TidyRule, files: readonly TidyFile[]): string[] {
  if ('faultsAmong' in rule) return rule.faultsAmong(files.map(({ path }) => path));
  return files.flatMap((file) => rule.faultsIn(file).map((fault) => `${file.path}: ${fault}`));
}
