#!/usr/bin/env bash
# The four programs of this folder, unattended, in a virtual world: four boards are provisioned, a CSR is signed, a CSV
# is registered twice and makes its devices once, and the journal is read. Ends with "library: ok" or a code that is not 0.
# Everything happens in a folder that goes away; INFUSE and PYTHON name other programs than `infuse` and `python`.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
infuse=${INFUSE:-infuse}
python=${PYTHON:-python}
place=$(mktemp -d "${TMPDIR:-/tmp}/infuse-library.XXXXXX")
sim=

clean_up() {
  code=$?
  exec 8>&- # the simulator ends with its standard input
  [[ -z $sim ]] || wait "$sim" 2>/dev/null || true
  rm -rf "$place"
  ((code == 0)) || echo "library: FAILED (exit $code)" >&2
}
trap clean_up EXIT

# Runs a program of this folder for two minutes at most, where the machine can limit it.
program() {
  printf '\n# python %s\n' "$1" >&2
  if command -v timeout >/dev/null; then timeout -k 10 120 "$python" "$here/$@"; else "$python" "$here/$@"; fi
}

# expect TEXT COUNT PATTERN FILE: the pattern is in so many lines of the file.
expect() {
  local lines
  lines=$(grep -c -e "$3" "$4" || true)
  if [[ $lines == "$2" ]]; then echo "ok    $1"; else echo "WRONG $1: $lines lines, not $2"; cat "$4"; return 1; fi
}

# What a developer's shell holds must not decide what happens here.
unset INFUSE_PROFILE INFUSE_OUTPUT INFUSE_TOKEN INFUSE_REGISTRY_TOKEN INFUSE_BASE_URL INFUSE_REGISTRY_URL INFUSE_FAILPOINT
export INFUSE_HOME=$place/home INFUSE_SEALING_KEY_FILE=$place/sealing.key

mkfifo "$place/stdin" "$place/stdout"
"$infuse" sim up --boards 4 --folder "$place/world" --output json --stop-on-stdin-close <"$place/stdin" >"$place/stdout" 2>"$place/sim.log" &
sim=$!
exec 8>"$place/stdin" 9<"$place/stdout"
read -r -t 60 -u 9 ready || { echo "the simulator did not start" >&2; cat "$place/sim.log" >&2; exit 1; }
ports=()
while read -r port; do ports+=("$port"); done < <(python3 -c 'import json, sys; [print(board["port"]) for board in json.load(sys.stdin)["data"]["boards"]]' <<<"$ready")
profile=$place/world/profile.yaml

program provision_boards.py "$profile" "$INFUSE_HOME" "${ports[@]}" >"$place/boards"
expect "four boards PASS" 4 'PASS' "$place/boards"

openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout "$place/key.pem" -out "$place/request.pem" 2>/dev/null
program sign_csr.py "$profile" "$INFUSE_HOME" "$place/request.pem" d00d000000000001 >"$place/certificate.pem"
openssl verify -CAfile "$place/world/ca/root.pem" -untrusted "$place/world/ca/intermediate.pem" "$place/certificate.pem"
program sign_csr.py "$profile" "$INFUSE_HOME" "$place/request.pem" d00d000000000001 >"$place/again.pem"
cmp "$place/certificate.pem" "$place/again.pem" && echo "ok    the same request gets the same certificate"

cat >"$place/rows.csv" <<'CSV'
mcuId,metadata.serialNumber
0351358811000017,LIB-1
0351358811000025,LIB-2
CSV
program register_rows.py "$profile" "$place/rows.csv" >"$place/rows"
expect "two devices are registered" 2 '^03513588110000' "$place/rows"
program register_rows.py "$profile" "$place/rows.csv" >"$place/rows-again"
cut -d' ' -f1,3 "$place/rows" | sort >"$place/ids"
cut -d' ' -f1,3 "$place/rows-again" | sort | cmp - "$place/ids" && echo "ok    the same file again: the same device ids"

program read_journal.py "$INFUSE_HOME" >"$place/journal"
expect "the journal has the run of the line" 1 ' provision: ' "$place/journal"
expect "nothing is unfinished" 0 '^unfinished' "$place/journal"

printf '\nlibrary: ok\n'
