/**
 * The check before publication: everything that would go wrong on the dot and can be known before. An `error` refuses the publication, a
 * `warning` is for the operator to weigh. All findings together, each with what to do.
 *
 * It asks the real providers (a connection, an authorisation), and sends nothing and changes nothing. What it cannot know: whether a mailbox
 * exists, and what happens to a provider between now and then.
 */
import type { Clock } from '@doorbuster/messaging';
import type { Messenger } from '../fulfilment/messenger.ts';
import { unknownPlaceholders } from '../fulfilment/templates.ts';
import type { VoucherSource } from '../fulfilment/voucher-source.ts';
import type { Campaign, Ledger } from '../ledger.ts';
import { type ContentFault, contentFaults } from './content-faults.ts';
import type { CampaignDefinition } from './definition.ts';

export interface PreflightFinding {
  readonly code: string;
  readonly level: 'error' | 'warning';
  /** JSON pointer into the definition, where the finding has a place there. */
  readonly pointer?: string;
  readonly message: string;
  readonly remedy: string;
}

export interface PreflightParts {
  readonly ledger: { readonly reconcile: Pick<Ledger['reconcile'], 'contactCount'> };
  readonly sources: readonly VoucherSource[];
  readonly messengers: readonly Messenger[];
  readonly clock: Clock;
  readonly config: { readonly allowedOrigins: readonly string[]; readonly publicUrl?: string };
}

/** A clock further than this from the process's steady one since its start has been stepped. */
const DRIFT_MS = 5_000;
const WEEK_MS = 7 * 86_400_000;

export type Preflight = (campaign: Campaign) => Promise<readonly PreflightFinding[]>;

/** Made when the process starts: a clock that is moved later has been moved since then. */
export function createPreflight(parts: PreflightParts): Preflight {
  const { clock } = parts;
  const aheadAtStart = clock.now() - clock.monotonic();
  return async (campaign) => {
    const { definition } = campaign;
    return [
      ...checkDefinition(definition, parts.config),
      ...checkTimes(definition, clock.now()),
      ...checkClock(clock, aheadAtStart),
      ...checkMembers(campaign),
      ...(await checkContacts(campaign, parts)),
      ...(await checkSource(campaign, parts.sources)),
      ...(await checkMessengers(campaign, parts.messengers)),
    ];
  };
}

/** What the schema of a definition cannot say. */
export function checkDefinition(
  definition: CampaignDefinition,
  config: PreflightParts['config'],
): readonly PreflightFinding[] {
  return [
    ...contentFaults(definition).map(({ code, pointer, message }) =>
      fault(code, pointer, `${CONTENT[code].about}${message}.`, CONTENT[code].remedy),
    ),
    ...checkLinks(definition, config),
    ...checkTexts(definition),
    ...checkWaitlist(definition),
  ];
}

const CONTENT: Readonly<Record<ContentFault['code'], { readonly about: string; readonly remedy: string }>> = {
  'terms-invalid': { about: '', remedy: 'Correct the value in the definition.' },
  'eligibility-invalid': {
    about: 'Eligibility: ',
    remedy: 'Correct it: rules look at the imported list, so they need `audience: listed`.',
  },
  'survey-invalid': { about: 'The survey: ', remedy: 'Correct the question in the definition.' },
};

/** An open redirect under the shop's name would be a gift to phishers: pages lead back only to configured origins. */
function checkLinks(
  { page }: CampaignDefinition,
  { allowedOrigins, publicUrl }: PreflightParts['config'],
): PreflightFinding[] {
  const known = new Set([
    ...allowedOrigins,
    ...(publicUrl && URL.canParse(publicUrl) ? [new URL(publicUrl).origin] : []),
  ]);
  return (['returnUrl', 'loginUrl'] as const).flatMap((name) => {
    const written = page?.[name];
    if (written === undefined) return [];
    const url = URL.canParse(written) ? new URL(written) : null;
    if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:'))
      return [
        fault(
          'link-invalid',
          `/page/${name}`,
          `${name} is not an address of a page.`,
          'Write an https address.',
        ),
      ];
    if (known.has(url.origin)) return [];
    return [
      fault(
        'link-origin-unknown',
        `/page/${name}`,
        `${name} leads to ${url.origin}, which is not a configured origin.`,
        'Add the origin to `allowedOrigins`, or correct the address.',
      ),
    ];
  });
}

