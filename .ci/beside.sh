# shellcheck shell=bash
# Checks of .ci/run that run beside others. Sourced; wants `say`, and counts in `passed` and `failed`. scripts/ci-beside.int.test.ts runs it.

# begin PRIORITY NAME COMMAND...: a check that runs beside what follows, until `finish NAME`, which counts it and shows what it printed. PRIORITY is `equal`, or `idle`
# for one that only computes: it takes what the others leave of the processors, which is much, because most tests wait. It gets a session of its own,
# because Linux shares processors out between sessions before it looks at niceness; where there is no setsid it runs in its turn.
aside=$(mktemp -d) running=' '
folder_of() { echo "$aside/${1//[^A-Za-z0-9]/-}"; }
begin() {
  local priority=$1 name=$2 folder
  shift 2
  folder=$(folder_of "$name")
  mkdir "$folder"
  printf '%q ' "$@" >"$folder/command"
  command -v setsid >/dev/null || return 0
  # The options of this shell are not those of a new one, and every check is a pipe.
  priority=$priority setsid bash -c '
    set -uo pipefail
    if [[ $priority == idle ]]; then
      renice -n 19 -p $$ >/dev/null 2>&1
      { echo 19 >/proc/self/autogroup; } 2>/dev/null
    fi
    "${@:2}" >"$1/said" 2>&1
    echo "$? $SECONDS" >"$1/ended"' begin "$folder" "$@" &
  echo $! >"$folder/pid"
  running+="$! "
}
finish() {
  local name=$1 folder pid code=1 seconds=0
  folder=$(folder_of "$name")
  # What was not begun was left out, and has been named.
  [[ -d $folder ]] || return 0
  say "$name"
  if [[ -f $folder/pid ]]; then
    pid=$(<"$folder/pid")
    wait "$pid"
    running=${running/ $pid / }
    [[ ! -f $folder/ended ]] || read -r code seconds <"$folder/ended"
    cat "$folder/said"
  else
    seconds=$SECONDS
    eval "$(<"$folder/command")"
    code=$? seconds=$((SECONDS - seconds))
  fi
  if ((code == 0)); then
    passed=$((passed + 1))
    echo "ok: $name ($seconds s, beside others)"
  else
    failed=$((failed + 1))
    echo "FAILED: $name ($seconds s, beside others)"
  fi
}
# When the script is ended in the middle of them: each has a session of its own, and nothing else is in it.
end_running() {
  local pid
  for pid in $running; do
    # shellcheck disable=SC2046
    kill $(ps -o pid= --sid "$pid") 2>/dev/null
  done
  rm -rf "$aside"
}
