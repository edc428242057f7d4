/**
 * A process that admits until it is killed: for the crash tests. Every acknowledged entry goes to stdout as a line before the next is asked for, so
 * what the parent has read was acknowledged. Arguments: data directory, file with the signing key, batch size.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { silentLog } from '@doorbuster/messaging';
import { entryOfMember, master, publish } from '../../ledger-fixture.ts';
import { openSqliteLedger } from './open.ts';

const [dataDir = '', keyFile = '', batch = '20'] = process.argv.slice(2);
const privateKey = createPrivateKey(readFileSync(keyFile));
const signingKeys = [
  { kid: 'k-test', privateKey, publicKey: createPublicKey(privateKey), validFrom: 0, validUntil: null },
];
const fatal = (): never => process.exit(70);
const ledger = await openSqliteLedger({
  dataDir,
  master,
  signingKeys,
  log: silentLog,
  fatal,
  allowVolatile: true,
});
if ((await ledger.campaigns.get('c')) === null) await publish(ledger, 'c', { capacity: 1_000_000 });
const start = (await ledger.campaigns.get('c'))?.lane?.seq ?? 0;
writeSync(1, `${JSON.stringify({ ready: start })}\n`);

async function admitFrom(first: number): Promise<void> {
  for (let at = first; ; at += 2 * Number(batch)) {
    const names = Array.from({ length: Number(batch) }, (_, i) => `m${at + i}`);
    const answers = await ledger.admission.admit(
      'c',
      names.map((name) => entryOfMember(name)),
    );
    writeSync(
      1,
      `${answers.map(({ decision, receipt }, i) => JSON.stringify({ name: names[i], decision, receipt })).join('\n')}\n`,
    );
  }
}
await Promise.all([admitFrom(start + 1000), admitFrom(start + 1000 + Number(batch))]);
