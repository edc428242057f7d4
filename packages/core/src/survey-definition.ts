/**
 * The check of a survey definition, made at publish. Takes any value, because definitions come from YAML files and JSON bodies,
 * and lists every fault at once with a pointer; it never throws.
 */
import type { SurveyFault } from './survey.ts';
import { surveyLimits } from './survey.ts';

export type Fields = Readonly<Record<string, unknown>>;
/** Collects faults under a pointer. */
export type Report = (pointer: string, message: string) => void;

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A key as a part of a JSON pointer (RFC 6901). */
export function pointerPart(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

export function refuseUnknown(fields: Fields, known: readonly string[], at: string, report: Report): void {
  for (const key of Object.keys(fields))
    if (!known.includes(key)) report(`${at}/${pointerPart(key)}`, 'is not a known field');
}

/** A localized text: `ko`, `en` or both, none empty. */
export function checkText(value: unknown, at: string, report: Report): void {
  if (!isObject(value)) return report(at, 'must be a text with ko, en or both');
  refuseUnknown(value, ['ko', 'en'], at, report);
  const languages = Object.keys(value).filter((key) => key === 'ko' || key === 'en');
  if (languages.length === 0) report(at, 'must have ko, en or both');
  for (const language of languages) {
    const text = value[language];
    if (typeof text !== 'string' || text.trim() === '')
      report(`${at}/${language}`, 'must be a text that is not empty');
    else if (text.length > surveyLimits.labelLength)
      report(`${at}/${language}`, `must have at most ${surveyLimits.labelLength} characters`);
  }
}

const idPattern = /^[a-z0-9-]{1,64}$/;
const base = ['id', 'label', 'type', 'required', 'showIf'];
const fieldsOf: Readonly<Record<string, readonly string[]>> = {
  single: [...base, 'options', 'qualifying'],
  multiple: [...base, 'options', 'minChoices', 'maxChoices', 'qualifying'],
  text: [...base, 'maxLength'],
  number: [...base, 'min', 'max', 'integer', 'qualifying'],
  scale: [...base, 'min', 'max', 'minLabel', 'maxLabel'],
};

/** What later conditions may refer to. */
interface Earlier {
  readonly type: string;
  readonly options: readonly string[];
}

/** Every fault of the definition; empty when it can be published. */
export function checkSurveyDefinition(definition: unknown): SurveyFault[] {
  const faults: SurveyFault[] = [];
  const report: Report = (pointer, message) => void faults.push({ pointer, message });
  if (!isObject(definition)) return [{ pointer: '', message: 'must be an object' }];
  refuseUnknown(definition, ['questions', 'screeningReason'], '', report);
  if (definition['screeningReason'] !== undefined)
    checkText(definition['screeningReason'], '/screeningReason', report);
  const questions = definition['questions'];
  if (!Array.isArray(questions)) {
    report('/questions', 'must be a list');
  } else if (questions.length > surveyLimits.questions) {
    report('/questions', `must have at most ${surveyLimits.questions} questions`);
  } else {
    const earlier = new Map<string, Earlier>();
    questions.forEach((question: unknown, i) => checkQuestion(question, `/questions/${i}`, earlier, report));
  }
  return faults;
}

function checkQuestion(question: unknown, at: string, earlier: Map<string, Earlier>, report: Report): void {
  if (!isObject(question)) return report(at, 'must be an object');
  const { id, type } = question;
  if (typeof type !== 'string' || !Object.hasOwn(fieldsOf, type)) {
    return report(`${at}/type`, 'must be single, multiple, text, number or scale');
  }
  refuseUnknown(question, fieldsOf[type] as readonly string[], at, report);
  checkText(question['label'], `${at}/label`, report);
  for (const flag of ['required', 'integer']) {
    if (question[flag] !== undefined && typeof question[flag] !== 'boolean')
      report(`${at}/${flag}`, 'must be true or false');
  }
  if (question['required'] === false && question['qualifying'] !== undefined) {
    report(`${at}/required`, 'a question that screens must be answered');
  }
  if (question['showIf'] !== undefined) checkCondition(question['showIf'], `${at}/showIf`, earlier, report);
  const options = checkKind(question, type, at, report);
  if (typeof id !== 'string' || !idPattern.test(id)) report(`${at}/id`, 'must be 1 to 64 of a-z, 0-9 and -');
  else if (earlier.has(id)) report(`${at}/id`, 'is taken by an earlier question');
  else earlier.set(id, { type, options });
}

/** What belongs to the type alone; the ids of its options. */
function checkKind(question: Fields, type: string, at: string, report: Report): readonly string[] {
  if (type === 'single' || type === 'multiple') return checkChoice(question, type, at, report);
  if (type === 'text')
    checkWhole(question['maxLength'], 1, surveyLimits.textLength, `${at}/maxLength`, report);
  if (type === 'number') checkNumber(question, at, report);
  if (type === 'scale') checkScale(question, at, report);
  return [];
}

function checkChoice(question: Fields, type: string, at: string, report: Report): readonly string[] {
  const options = question['options'];
  if (!Array.isArray(options) || options.length === 0 || options.length > surveyLimits.options) {
    report(`${at}/options`, `must be a list of 1 to ${surveyLimits.options} options`);
    return [];
  }
  const ids = new Set<string>();
  options.forEach((option: unknown, i) => checkOption(option, `${at}/options/${i}`, ids, report));
  if (question['qualifying'] !== undefined)
    checkOptionList(question['qualifying'], `${at}/qualifying`, [...ids], report);
  if (type === 'multiple') checkChoices(question, options.length, at, report);
  return [...ids];
}

function checkOption(option: unknown, at: string, ids: Set<string>, report: Report): void {
  if (!isObject(option)) return report(at, 'must be an object');
  refuseUnknown(option, ['id', 'label'], at, report);
  checkText(option['label'], `${at}/label`, report);
  const id = option['id'];
  if (typeof id !== 'string' || !idPattern.test(id)) report(`${at}/id`, 'must be 1 to 64 of a-z, 0-9 and -');
  else if (ids.has(id)) report(`${at}/id`, 'is taken by an earlier option');
  else ids.add(id);
}

function checkChoices(question: Fields, options: number, at: string, report: Report): void {
  const { minChoices, maxChoices } = question;
  checkWhole(minChoices, 0, options, `${at}/minChoices`, report);
  checkWhole(maxChoices, 1, options, `${at}/maxChoices`, report);
  if (typeof minChoices === 'number' && typeof maxChoices === 'number' && minChoices > maxChoices) {
    report(`${at}/maxChoices`, 'must not be less than minChoices');
  }
}

function checkNumber(question: Fields, at: string, report: Report): void {
  checkRange(question, at, report);
  const answerable = answerableRange(question, question);
  // A range upside down was reported just before.
  if (answerable.min > answerable.max && !(Number(question['min']) > Number(question['max'])))
    report(`${at}/max`, 'leaves no whole number to answer');
  const qualifying = question['qualifying'];
  if (qualifying === undefined) return;
  if (!isObject(qualifying)) return report(`${at}/qualifying`, 'must be a range with min, max or both');
  refuseUnknown(qualifying, ['min', 'max'], `${at}/qualifying`, report);
  if (qualifying['min'] === undefined && qualifying['max'] === undefined)
    report(`${at}/qualifying`, 'must have min, max or both');
  checkRange(qualifying, `${at}/qualifying`, report);
  const wanted = answerableRange(qualifying, question);
  if (Math.max(wanted.min, answerable.min) > Math.min(wanted.max, answerable.max))
    report(`${at}/qualifying`, 'screens out every answer that the question allows');
}

/** The smallest and the largest answer of a range, whole ones where the question asks for whole numbers. */
function answerableRange(range: Fields, question: Fields): { readonly min: number; readonly max: number } {
  const min = typeof range['min'] === 'number' ? range['min'] : Number.NEGATIVE_INFINITY;
  const max = typeof range['max'] === 'number' ? range['max'] : Number.POSITIVE_INFINITY;
  return question['integer'] === true ? { min: Math.ceil(min), max: Math.floor(max) } : { min, max };
}

function checkScale(question: Fields, at: string, report: Report): void {
  const { min = 1, max = 5 } = question;
  checkWhole(min, -1_000, 1_000, `${at}/min`, report);
  checkWhole(max, -1_000, 1_000, `${at}/max`, report);
  if (typeof min === 'number' && typeof max === 'number' && (max <= min || max - min > 100)) {
    report(`${at}/max`, 'must be 1 to 100 more than min');
  }
  for (const label of ['minLabel', 'maxLabel'])
    if (question[label] !== undefined) checkText(question[label], `${at}/${label}`, report);
}

function checkRange(range: Fields, at: string, report: Report): void {
  const { min, max } = range;
  for (const [name, end] of [
    ['min', min],
    ['max', max],
  ] as const) {
    if (end !== undefined && !Number.isFinite(end)) report(`${at}/${name}`, 'must be a number');
  }
  if (typeof min === 'number' && typeof max === 'number' && min > max)
    report(`${at}/max`, 'must not be less than min');
}

function checkWhole(value: unknown, lowest: number, highest: number, at: string, report: Report): void {
  if (value === undefined) return;
  if (!Number.isInteger(value) || (value as number) < lowest || (value as number) > highest) {
    report(at, `must be a whole number from ${lowest} to ${highest}`);
  }
}

/** A list of one or more known options. */
function checkOptionList(value: unknown, at: string, options: readonly string[], report: Report): void {
  if (!Array.isArray(value) || value.length === 0) return report(at, 'must be a list of options');
  value.forEach((option: unknown, i) => {
    if (typeof option !== 'string' || !options.includes(option))
      report(`${at}/${i}`, 'is not an option of the question');
  });
}

/** A condition looks at an earlier question only, so no circle can be written. */
function checkCondition(
  condition: unknown,
  at: string,
  earlier: ReadonlyMap<string, Earlier>,
  report: Report,
): void {
  if (!isObject(condition)) return report(at, 'must be an object');
  refuseUnknown(condition, ['question', 'anyOf', 'min', 'max'], at, report);
  const name = condition['question'];
  const target = typeof name === 'string' ? earlier.get(name) : undefined;
  if (target === undefined) return report(`${at}/question`, 'must be the id of an earlier question');
  if (target.type === 'text') return report(`${at}/question`, 'a condition cannot look at a text');
  const { anyOf, min, max } = condition;
  if (target.type === 'single' || target.type === 'multiple') {
    if (min !== undefined || max !== undefined) report(at, `a ${target.type} question is compared by anyOf`);
    checkOptionList(anyOf, `${at}/anyOf`, target.options, report);
    return;
  }
  if (anyOf !== undefined) report(`${at}/anyOf`, `a ${target.type} question is compared by min and max`);
  if (min === undefined && max === undefined) report(at, 'must have min, max or both');
  checkRange(condition, at, report);
}
