// The checks that .ci/run has beside others: each is counted by its own exit code, also where that is one of a pipe, and none outlives the script.

import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { root } from './check.ts';

const start = `set -uo pipefail
passed=0 failed=0
say() { printf '== %s\\n' "$*"; }
. .ci/beside.sh
trap end_running EXIT
good() { echo "good $1" | tail -n 1; }
bad() { echo bad; false | cat; }
export -f good bad
`;

function bash(script: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('bash', ['-c', `${start}${script}`], { cwd: root, encoding: 'utf8', timeout: 50_000 });
}

/** Where there is no setsid they run in their turn. */
const withoutSetsid = 'command() { [[ $2 != setsid ]]; }\n';

it.each([
  ['beside others', ''],
  ['in their turn', withoutSetsid],
])('are counted by their own exit codes, %s; what was not begun is not counted', (_, before) => {
  const { stdout } = bash(`${before}begin idle 'a good one, 1' good 'two words'
    begin equal 'a bad one' bad
    finish 'a bad one'; finish 'a good one, 1'; finish 'never begun'
    echo "$passed passed, $failed failed"`);
  expect(stdout).toMatch(
    /^== a bad one\nbad\nFAILED: a bad one .*\n== a good one, 1\ngood two words\nok: a good one, 1 /,
  );
  expect(stdout).toMatch(/\n1 passed, 1 failed\n$/);
});

it.skipIf(process.platform !== 'linux')(
  'end with the script, with all that they started (Linux: needs setsid)',
  () => {
    const { stdout } = bash(`forever() { echo $BASHPID >"$aside/pid"; timeout 45 sleep 40 | cat; }
    export -f forever
    export aside
    begin idle forever forever
    until [[ -s $aside/pid ]]; do sleep 0.05; done
    begun=$(<"$aside/pid")
    end_running
    for _ in {1..100}; do [[ -n $(ps -o pid= --sid "$begun") ]] || break; sleep 0.05; done
    echo "left: $(ps -o pid= --sid "$begun")"`);
    expect(stdout).toBe('left: \n');
  },
);
