/**
 * Changing a definition: JSON merge patch (RFC 7396), the check of the result, and what may still change once it is published. The lane
 * lives by the terms it was published with, and a member by what the page promised, so afterwards only words and ways stay open.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import type { Fault } from '../errors.ts';
import { faultOfSchema } from '../schema-faults.ts';
import { type CampaignDefinition, campaignDefinitionSchema } from './definition.ts';

// ajv-formats is CommonJS: under nodenext its default import is typed as the module, at run time it is the function.
const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

/** Fields that a published campaign may still change. `reward` is looked at inside: the voucher source is frozen. */
const openFields: ReadonlySet<string> = new Set(['title', 'description', 'rules', 'page', 'timeZone']);
const openRewardFields: ReadonlySet<string> = new Set(['messengers', 'message']);

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** RFC 7396. Fields are defined, never assigned, so a name like `__proto__` is a field like any other. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map<string, unknown>(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), value));
  }
  return Object.fromEntries(merged);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON pointers of the fields that differ and are frozen, in the order of the schema. */
export function frozenChanges(before: CampaignDefinition, after: CampaignDefinition): readonly string[] {
  const changed = changedFields(before, after).filter((field) => !openFields.has(field));
  return changed.flatMap((field) =>
    field === 'reward'
      ? changedFields(before.reward, after.reward)
          .filter((inner) => !openRewardFields.has(inner))
          .map((inner) => `/reward/${inner}`)
      : [`/${field}`],
  );
}

/** Whether a JSON pointer leads into a field that a published campaign may still change. */
export function isOpenPointer(pointer: string): boolean {
  const [, field = '', inner = ''] = pointer.split('/');
  return field === 'reward' ? openRewardFields.has(inner) : openFields.has(field);
}

function changedFields(before: object, after: object): readonly string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  const valueIn = (of: object, name: string) => (of as Record<string, Json>)[name];
  return [...names].filter((name) => !sameJson(valueIn(before, name), valueIn(after, name)));
}

function sameJson(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return (
      left.length === right.length &&
      left.every((item, index) => sameJson(item as Json, right[index] as Json))
    );
  }
  return isObject(left) && isObject(right) && changedFields(left, right).length === 0;
}

const ajv = new Ajv2020({
  strict: false,
  discriminator: true,
  allErrors: true,
  coerceTypes: false,
  ownProperties: true,
  verbose: true,
});
addFormats(ajv);
const validate = ajv.compile(campaignDefinitionSchema);

/** Faults of form, all together: what the schema says, and text that is not well-formed Unicode (it has no canonical JSON to be hashed). */
export function definitionFormFaults(definition: unknown): readonly Fault[] {
  if (!validate(definition)) {
    const faults = (validate.errors ?? []).map((error) => faultOfSchema('', error));
    return faults.filter(firstOfItsPlace).slice(0, 100);
  }
  return illFormedTexts(definition, '');
}

/** A kind that is missing is told by two keywords at once. */
function firstOfItsPlace(fault: Fault, index: number, all: readonly Fault[]): boolean {
  return (
    index === all.findIndex((other) => other.pointer === fault.pointer && other.message === fault.message)
  );
}

function illFormedTexts(value: unknown, pointer: string): readonly Fault[] {
  if (typeof value === 'string')
    return value.isWellFormed() ? [] : [{ pointer, message: 'must be well-formed Unicode' }];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => illFormedTexts(inner, `${pointer}/${name}`));
}
