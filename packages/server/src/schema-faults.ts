/**
 * Faults of ajv in words a person can act on. Its own name nothing (`must NOT have additional properties`) or speak of the schema (`value of
 * tag "type" must be in oneOf`); here an unknown or missing field is named, and what may stand in a place is listed.
 *
 * Lists of kinds need an ajv with `verbose`, because only then a fault carries its schema.
 */
import type { Fault } from './errors.ts';

export interface SchemaFault {
  readonly instancePath?: string;
  readonly keyword?: string;
  readonly message?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly parentSchema?: unknown;
}

/** `root` is put in front of the place, for example `/body`. */
export function faultOfSchema(root: string, fault: SchemaFault): Fault {
  const params = fault.params ?? {};
  const pointer = `${root}${fault.instancePath ?? ''}`;
  const at = (name: unknown): string => `${pointer}/${String(name)}`;
  switch (fault.keyword) {
    case 'additionalProperties':
      return { pointer: at(params['additionalProperty']), message: 'unknown field' };
    case 'required':
      return { pointer: at(params['missingProperty']), message: 'is missing' };
    case 'discriminator':
      return {
        pointer: at(params['tag']),
        message: kindWords(params, kindsOf(fault.parentSchema, params['tag'])),
      };
    default: {
      const allowed = params['allowedValues'] ?? params['allowedValue'];
      const listed = allowed === undefined ? '' : `: ${JSON.stringify(allowed)}`;
      return { pointer, message: `${fault.message ?? 'is not valid'}${listed}` };
    }
  }
}

function kindWords(params: Readonly<Record<string, unknown>>, kinds: readonly string[]): string {
  if (params['tagValue'] === undefined) return 'is missing';
  return kinds.length > 0 ? `must be one of ${kinds.join(', ')}` : 'is not one of the kinds there are';
}

/** What may stand in the field that names the kind: the constant of each branch. */
function kindsOf(schema: unknown, tag: unknown): readonly string[] {
  const branches = (
    schema as { oneOf?: readonly { properties?: Record<string, { const?: unknown }> }[] } | undefined
  )?.oneOf;
  return (branches ?? []).flatMap((branch) => {
    const kind = branch.properties?.[String(tag)]?.const;
    return typeof kind === 'string' ? [kind] : [];
  });
}
