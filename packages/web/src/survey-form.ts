/**
 * The survey's questions as HTML. Conditional questions carry their condition in `data-` attributes for the script, and a note for
 * whoever has none. `required` is left to the browser only where the question is always asked.
 */
import {
  isRequired,
  type MultipleQuestion,
  type ScaleQuestion,
  type SingleQuestion,
  type SurveyDefinition,
  type SurveyQuestion,
  scaleRange,
} from '@doorbuster/core';
import { constraintText, fieldName } from './form-fields.ts';
import { type Html, html } from './html.ts';
import { localized, plain } from './locale.ts';
import type { Locale, PageForm } from './page-view.ts';
import { type Texts, texts } from './texts.ts';

interface Asked {
  readonly question: SurveyQuestion;
  readonly domId: string;
  readonly locale: Locale;
  readonly words: Texts;
  readonly typed: readonly string[];
  readonly fault: string | undefined;
  /** Ids of hint and fault, for `aria-describedby`; null when there is neither. */
  readonly describedBy: string | null;
}

export function surveyQuestions(survey: SurveyDefinition, form: PageForm | undefined, locale: Locale): Html {
  return html`${survey.questions.map((question) => questionHtml(survey, question, form, locale))}`;
}

/** The list of faults above the form, each a link to its question. */
export function faultSummary(
  survey: SurveyDefinition | undefined,
  form: PageForm | undefined,
  locale: Locale,
): Html | null {
  const faults = form?.faults ?? {};
  const faulty = (survey?.questions ?? []).filter((question) => Object.hasOwn(faults, question.id));
  if (faulty.length === 0) return null;
  return html`<div class="faults" role="alert" id="faults"><h2>${texts[locale].faultsTitle}</h2><ul>${faulty.map(
    (question) => html`<li><a href="#${targetId(question)}">${localized(question.label, locale)}</a></li>`,
  )}</ul></div>`;
}

function targetId(question: SurveyQuestion): string {
  const first =
    question.type === 'single' || question.type === 'multiple' ? question.options[0]?.id : undefined;
  if (question.type === 'scale') return `f-${question.id}.${scaleRange(question).min}`;
  return first === undefined ? `f-${question.id}` : `f-${question.id}.${first}`;
}

function questionHtml(
  survey: SurveyDefinition,
  question: SurveyQuestion,
  form: PageForm | undefined,
  locale: Locale,
): Html {
  const words = texts[locale];
  const domId = `f-${question.id}`;
  const value = own(form?.values, question.id);
  const fault = own(form?.faults, question.id);
  const hints = [
    question.type === 'scale' ? null : constraintText(question, locale),
    conditionNote(survey, question, locale),
  ];
  const hint = hints.filter(Boolean).join(' ');
  const describedBy = [hint && `${domId}-hint`, fault && `${domId}-fault`].filter(Boolean).join(' ') || null;
  const typed = value === undefined ? [] : [value].flat();
  const asked: Asked = { question, domId, locale, words, typed, fault, describedBy };
  const notes = html`${hint && html`<p class="hint" id="${domId}-hint">${hint}</p>`}${
    fault && html`<p class="fault" id="${domId}-fault">${fault}</p>`
  }`;
  return html`<div class="q${fault ? ' bad' : ''}" data-q="${question.id}" data-type="${question.type}"${conditionData(question)}>${fields(
    asked,
    notes,
  )}</div>`;
}

/** Own properties only: question ids are the shop's words, `constructor` among them. */
function own<T>(values: Readonly<Record<string, T>> | undefined, id: string): T | undefined {
  return values && Object.hasOwn(values, id) ? values[id] : undefined;
}

function conditionData(question: SurveyQuestion): Html | null {
  const condition = question.showIf;
  if (!condition) return null;
  return html` data-if="${condition.question}"${condition.anyOf && html` data-any="${condition.anyOf.join(' ')}"`}${
    condition.min !== undefined && html` data-min="${condition.min}"`
  }${condition.max !== undefined && html` data-max="${condition.max}"`}${isRequired(question) && html` data-required`}`;
}

