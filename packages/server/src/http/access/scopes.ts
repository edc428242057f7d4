/** What an API key may do. Closed; `*` is every scope, those of later versions included. */

export const scopes = [
  'campaigns:read',
  'campaigns:write',
  'members:write',
  'entries:read',
  'deliveries:write',
  'audit:read',
  'keys:write',
] as const;

export type Scope = (typeof scopes)[number];

export const scopeMeanings: Readonly<Record<Scope, string>> = {
  'campaigns:read': 'Read campaigns, deliveries and records.',
  'campaigns:write':
    'Create, change, publish, pause and close campaigns, change stock, import voucher codes.',
  'members:write': 'Import, ban and erase members.',
  'entries:read': 'Read and export entries, answers and survey results: personal data.',
  'deliveries:write': 'Retry, resend, replace and revoke.',
  'audit:read': 'Read audit records.',
  'keys:write': 'Create, list, rotate and revoke API keys.',
};

export function allows(granted: readonly string[], needed: Scope): boolean {
  return granted.includes('*') || granted.includes(needed);
}

/** A key can only hand on what it has itself, or `keys:write` would be `*`. */
export function missingScopes(granted: readonly string[], asked: readonly string[]): readonly string[] {
  return granted.includes('*') ? [] : asked.filter((scope) => !granted.includes(scope));
}
