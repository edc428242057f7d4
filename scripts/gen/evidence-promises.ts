// The table of the promises on docs/evidence.md: how each is kept, and how it is tested. Every test and control named here is looked for in its file, so
// that the page cannot name one that is gone.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

interface Tested {
  /** From the root of the repository. */
  readonly file: string;
  /** Words of its title; none: all of the file. */
  readonly test?: string;
  /** Words of the titles of tests that must fail, or of doctored evidence that must be found. */
  readonly controls: readonly string[];
}

interface Promised {
  readonly number: string;
  readonly promise: string;
  readonly kept: string;
  readonly tested: readonly Tested[];
}

const acceptance = 'packages/server/src/acceptance';
const ledger = 'packages/server/src/ledgers/sqlite';
const history = 'packages/core/src/history.unit.test.ts';

/** What the invariants find when it is planted into a good ledger. */
const planted = (...names: readonly string[]): Tested => ({
  file: history,
  test: 'keeps the invariants after every step',
  controls: names,
});

/** Defects under which the simulation must find a violation. */
const simulated = (...defects: readonly string[]): Tested => ({
  file: 'simulation/planted.ts',
  controls: defects,
});

const kills: Tested = {
  file: `${acceptance}/kills.e2e.test.ts`,
  test: 'nothing acknowledged is lost, no yes without a unit',
  controls: [
    'an acknowledgement before the commit is found by the same kill',
    'a 202 that does not wait for the queue is found by the same kill',
  ],
};

const promises: readonly Promised[] = [
  {
    number: 'I1',
    promise: 'granted units <= capacity, each with one live holder',
    kept: '`PRIMARY KEY (campaign, unit)`, a check on the capacity, serial decisions in the writer',
    tested: [
      {
        file: `${acceptance}/races.e2e.test.ts`,
        test: 'of 1,000 members on the last unit one wins',
        controls: ['a second winner of the last unit is found by what both were told'],
      },
      planted('one more unit than the capacity', 'one unit with two holders'),
      simulated('capacity-off-by-one', 'safety-stock-sold'),
    ],
  },
  {
    number: 'I2',
    promise: 'a signed receipt matches the ledger for ever',
    kept: 'signed after the commit; records are append-only, chained batch by batch',
    tested: [
      kills,
      {
        file: history,
        test: 'can be checked by a stranger: receipts, chain, signatures',
        controls: ['any changed character of any record is found, at its batch'],
      },
      simulated('receipt-signed-before-commit', 'erase-breaks-the-chain'),
    ],
  },
  {
    number: 'I3',
    promise: 'one live grant and one distinct voucher a member',
    kept: "one entry a member; the provider's transaction id comes from the unit; a fence on every claim",
    tested: [
      {
        file: `${acceptance}/races.e2e.test.ts`,
        test: '50 copies of one request are one entry and one answer',
        controls: ['without the look for who is in'],
      },
      {
        file: `${acceptance}/mails.e2e.test.ts`,
        test: 'nobody gets two vouchers',
        controls: ['the judge finds a second voucher of a member'],
      },
      {
        file: 'packages/server/src/fulfilment/fulfilment.int.test.ts',
        controls: [
          'a transaction id per attempt makes doubles',
          '"not found" trusted without a cancel makes doubles',
        ],
      },
      simulated('unique-member-off', 'lease-without-fence', 'revoked-unit-given-while-shown'),
    ],
  },
  {
    number: 'I4',
    promise: 'seq 1..n without gap, the order never changes, the chain verifies',
    kept: 'numbers are given inside the transaction that stores them',
    tested: [
      planted('a gap in the order', 'two entries swapped', 'an entry lost'),
      {
        file: `${ledger}/verify.int.test.ts`,
        test: 'is clean on a ledger with everything in it',
        controls: ['an entry removed', 'a batch of another lane'],
      },
      simulated('retry-takes-a-new-seq', 'decide-on-uncommitted-state'),
    ],
  },
  {
    number: 'I5',
    promise: 'nobody is told "sold out" while a unit was free',
    kept: 'only a current SOLD_OUT record yields it; memory moves after commits only',
    tested: [
      {
        file: 'packages/server/src/admission/sold-out.int.test.ts',
        test: 'a winner whose answer is on its way is never told sold-out',
        controls: ['somebody with nothing under way is told sold-out at that very moment'],
      },
      {
        file: `${acceptance}/operator-races.e2e.test.ts`,
        test: 'nobody who asks after a top-up is told by the sold-out before it',
        controls: ['a lane that forgets to reopen is found'],
      },
      simulated('sold-out-from-a-stale-count'),
    ],
  },
  {
    number: 'I6',
    promise: 'free + reserved + held + issued + void = capacity at every commit',
    kept: '`CHECK` on the lane',
    tested: [
      planted('a unit lost', 'a unit that came back and was forgotten', 'a negative counter'),
      {
        file: `${ledger}/verify.int.test.ts`,
        test: 'the tables cannot store',
        controls: [],
      },
    ],
  },
  {
    number: 'I7',
    promise: 'captured money has a unit or a finished refund',
    kept: 'sales are not built yet: nothing is claimed',
    tested: [],
  },
  {
    number: 'I8',
    promise: 'everything admitted is delivered or parked within 60 s of calm',
    kept: 'outbox, sweep, leases, reconciliation',
    tested: [
      {
        file: `${acceptance}/mails.e2e.test.ts`,
        test: 'that one is parked with its reason, all others are served by themselves',
        controls: [],
      },
      {
        file: 'packages/server/src/fulfilment/fulfilment.int.test.ts',
        controls: ['a messenger that drops what is refused for good leaves nothing parked'],
      },
      simulated('doorbell-only-no-sweep', 'outbox-after-commit'),
    ],
  },
  {
    number: 'I9',
    promise: 'nothing is shown to anyone before it is durable',
    kept: 'answers, events and counts hang on the reply of the commit',
    tested: [kills, simulated('acknowledge-before-commit', 'confirm-before-commit')],
  },
];

/** Cells of a row for each promise. Throws an Error naming the test that is not in its file. */
export function promiseRows(): readonly (readonly string[])[] {
  return promises.map(({ number, promise, kept, tested }) => [
    number,
    promise,
    kept,
    tested.length === 0 ? '-' : tested.map(cellOf).join('<br>'),
  ]);
}

function cellOf({ file, test, controls }: Tested): string {
  const text = readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), 'utf8');
  for (const title of [...(test === undefined ? [] : [test]), ...controls])
    if (!text.includes(title)) throw new Error(`${file} has no test called "${title}"`);
  const name = test === undefined ? '' : `: ${test}`;
  const against = controls.map((title) => `*${title}*`).join(', ');
  return `\`${file}\`${name}${against === '' ? '' : `; control: ${against}`}`;
}
