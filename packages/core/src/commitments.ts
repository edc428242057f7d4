/**
 * Commitments: what a record says of a member without saying it. With the salt deleted (crypto-shredding) nobody can open them
 * any more, and the chain still verifies.
 */
import type { MemberKey } from './admit.ts';
import { canonicalJson } from './canonical-json.ts';
import type { Sha256 } from './hash.ts';
import { bytesOfHex, concatBytes, hexOf, utf8Of } from './hex.ts';
import type { Digest } from './record.ts';
import type { SurveyAnswers } from './survey.ts';

/** At least 16 bytes, or the key space could be searched for a member. */
function saltBytes(salt: string): Uint8Array {
  if (salt.length < 32) throw new RangeError('a salt has at least 16 bytes');
  return bytesOfHex(salt);
}

/** SHA-256(salt bytes || member key bytes). Salt: hex, at least 16 bytes. Throws a `RangeError` on what is not such hex. */
export function memberCommitment(salt: string, memberKey: MemberKey, sha256: Sha256): Digest {
  return hexOf(sha256(concatBytes([saltBytes(salt), bytesOfHex(memberKey)])));
}

/** SHA-256(salt bytes || UTF-8 of the canonical JSON of the answers). */
export function answersCommitment(salt: string, answers: SurveyAnswers, sha256: Sha256): Digest {
  return hexOf(sha256(concatBytes([saltBytes(salt), utf8Of(canonicalJson(answers))])));
}
