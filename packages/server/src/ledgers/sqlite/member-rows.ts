/** Members as imports and tokens brought them. Imported rows count from the moment their import is live; the newest import wins. */
import type { MemberAttributes } from '@doorbuster/core';
import type { Contact } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import { hexOfBlob, type Sql } from './sql.ts';

interface Imported {
  attributes: string;
  salt: Uint8Array | null;
  contact: Uint8Array | null;
}
interface Registered {
  attributes: string | null;
  salt: Uint8Array | null;
  contact: Uint8Array | null;
}

const selectImported = `SELECT m.attributes, m.salt, m.contact FROM imports i JOIN members m ON m.import = i.import AND m.member_key = ?2
  WHERE i.campaign = ?1 AND i.kind = 'members' AND i.state = 'live' ORDER BY i.import DESC LIMIT 1`;
const selectRegistered =
  'SELECT attributes, salt, contact FROM registrations WHERE campaign = ? AND member_key = ?';

export class MemberRows {
  readonly #sql: Sql;
  readonly #vault: Vault;

  constructor(sql: Sql, vault: Vault) {
    this.#sql = sql;
    this.#vault = vault;
  }

  /** Null when the member is not on the list. What a token said stands above the list. */
  listedAttributes(campaign: number, memberKey: Uint8Array): MemberAttributes | null {
    const imported = this.#sql.get<Imported>(selectImported, campaign, memberKey);
    if (imported === undefined) return null;
    const listed = JSON.parse(imported.attributes) as MemberAttributes;
    const registered = this.#sql.get<Registered>(selectRegistered, campaign, memberKey);
    return registered?.attributes
      ? { ...listed, ...(JSON.parse(registered.attributes) as MemberAttributes) }
      : listed;
  }

  contactOf(campaign: number, memberKey: Uint8Array): Contact | null {
    const imported = this.#open(this.#sql.get<Imported>(selectImported, campaign, memberKey));
    const registered = this.#open(this.#sql.get<Registered>(selectRegistered, campaign, memberKey));
    return imported === null && registered === null ? null : { ...imported, ...registered };
  }

  #open(row: Imported | Registered | undefined): Contact | null {
    if (!row?.salt || !row.contact) return null;
    return JSON.parse(this.#vault.open(hexOfBlob(row.salt), 'contact', row.contact)) as Contact;
  }
}

/** Enough to recognise one's own address, too little for anyone else. */
export function maskedContact(contact: Contact): string | null {
  if (contact.email !== undefined) {
    const [name = '', host = ''] = contact.email.split('@');
    return `${name.slice(0, Math.min(2, Math.max(1, name.length - 1)))}***@${host}`;
  }
  if (contact.phone !== undefined) return `${contact.phone.slice(0, 3)}****${contact.phone.slice(-2)}`;
  return null;
}
