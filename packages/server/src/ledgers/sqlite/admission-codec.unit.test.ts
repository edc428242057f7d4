/** What is packed on one side is read on the other, for every verdict and every survey. */
import { answersCommitment, type Decision, memberCommitment, type SurveyAnswers } from '@doorbuster/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sha256, sha256Hex } from '../../audit/signer.ts';
import type { AdmissionCommand } from '../../ledger.ts';
import { AnswerPacker, PackedCommands, packCommands, unpackAnswers } from './admission-codec.ts';

const key = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const answers = fc.dictionary(
  fc.stringMatching(/^[a-z][a-z-]{0,8}$/),
  fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.integer(),
    fc.array(fc.string({ unit: 'grapheme-ascii', maxLength: 5 })),
  ),
  { noNullPrototype: true },
);
const command: fc.Arbitrary<AdmissionCommand> = fc.record({
  memberKey: key,
  salt: key,
  answers: fc.option(answers as fc.Arbitrary<SurveyAnswers>),
  screenedOut: fc.boolean(),
});

describe('commands', () => {
  it('arrive as they were sent, with the bytes of their commitments', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 20 }), (commands) => {
        const packed = new PackedCommands(packCommands(commands));
        expect(packed.count).toBe(commands.length);
        for (const [i, sent] of commands.entries()) {
          const { memberKey, salt } = sent;
          expect(packed.memberKey(i)).toBe(memberKey);
          expect(Buffer.from(packed.salt(i)).toString('hex')).toBe(salt);
          expect(Buffer.from(packed.key(i)).toString('hex')).toBe(memberKey);
          expect(packed.screenedOut(i)).toBe(sent.screenedOut);
          expect(sha256Hex(packed.memberOpening(i))).toBe(memberCommitment(salt, memberKey, sha256));
          const [text, opening] = [packed.answers(i), packed.answersOpening(i)];
          expect(text === null ? null : JSON.parse(Buffer.from(text).toString())).toEqual(sent.answers);
          expect(opening === null ? null : sha256Hex(opening)).toBe(
            sent.answers === null ? null : answersCommitment(salt, sent.answers, sha256),
          );
        }
      }),
    );
  });

  it('are refused with a key or salt that is none', () => {
    const good = { memberKey: 'ab'.repeat(16), salt: 'cd'.repeat(16), answers: null, screenedOut: false };
    expect(packCommands([good])).toHaveLength(60);
    for (const bad of ['', 'ab', 'zz'.repeat(16), 'ab'.repeat(17)]) {
      expect(() => packCommands([{ ...good, memberKey: bad }]), bad).toThrow('hex of 16 bytes');
      expect(() => packCommands([{ ...good, salt: bad }]), bad).toThrow('hex of 16 bytes');
    }
  });
});

describe('answers', () => {
  const own = { memberKey: 'ab'.repeat(16), salt: 'cd'.repeat(16), answers: null, screenedOut: false };
  const other = 'ef'.repeat(16);
  const cases: readonly (readonly [Decision, receipt: boolean, salt: 'own' | 'other' | null])[] = [
    [{ verdict: 'won', seq: 2 ** 40, recordNo: 2 ** 40 + 3, unit: 1e9, repeated: false }, true, 'own'],
    [{ verdict: 'won', seq: 7, recordNo: 9, unit: 5, repeated: true }, true, 'other'],
    [{ verdict: 'waitlisted', seq: 8, recordNo: 10, unit: null, repeated: true }, true, null],
    [{ verdict: 'sold-out', recordNo: 77 }, true, null],
    [{ verdict: 'closed', recordNo: 78 }, true, null],
    [{ verdict: 'ineligible', reason: 'rule-3' }, false, null],
    [{ verdict: 'not-open', opensAt: 1_800_000_000_000 }, false, null],
    [{ verdict: 'paused' }, false, null],
  ];

  it('arrive as they were given, whatever the verdict', () => {
    const packer = new AnswerPacker(cases.length);
    for (const [i, [decision, receipt, salt]] of cases.entries()) {
      const parts = { before: `{"b":"${i >> 1}",`, own: `"own":"${'x'.repeat(i * 100)}"`, after: ',"한":1}' };
      const given = salt === 'other' ? Buffer.from(other, 'hex') : salt;
      packer.add(decision, receipt ? parts : null, given, 1_700_000_000_000 + i);
    }
    const unpacked = unpackAnswers(
      packer.pack(),
      cases.map(() => own),
    );
    expect(unpacked).toEqual(
      cases.map(([decision, receipt, salt], i) => ({
        decision,
        receipt: receipt ? `{"b":"${i >> 1}","own":"${'x'.repeat(i * 100)}","한":1}` : null,
        salt: salt === 'own' ? own.salt : salt === 'other' ? other : null,
        at: 1_700_000_000_000 + i,
      })),
    );
  });

  it('share what is the same in every receipt of a batch', () => {
    const parts = { before: 'b'.repeat(300), own: 'o', after: 'a'.repeat(300) };
    const packer = new AnswerPacker(100);
    for (let i = 0; i < 100; i++)
      packer.add({ verdict: 'won', seq: i + 1, recordNo: i + 2, unit: 1, repeated: false }, parts, 'own', 1);
    expect(packer.pack().length).toBeLessThan(100 * 65 + 700);
  });

  it('of nobody are none', () => {
    expect(unpackAnswers(new AnswerPacker(0).pack(), [])).toEqual([]);
  });
});
