/**
 * The member page in the browser: countdown on the server's clock, sending without losing the form, watching for a change. Every
 * result is a page of the server: this script moves to it and draws none itself, so a reload always shows the same.
 *
 *   before ──(server's clock)──> open ──submit──> sending ──2xx, 401, 409, 410──> the page, by the server
 *                                          ^         │ └────400, 403, 413, 422──> the same form sent without script: its answer is a page
 *                                          └─ busy <─┘ 429, 5xx, no answer: wait at least Retry-After, plus a random share
 *
 * It is delivered without a bundler (see `assets.ts`): a comment has its lines for itself, a text ends on its line and escapes no
 * quote.
 */
import type { ScriptPage } from '../script-page.ts';

const find = (id: string): HTMLElement | null => document.getElementById(id);
const all = (selector: string, root: ParentNode = document): HTMLElement[] => [
  ...root.querySelectorAll<HTMLElement>(selector),
];
const page = JSON.parse(find('page')?.textContent ?? '{}') as ScriptPage;
const { words } = page;
const form = find('entry') as HTMLFormElement | null;
const button = find('send') as HTMLButtonElement | null;
const draftKey = `doorbuster:draft:${page.id}`;

const put = (id: string, text = ''): void => {
  const element = find(id);
  if (element) element.textContent = text;
};
const say = (text?: string): void => put('live', text);
const fill = (text = '', n: number | string): string => text.replace('{n}', `${n}`);
const after = (ms: number, then: () => unknown): number => setTimeout(then, ms);
/** Around `ms`, so that a crowd that came at the same moment does not come back at the same moment. */
const around = (ms: number): number => ms * (0.5 + Math.random());
const leave = (): void => location.replace(page.page + location.search);

