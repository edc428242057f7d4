/** Eligibility: rules over the attributes of a member list. All rules must hold. */
import type { EpochMs } from './record.ts';
import type { LocalizedText, SurveyFault } from './survey.ts';
import type { Report } from './survey-definition.ts';
import { checkText, isObject, refuseUnknown } from './survey-definition.ts';

/** Attributes of a listed member. Times in ms since the epoch. `tags` are free words of the shop. */
export interface MemberAttributes {
  readonly lastPurchaseAt?: EpochMs;
  readonly orders?: number;
  readonly tier?: string;
  readonly tags?: readonly string[];
}

export type EligibilityRule =
  | { readonly rule: 'purchased-since'; readonly since: EpochMs; readonly reason?: LocalizedText }
  | { readonly rule: 'min-orders'; readonly orders: number; readonly reason?: LocalizedText }
  | { readonly rule: 'tier'; readonly anyOf: readonly string[]; readonly reason?: LocalizedText }
  | { readonly rule: 'tag'; readonly anyOf: readonly string[]; readonly reason?: LocalizedText };

export interface Eligibility {
  /** `listed`: only members of the imported list may enter; `anyone`: every member with a valid token. Rules need `listed`. */
  readonly audience: 'anyone' | 'listed';
  readonly rules: readonly EligibilityRule[];
}

/** What a member is told when the rule that failed has no reason of its own. */
export const defaultReasons = {
  'not-listed': { ko: '이 이벤트의 대상 회원이 아닙니다.', en: 'This event is for invited members.' },
  'purchased-since': {
    ko: '최근 구매 이력이 있는 회원만 참여할 수 있습니다.',
    en: 'This event is for members with a recent purchase.',
  },
  'min-orders': {
    ko: '주문 횟수 조건을 충족한 회원만 참여할 수 있습니다.',
    en: 'This event is for members with more orders.',
  },
  tier: { ko: '대상 등급의 회원만 참여할 수 있습니다.', en: 'This event is for members of another tier.' },
  tag: { ko: '이 이벤트의 대상 회원이 아닙니다.', en: 'This event is for invited members.' },
  screening: {
    ko: '설문 응답이 참여 조건에 맞지 않습니다.',
    en: 'Your answers do not match the conditions of this event.',
  },
} as const satisfies Readonly<Record<string, Required<LocalizedText>>>;

export type EligibilityResult =
  | { readonly eligible: true }
  | {
      readonly eligible: false;
      /** The rule that failed first; null when the member is not on the list. */
      readonly ruleIndex: number | null;
      /** The rule's reason, or the default one. */
      readonly reason: LocalizedText;
    };

/** All rules in order; the first that fails gives the reason. `attributes` undefined: the member is not on the list. */
export function qualify(
  eligibility: Eligibility,
  attributes: MemberAttributes | undefined,
): EligibilityResult {
  if (eligibility.audience === 'anyone') return { eligible: true };
  if (attributes === undefined)
    return { eligible: false, ruleIndex: null, reason: defaultReasons['not-listed'] };
  const ruleIndex = eligibility.rules.findIndex((rule) => !holds(rule, attributes));
  const failed = eligibility.rules[ruleIndex];
  if (failed === undefined) return { eligible: true };
  return { eligible: false, ruleIndex, reason: failed.reason ?? defaultReasons[failed.rule] };
}

/** An attribute that is missing fails its rule. */
function holds(rule: EligibilityRule, attributes: MemberAttributes): boolean {
  switch (rule.rule) {
    case 'purchased-since':
      return attributes.lastPurchaseAt !== undefined && attributes.lastPurchaseAt >= rule.since;
    case 'min-orders':
      return attributes.orders !== undefined && attributes.orders >= rule.orders;
    case 'tier':
      return attributes.tier !== undefined && rule.anyOf.includes(attributes.tier);
    case 'tag':
      return attributes.tags?.some((tag) => rule.anyOf.includes(tag)) ?? false;
  }
}

/** Every fault of an eligibility definition, with pointers; empty when it can be published. Never throws. */
export function checkEligibility(eligibility: unknown): SurveyFault[] {
  const faults: SurveyFault[] = [];
  const report: Report = (pointer, message) => void faults.push({ pointer, message });
  if (!isObject(eligibility)) return [{ pointer: '', message: 'must be an object' }];
  refuseUnknown(eligibility, ['audience', 'rules'], '', report);
  const { audience, rules } = eligibility;
  if (audience !== 'anyone' && audience !== 'listed') report('/audience', 'must be anyone or listed');
  if (!Array.isArray(rules)) report('/rules', 'must be a list');
  else if (rules.length > 20) report('/rules', 'must have at most 20 rules');
  else {
    if (audience === 'anyone' && rules.length > 0)
      report('/rules', 'rules need the audience listed: attributes come from the list');
    rules.forEach((rule: unknown, i) => checkRule(rule, `/rules/${i}`, report));
  }
  return faults;
}

const ruleFields: Readonly<Record<EligibilityRule['rule'], string>> = {
  'purchased-since': 'since',
  'min-orders': 'orders',
  tier: 'anyOf',
  tag: 'anyOf',
};

function checkRule(rule: unknown, at: string, report: Report): void {
  if (!isObject(rule)) return report(at, 'must be an object');
  const name = rule['rule'];
  if (typeof name !== 'string' || !Object.hasOwn(ruleFields, name)) {
    return report(`${at}/rule`, `must be one of ${Object.keys(ruleFields).join(', ')}`);
  }
  const field = ruleFields[name as EligibilityRule['rule']];
  refuseUnknown(rule, ['rule', 'reason', field], at, report);
  if (rule['reason'] !== undefined) checkText(rule['reason'], `${at}/reason`, report);
  const value = rule[field];
  if (field === 'anyOf') {
    const words = Array.isArray(value) && value.length > 0 && value.length <= 100;
    if (!words || !value.every((word) => typeof word === 'string' && word !== ''))
      report(`${at}/anyOf`, 'must be a list of 1 to 100 words');
  } else if (!Number.isSafeInteger(value) || (value as number) < 0) {
    report(
      `${at}/${field}`,
      field === 'since' ? 'must be a time in ms since the epoch' : 'must be a whole number',
    );
  }
}
