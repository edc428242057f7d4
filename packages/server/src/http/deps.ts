/**
 * Everything that routes need, as one value made in `main.ts` (and by tests with the in-process ledger). Routes take nothing from
 * anywhere else: no clock, no randomness, no configuration of their own.
 */
import type { Checkpoint } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import type { FastifyBaseLogger } from 'fastify';
import type { Admission } from '../admission/admission.ts';
import type { Turnstile } from '../admission/turnstile.ts';
import type { PublicJwkSet } from '../audit/keys.ts';
import type { Preflight } from '../campaign/preflight.ts';
import type { Config } from '../config.ts';
import type { Ledger } from '../ledger.ts';
import type { CampaignBook } from '../live/campaign-book.ts';
import type { Live } from '../live/live.ts';
import type { Metrics } from '../live/metrics.ts';
import type { Randomness } from '../randomness.ts';
import type { Vault } from '../vault.ts';
import type { Sessions } from './auth/sessions.ts';
import type { TokenChecks } from './auth/tokens.ts';

/** What a stranger checks the promises with. Behind it: `audit/`. */
export interface PublicEvidence {
  /** The JWK set of `/.well-known/doorbuster-keys.json`, old keys included. */
  keys(): PublicJwkSet;
  /** The latest signed head of a campaign, at most a second old; null while it has none. */
  checkpoint(campaignId: string): Promise<Checkpoint | null>;
}

export interface HttpDeps {
  readonly ledger: Ledger;
  readonly admission: Admission;
  readonly turnstile: Turnstile;
  /** Campaigns by id from memory: definition, compiled survey, newest committed lane. Call `forget(id)` after changing a definition. */
  readonly campaigns: CampaignBook;
  readonly live: Live;
  readonly metrics: Metrics;
  readonly vault: Vault;
  readonly sessions: Sessions;
  readonly tokens: TokenChecks;
  readonly evidence: PublicEvidence;
  /** Checks before publication; an `error` among the findings refuses it. */
  readonly preflight: Preflight;
  /** The reconciliation job, on demand; its report is JSON. Absent where fulfilment does not run. */
  readonly reconcile?: () => Promise<unknown>;
  /** Makes fulfilment look now, not at its next sweep. Absent where fulfilment does not run. */
  readonly wakeFulfilment?: () => void;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly config: Config;
  readonly log: FastifyBaseLogger;
}