/** A browser may refuse storage: then there is no draft, and all else goes on. */
const kept = (key: string, value?: string): string | null => {
  try {
    if (value !== undefined) sessionStorage.setItem(key, value);
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
};

// --- the server's clock: what it said, carried on by the monotonic clock, which no member can set

const loaded = performance.getEntriesByType('navigation')[0] as PerformanceNavigationTiming | undefined;
let offset = page.now - (loaded?.responseStart || performance.now());
let bestTrip = Infinity;
const now = (): number => performance.now() + offset;

interface Status {
  readonly serverTime: string;
  readonly startsAt: string;
  readonly state: string;
  readonly soldOut?: boolean;
  readonly remaining?: number | null;
}

const sync = async (): Promise<void> => {
  const sent = performance.now();
  const answer = await fetch(page.status, { cache: 'no-store' }).catch(() => undefined);
  const trip = performance.now() - sent;
  if (!answer?.ok) return tick();
  const status = (await answer.json()) as Status;
  const at = Date.parse(status.serverTime);
  if (at && trip <= bestTrip * 1.5) {
    bestTrip = Math.min(trip, bestTrip);
    offset = at - sent - trip / 2;
  }
  const moved = Date.parse(status.startsAt);
  if ((moved && moved !== page.start) || /^(paus|clos|halt)/.test(status.state)) leave();
  tick();
};

// --- countdown

let ticking = 0;
let leftBefore = Infinity;

const tick = (): void => {
  clearTimeout(ticking);
  const left = page.start - now();
  if (left <= 0) return opened();
  const whole = Math.ceil(left / 1000);
  const shown = {
    d: Math.floor(whole / 86400),
    h: Math.floor(whole / 3600) % 24,
    m: Math.floor(whole / 60) % 60,
    s: whole % 60,
  };
  for (const [id, value] of Object.entries(shown)) {
    put(id, String(value).padStart(id === 'd' ? 1 : 2, '0'));
    if (id === 'd') find(id)?.parentElement?.toggleAttribute('hidden', !value);
  }
  for (const mark of [600, 60, 10])
    if (leftBefore < Infinity && leftBefore > mark && whole <= mark) say(words[`in${mark}`]);
  leftBefore = whole;
  ticking = after(left % 1000 || 1000, tick);
};

/** At once, every minute or so, and at -60 s and -10 s, each a little early by chance. */
const keepInStep = (): void => {
  const left = page.start - now();
  const to = (mark: number): number => left - mark - Math.random() * mark * 0.2;
  const wait = left > 75000 ? Math.min(around(60000), to(60000)) : left > 13000 ? to(10000) : 0;
  if (wait > 0) after(wait, () => sync().then(keepInStep));
};

const opened = (): void => {
  if (!form || !button) return void after(around(2000), leave);
  if (!button.disabled) return;
  button.disabled = false;
  find('until')?.removeAttribute('class');
  for (const element of all('#now .clock,#now .hint')) element.remove();
  put('until', words.now);
  put('badge', words.badge);
  put('why', words.why);
  find('badge')?.parentElement?.classList.add('live');
  say(words.open);
};

// --- the form: conditions, draft, answers

const questions = all('[data-q]');
type Field = HTMLInputElement | HTMLTextAreaElement;
const fieldsOf = (question: HTMLElement): Field[] => all('input,textarea', question) as Field[];
const typedIn = (question: HTMLElement): string[] =>
  fieldsOf(question)
    .filter(
      (field) =>
        !field.disabled &&
        (!/radio|box/.test(field.type) || (field as HTMLInputElement).checked) &&
        field.value.trim(),
    )
    .map((field) => field.value);

const holds = ({ dataset }: HTMLElement): boolean => {
  const earlier = questions.find((question) => question.dataset.q === dataset.if);
  const typed = earlier ? typedIn(earlier) : [];
  if (dataset.any) return typed.some((value) => dataset.any?.split(' ').includes(value));
  return (
    typed.length > 0 &&
    Number(typed[0]) >= Number(dataset.min ?? -Infinity) &&
    Number(typed[0]) <= Number(dataset.max ?? Infinity)
  );
};

const applyConditions = (): void => {
  for (const question of questions) {
    if (!question.dataset.if) continue;
    const asked = holds(question);
    question.hidden = !asked;
    for (const field of fieldsOf(question)) {
      field.disabled = !asked;
      field.required = 'required' in question.dataset && field.type !== 'checkbox';
    }
  }
};

const saveDraft = (): void => {
  applyConditions();
  kept(draftKey, JSON.stringify([...new FormData(form as HTMLFormElement)]));
};

const restoreDraft = (): void => {
  const draft = page.filled ? '[]' : kept(draftKey);
  for (const [name, value] of JSON.parse(draft || '[]') as [string, string][]) {
    for (const field of questions.flatMap(fieldsOf)) {
      if (field.name !== name) continue;
      if (!/radio|box/.test(field.type)) field.value = value;
      else if (field.value === value) (field as HTMLInputElement).checked = true;
    }
  }
  applyConditions();
};

const answers = (): Record<string, unknown> => {
  const given: Record<string, unknown> = {};
  for (const question of questions) {
    const typed = typedIn(question);
    const { q, type } = question.dataset;
    if (!typed.length || !q) continue;
    given[q] = type === 'multiple' ? typed : /number|scale/.test(type ?? '') ? Number(typed[0]) : typed[0];
  }
  return given;
};

// --- sending

let attempt = 0;
let sending = false;

/** Kept, so that a reload or a second press is the same request. */
const requestKey = (): string => {
  const name = `doorbuster:key:${page.id}`;
  return (
    kept(name) ??
    kept(name, [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join('')) ??
    'once'
  );
};

const retryIn = (left: number, text: string | undefined): void => {
  if (left <= 0) return void send();
  put('why', fill(text, left));
  after(1000, () => retryIn(left - 1, text));
};

/** At least what the server asked for, and a random share of a wait that doubles up to half a minute. */
const wait = (answer: Response | undefined, text: string | undefined): void => {
  const asked = Number(answer?.headers.get('retry-after')) || 1;
  const left = Math.ceil(asked + Math.random() * Math.min(30, 2 ** attempt++));
  say(fill(text, left));
  retryIn(left, text);
};

const send = async (): Promise<void> => {
  if (!form || !button) return;
  sending = true;
  button.ariaDisabled = 'true';
  put('why', words.sending);
  const headers = { 'content-type': 'application/json', 'idempotency-key': requestKey() };
  const body = JSON.stringify({ answers: answers() });
  const request = { method: 'POST', headers, body, signal: AbortSignal.timeout(20000) };
  const answer = await fetch(page.entries, request).catch(() => undefined);
  const status = answer?.status ?? 503;
  if (status === 429 || status >= 500) return wait(answer, words.retry);
  const problem = status === 409 ? await answer?.json().catch(() => {}) : undefined;
  if (problem?.verdict === 'not-open') return wait(answer, words.notYet);
  if ([400, 403, 413, 415, 422].includes(status)) return form.submit();
  if (status < 300) kept(draftKey, '');
  leave();
};

// --- watching

/** Of `entries/mine` or of the status: what may be watched. */
interface Told extends Readonly<Record<string, unknown>> {
  readonly delivery?: { readonly state: string };
  readonly remaining?: number;
}

const watch = ({ url, every, events, field, known }: NonNullable<ScriptPage['watch']>): void => {
  // What the page does not show yet is a page of the server.
  const take = (told: Told): unknown => {
    const value = field === 'delivery' ? told.delivery?.state : told[field];
    if (field !== 'remaining') return known.includes(value) || leave();
    put(
      field,
      told.soldOut ? words.gone : fill(words.unit, told.remaining?.toLocaleString(page.locale) ?? ''),
    );
  };
  const look = async (): Promise<unknown> => {
    const answer = document.hidden
      ? undefined
      : await fetch(url, { headers: { accept: 'application/json' } }).catch(() => undefined);
    // A queued entry that was refused: the page says it.
    if ([403, 410].includes(answer?.status ?? 0)) return leave();
    if (answer?.ok) take(await answer.json());
    again();
  };
  const again = (): unknown => after(around(every), look);
  if (!events) return void again();
  // The first event comes at once: a proxy that holds it back, a full or stopping server, and it is asked for as ever.
  const source = new EventSource(url);
  const poll = (): void => {
    clearTimeout(silent);
    source.close();
    again();
  };
  const silent = after(9000, poll);
  source.onerror = poll;
  source.addEventListener('entry', ({ data }) => {
    clearTimeout(silent);
    take(JSON.parse(data));
  });
};

// --- start

if (page.countdown) {
  tick();
  void sync().then(keepInStep);
  document.addEventListener('visibilitychange', () => void (document.hidden || sync()));
}
if (form) {
  restoreDraft();
  form.addEventListener('input', saveDraft);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!sending) void send();
  });
  if (page.retry) {
    sending = true;
    retryIn(page.retry, words.retry);
  }
}
if (page.watch) watch(page.watch);
for (const copy of all('[data-copy]')) {
  copy.hidden = !navigator.clipboard;
  const copied = (): void => say((copy.textContent = words.copied ?? ''));
  copy.addEventListener(
    'click',
    () => void navigator.clipboard.writeText(find(copy.dataset.copy ?? '')?.textContent ?? '').then(copied),
  );
}
// The way back must not show a form that was sent already.
addEventListener('pageshow', (event) => event.persisted && leave());