/** The waitlist's last place closes such a campaign, and a closed one promotes nobody by itself. */
function checkWaitlist({ stock }: CampaignDefinition): PreflightFinding[] {
  if ((stock.waitlistLimit ?? 0) === 0 || stock.closeWhenSoldOut === false) return [];
  return [
    note(
      'waitlist-closes',
      '/stock/closeWhenSoldOut',
      'The campaign closes for good when its waitlist is full; units that come back later are promoted by hand only.',
      'Set closeWhenSoldOut to false if those who wait are to move up by themselves.',
    ),
  ];
}

function checkTexts({ title, prize, reward }: CampaignDefinition): PreflightFinding[] {
  const { subject, body } = reward.message ?? {};
  const texts = { '/reward/message/subject': subject, '/reward/message/body': body };
  const unknown = Object.entries(texts).flatMap(([pointer, text]) =>
    [...new Set([text?.ko, text?.en].flatMap((one) => (one ? unknownPlaceholders(one) : [])))].map((name) =>
      note(
        'placeholder-unknown',
        pointer,
        `The message holds {${name}}, which is not a placeholder and would be sent as written.`,
        'Use title, prize, code, pin, url, validUntil or seq.',
      ),
    ),
  );
  const codeless = body && ![body.ko, body.en].some((one) => one && /\{(code|url)\}/.test(one));
  const english = Object.entries({ '/title': title, '/prize': prize }).filter(
    ([, text]) => text.ko === undefined,
  );
  return [
    ...unknown,
    ...(codeless
      ? [
          note(
            'message-without-voucher',
            '/reward/message/body',
            'The message holds neither {code} nor {url}.',
            'Add one of them, or members have to look at the result page.',
          ),
        ]
      : []),
    ...english.map(([pointer]) =>
      note(
        'korean-text-missing',
        pointer,
        'There is no Korean text; members with Korean pages see the English one. (한국어 문구가 없습니다.)',
        'Add the text under `ko`.',
      ),
    ),
  ];
}

function checkTimes({ startsAt, endsAt }: CampaignDefinition, now: number): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  const ends = endsAt ? Date.parse(endsAt) : null;
  if (ends !== null && ends <= now)
    findings.push(
      fault(
        'ends-in-the-past',
        '/endsAt',
        'The campaign would have ended already.',
        'Choose a later endsAt.',
      ),
    );
  if (Date.parse(startsAt) < now - 1_000)
    findings.push(
      note(
        'starts-in-the-past',
        '/startsAt',
        'startsAt has passed: the campaign opens as soon as it is published.',
        'Choose a later startsAt if that is not meant.',
      ),
    );
  if (Date.parse(startsAt) > now + 52 * WEEK_MS)
    findings.push(
      note(
        'starts-far-away',
        '/startsAt',
        'The campaign starts in more than a year.',
        'Check the year and the offset of startsAt.',
      ),
    );
  return findings;
}

/** 2025-01-01: before this software was written. */
const EARLIEST_SANE_MS = 1_735_689_600_000;

/** `aheadAtStart`: wall minus steady time when the process started, ms; what differs from it now are steps and drift. */
function checkClock(clock: Clock, aheadAtStart: number): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  const now = clock.now();
  const moved = Math.abs(now - clock.monotonic() - aheadAtStart);
  if (moved > DRIFT_MS)
    findings.push(
      fault(
        'clock-stepped',
        undefined,
        `The wall clock was moved by ${Math.round(moved / 1_000)} s since this process started.`,
        'Check NTP on this machine, then restart the process.',
      ),
    );
  if (now < EARLIEST_SANE_MS)
    findings.push(
      fault(
        'clock-wrong',
        undefined,
        `The clock of this machine says ${new Date(now).toISOString()}.`,
        'Set the clock; the campaign would open at the wrong time.',
      ),
    );
  return findings;
}

