/**
 * The words for a reason of `ineligible`. The ledger answers with a key, because it decides without knowing the member's language; whoever
 * shows the answer asks here for the text of the campaign, or the default one.
 */
import { defaultReasons, type LocalizedText } from '@doorbuster/core';
import { type CampaignDefinition, eligibilityOf } from './definition.ts';

const banned: LocalizedText = {
  ko: '이 캠페인에 참여할 수 없습니다.',
  en: 'You cannot take part in this campaign.',
};

/** Text of the reason in every language the campaign gave, else the default. `banned` and an unknown key get the most general text. */
export function ineligibleText(definition: CampaignDefinition, reason: string): LocalizedText {
  if (reason === 'screening')
    return (definition.survey?.screeningReason as LocalizedText | undefined) ?? defaultReasons.screening;
  if (reason === 'not-listed') return defaultReasons['not-listed'];
  const failed = /^rule-(\d+)$/.exec(reason);
  const rule = failed ? eligibilityOf(definition).rules[Number(failed[1])] : undefined;
  return rule === undefined ? banned : (rule.reason ?? defaultReasons[rule.rule]);
}
