/** What tests of a ledger need: secrets, a definition, members. Deterministic where a seed is given. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import type { SurveyAnswers } from '@doorbuster/core';
import type { CampaignDefinition } from './campaign/definition.ts';
import type { Actor, AdmissionAnswer, AdmissionCommand, Ledger } from './ledger.ts';
import type { SigningKey } from './secrets.ts';

export const operator: Actor = { kind: 'cli', id: 'tester' };
export const master: Uint8Array = createHash('sha256').update('the master key of the tests').digest();

export function signingKeys(): SigningKey[] {
  return [{ kid: 'k-test', ...generateKeyPairSync('ed25519'), validFrom: 0, validUntil: null }];
}

export interface Terms {
  readonly capacity: number;
  readonly safetyStock?: number;
  readonly waitlistLimit?: number;
  readonly closeWhenSoldOut?: boolean;
  readonly startsAt?: number;
  readonly endsAt?: number;
  readonly eligibility?: CampaignDefinition['eligibility'];
}

export function definitionOf({
  startsAt = 1_600_000_000_000,
  endsAt,
  eligibility,
  ...stock
}: Terms): CampaignDefinition {
  return {
    title: { en: 'Test' },
    prize: { en: 'Voucher' },
    startsAt: new Date(startsAt).toISOString(),
    ...(endsAt === undefined ? {} : { endsAt: new Date(endsAt).toISOString() }),
    stock: { closeWhenSoldOut: false, ...stock },
    ...(eligibility === undefined ? {} : { eligibility }),
    reward: { messengers: ['file'] },
  };
}

/** Creates and publishes. */
export async function publish(ledger: Ledger, id: string, terms: Terms): Promise<void> {
  await ledger.campaigns.create(id, definitionOf(terms), operator);
  const published = await ledger.campaigns.publish(id, operator);
  if (!published.ok) throw new Error(published.code);
}

export function keyOfMember(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 32);
}

export function entryOfMember(
  name: string,
  answers: SurveyAnswers | null = null,
  attempt = 0,
): AdmissionCommand {
  return {
    memberKey: keyOfMember(name),
    salt: createHash('sha256').update(`salt ${name} ${attempt}`).digest('hex').slice(0, 32),
    answers,
    screenedOut: false,
  };
}

export function members(count: number, prefix = 'm'): AdmissionCommand[] {
  return Array.from({ length: count }, (_, i) => entryOfMember(`${prefix}${i}`));
}

export function verdictsOf(answers: readonly AdmissionAnswer[]): string[] {
  return answers.map(({ decision }) =>
    'repeated' in decision && decision.repeated ? `${decision.verdict} again` : decision.verdict,
  );
}