function checkMembers({ definition, memberCount }: Campaign): PreflightFinding[] {
  if (definition.eligibility?.audience !== 'listed') return [];
  if (memberCount === 0)
    return [
      fault(
        'members-missing',
        '/eligibility/audience',
        'Only listed members may enter, and the list is empty.',
        'Import the members.',
      ),
    ];
  const { capacity } = definition.stock;
  return memberCount >= capacity
    ? []
    : [
        note(
          'members-few',
          '/eligibility/audience',
          `${memberCount} members are listed for ${capacity} units: not all can be given.`,
          'Import more members, or lower the capacity.',
        ),
      ];
}

/** Members with a token bring their contact along; a list without contacts, and messengers that need one, would park every delivery. */
async function checkContacts(
  { id, definition, memberCount }: Campaign,
  { ledger, messengers }: PreflightParts,
): Promise<PreflightFinding[]> {
  const reachesAnyone = messengers.some(
    (one) => definition.reward.messengers.includes(one.name) && one.canReach({}),
  );
  if (definition.eligibility?.audience !== 'listed' || memberCount === 0 || reachesAnyone) return [];
  const contacts = await ledger.reconcile.contactCount(id);
  if (contacts >= memberCount) return [];
  const message = `${contacts} of ${memberCount} listed members have a contact; the others get no message unless their token brings one. (연락처가 없는 회원이 있습니다.)`;
  return [
    note(
      'contacts-missing',
      '/reward/messengers',
      message,
      'Import contacts, or send them in the tokens. The voucher is on the result page in any case.',
    ),
  ];
}

async function checkSource(
  { id, definition }: Campaign,
  sources: readonly VoucherSource[],
): Promise<PreflightFinding[]> {
  const at = '/reward/voucherSource';
  const name = definition.reward.voucherSource ?? 'pool';
  const source = sources.find((one) => one.name === name);
  if (!source)
    return [
      fault(
        'source-unknown',
        at,
        `There is no voucher source "${name}".`,
        `Configure it, or use one of: ${sources.map((one) => one.name).join(', ')}.`,
      ),
    ];
  const code = source.sourceClass === 'pool' ? 'codes-short' : 'source-unusable';
  const problems = await source.check(id, definition.stock.capacity);
  return problems.map((message) =>
    fault(
      code,
      at,
      message,
      source.sourceClass === 'pool'
        ? 'Import voucher codes for every unit.'
        : 'Mend the configuration or the provider.',
    ),
  );
}

async function checkMessengers(
  { definition }: Campaign,
  messengers: readonly Messenger[],
): Promise<PreflightFinding[]> {
  const checks = definition.reward.messengers.map(async (name, index) => {
    const at = `/reward/messengers/${index}`;
    const messenger = messengers.find((one) => one.name === name);
    if (!messenger)
      return [
        fault(
          'messenger-unknown',
          at,
          `There is no messenger "${name}".`,
          `Configure it, or use one of: ${messengers.map((one) => one.name).join(', ')}.`,
        ),
      ];
    const problems = await messenger.check();
    // With another messenger behind it the campaign can be served; alone it cannot.
    const finding = definition.reward.messengers.length > 1 ? note : fault;
    return problems.map((message) =>
      finding(
        'messenger-unusable',
        at,
        message,
        'Mend the configuration or the server; `doorbuster doctor --test-email` sends a test.',
      ),
    );
  });
  return (await Promise.all(checks)).flat();
}

function fault(code: string, pointer: string | undefined, message: string, remedy: string): PreflightFinding {
  return { code, level: 'error', ...(pointer === undefined ? {} : { pointer }), message, remedy };
}

function note(code: string, pointer: string | undefined, message: string, remedy: string): PreflightFinding {
  return { code, level: 'warning', ...(pointer === undefined ? {} : { pointer }), message, remedy };
}
