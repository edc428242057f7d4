/** The part of `HttpDeps` that the operator's routes use, and the answers they share. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { OperationalError } from '../../errors.ts';
import type { Campaign, Page, PageRequest } from '../../ledger.ts';
import type { HttpDeps } from '../deps.ts';

export type OperatorDeps = Pick<
  HttpDeps,
  'ledger' | 'vault' | 'campaigns' | 'preflight' | 'reconcile' | 'wakeFulfilment' | 'clock' | 'randomness'
>;

/** Throws CAMPAIGN_UNKNOWN. */
export async function campaignOf(deps: OperatorDeps, campaignId: string): Promise<Campaign> {
  const campaign = await deps.ledger.campaigns.get(campaignId);
  if (!campaign) throw new OperationalError('CAMPAIGN_UNKNOWN');
  return campaign;
}

export interface PageQuery {
  readonly limit?: number;
  readonly after?: string;
}

export function pageRequestOf({ limit = 50, after }: PageQuery): PageRequest {
  return after === undefined ? { limit } : { limit, after };
}

/** A page as it is answered; the next one is in the body and, as RFC 8288 has it, in the Link header. */
export function sendPage<T>(
  request: FastifyRequest,
  reply: FastifyReply,
  page: Page<T>,
): { items: readonly T[]; next: string | null } {
  if (page.next !== null) {
    const [path = '', query = ''] = request.url.split('?');
    const next = new URLSearchParams(query);
    next.set('after', page.next);
    reply.header('link', `<${path}?${next.toString()}>; rel="next"`);
  }
  return { items: page.items, next: page.next };
}