function conditionNote(survey: SurveyDefinition, question: SurveyQuestion, locale: Locale): string | null {
  const condition = question.showIf;
  const earlier = condition && survey.questions.find((q) => q.id === condition.question);
  if (!condition || !earlier) return null;
  const chosen =
    'options' in earlier ? earlier.options.filter((option) => condition.anyOf?.includes(option.id)) : [];
  const range = condition.min ?? condition.max;
  const answers = chosen.length
    ? chosen.map((option) => plain(option.label, locale)).join(', ')
    : range === undefined
      ? ''
      : `${condition.min ?? ''}~${condition.max ?? ''}`;
  return texts[locale].onlyIf(plain(earlier.label, locale), answers);
}

function label({ question, words, locale }: Asked): Html {
  return html`${localized(question.label, locale)}<span class="tag">${isRequired(question) ? words.required : words.optional}</span>`;
}

function describe({ describedBy, fault }: Asked): Html {
  return html`${describedBy && html` aria-describedby="${describedBy}"`}${fault && html` aria-invalid="true"`}`;
}

function needed({ question }: Asked): Html | false {
  return isRequired(question) && !question.showIf && html` required`;
}

function fields(asked: Asked, notes: Html): Html {
  const { question } = asked;
  switch (question.type) {
    case 'single':
    case 'multiple':
      return group(asked, notes, choices(asked, question));
    case 'scale':
      return group(asked, notes, scale(asked, question));
    case 'text':
    case 'number':
      return html`<label class="ask" for="${asked.domId}">${label(asked)}</label>${notes}${typedField(asked)}`;
  }
}

function group(asked: Asked, notes: Html, controls: Html): Html {
  const { describedBy } = asked;
  const role =
    asked.question.type === 'multiple'
      ? null
      : html` role="radiogroup"${asked.fault && html` aria-invalid="true"`}${
          isRequired(asked.question) && html` aria-required="true"`
        }`;
  return html`<fieldset${role}${describedBy && html` aria-describedby="${describedBy}"`}><legend>${label(asked)}</legend>${notes}${controls}</fieldset>`;
}

function choices(asked: Asked, question: SingleQuestion | MultipleQuestion): Html {
  const type = question.type === 'single' ? 'radio' : 'checkbox';
  return html`${question.options.map(
    (option) =>
      html`<label class="opt"><input type="${type}" id="${asked.domId}.${option.id}" name="${fieldName(question)}" value="${option.id}"${
        asked.typed.includes(option.id) && html` checked`
      }${type === 'radio' && needed(asked)}><span>${localized(option.label, asked.locale)}</span></label>`,
  )}`;
}

function scale(asked: Asked, question: ScaleQuestion): Html {
  const { min, max } = scaleRange(question);
  const steps = Array.from({ length: Math.max(0, max - min) + 1 }, (_, i) => String(min + i));
  const ends = question.minLabel || question.maxLabel;
  return html`<div class="scale">${steps.map(
    (step) =>
      html`<label class="opt"><input type="radio" id="${asked.domId}.${step}" name="${fieldName(question)}" value="${step}"${
        asked.typed.includes(step) && html` checked`
      }${needed(asked)}><span>${step}</span></label>`,
  )}</div>${
    ends &&
    html`<p class="ends hint"><span>${localized(question.minLabel, asked.locale)}</span><span>${localized(question.maxLabel, asked.locale)}</span></p>`
  }`;
}

function typedField(asked: Asked): Html {
  const { question, domId } = asked;
  const value = asked.typed[0] ?? '';
  const common = html`class="in" id="${domId}" name="${fieldName(question)}"${describe(asked)}${needed(asked)}`;
  if (question.type === 'number') {
    return html`<input ${common} type="number" inputmode="${question.integer ? 'numeric' : 'decimal'}" step="${question.integer ? '1' : 'any'}"${
      question.min !== undefined && html` min="${question.min}"`
    }${question.max !== undefined && html` max="${question.max}"`} value="${value}">`;
  }
  const maxLength = question.type === 'text' ? (question.maxLength ?? 500) : 500;
  if (maxLength <= 80)
    return html`<input ${common} type="text" maxlength="${maxLength}" autocomplete="off" value="${value}">`;
  // The parser drops one line break after the tag: without this one it would be the member's own.
  return html`<textarea ${common} maxlength="${maxLength}" rows="4">\n${value}</textarea>`;
}
