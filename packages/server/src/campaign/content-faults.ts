/**
 * What the schema of a definition cannot say: numbers and times that fit each other, rules that have a list to look at, a survey that can be
 * answered. Asked by the pre-flight and, before anything is sent, by the command line. Needs a definition without faults of form.
 */
import { checkEligibility, checkSurveyDefinition, checkTerms } from '@doorbuster/core';
import type { Fault } from '../errors.ts';
import { type CampaignDefinition, eligibilityOf, surveyOf, termsOf } from './definition.ts';

export interface ContentFault extends Fault {
  readonly code: 'terms-invalid' | 'eligibility-invalid' | 'survey-invalid';
}

/** All faults together; each `pointer` leads into the definition. */
export function contentFaults(definition: CampaignDefinition): readonly ContentFault[] {
  const survey = surveyOf(definition);
  return [
    ...checkTerms(termsOf(definition)).map(({ pointer, message }) => ({
      code: 'terms-invalid' as const,
      // The times of the terms stand at the top of a definition, its numbers under `stock`.
      pointer: pointer.endsWith('At') ? pointer : `/stock${pointer}`,
      message: `${pointer.slice(1)} ${message}`,
    })),
    ...under('/eligibility', 'eligibility-invalid', checkEligibility(eligibilityOf(definition))),
    ...(survey ? under('/survey', 'survey-invalid', checkSurveyDefinition(survey)) : []),
  ];
}

function under(place: string, code: ContentFault['code'], faults: readonly Fault[]): ContentFault[] {
  return faults.map(({ pointer, message }) => ({ code, pointer: `${place}${pointer}`, message }));
}
