#!/usr/bin/env bash
# The tutorial "Your first bench", unattended: a virtual world, two boards, the same again, two more that are killed with
# SIGKILL in the middle, resume, and a look into journal and cloud for anything that exists twice. Ends with "first bench: ok" or a
# code that is not 0. Everything happens in a folder that goes away; INFUSE names another program than `infuse`.
set -euo pipefail

infuse=${INFUSE:-infuse}
place=$(mktemp -d "${TMPDIR:-/tmp}/infuse-first-bench.XXXXXX")
sim=
line=

clean_up() {
  code=$?
  [[ -z $line ]] || kill "$line" 2>/dev/null || true
  exec 8>&- # the simulator ends with its standard input
  [[ -z $sim ]] || wait "$sim" 2>/dev/null || true
  rm -rf "$place"
  ((code == 0)) || echo "first bench: FAILED (exit $code)" >&2
}
trap clean_up EXIT

# Runs a command for two minutes at most, where the machine can limit it.
limited() {
  if command -v timeout >/dev/null; then timeout -k 10 120 "$@"; else "$@"; fi
}

say() {
  printf '\n# %s\n' "$*"
}

# check TEXT EXPRESSION FILE: the Python expression over `data` (and `status`) of the envelope in FILE has to be true.
check() {
  python3 - "$@" <<'PY'
import json, sys
text, expression, path = sys.argv[1:]
envelope = json.load(open(path, encoding="utf-8"))
right = eval(expression, {"data": envelope["data"], "status": envelope["status"]})
print(("ok    " if right else "WRONG ") + text)
sys.exit(0 if right else 1)
PY
}

# What a developer's shell holds must not decide what happens here.
unset INFUSE_PROFILE INFUSE_OUTPUT INFUSE_TOKEN INFUSE_REGISTRY_TOKEN INFUSE_BASE_URL INFUSE_REGISTRY_URL INFUSE_FAILPOINT
export INFUSE_HOME=$place/home INFUSE_SEALING_KEY_FILE=$place/sealing.key

say "infuse sim up --boards 4: the world, in its own process"
mkfifo "$place/keep" "$place/said"
"$infuse" sim up --boards 4 --folder "$place/world" --output json --stop-on-stdin-close <"$place/keep" >"$place/said" 2>"$place/sim.log" &
sim=$!
exec 8>"$place/keep" 9<"$place/said"
read -r -t 60 -u 9 ready || { echo "the simulator did not start" >&2; cat "$place/sim.log" >&2; exit 1; }
printf '%s\n' "$ready" >"$place/ready.json"
check "four boards are plugged in" 'status == "ok" and len(data["boards"]) == 4' "$place/ready.json"
ports=()
while read -r port; do ports+=("$port"); done < <(python3 -c 'import json, sys; [print(board["port"]) for board in json.load(sys.stdin)["data"]["boards"]]' <"$place/ready.json")
profile=$place/world/profile.yaml

say "infuse profile check, infuse auth status, infuse ca show"
"$infuse" profile check "$profile"
"$infuse" auth status --profile "$profile"
"$infuse" ca show --ca "$place/world/ca"

say "infuse provision: slots 1 and 2"
limited "$infuse" provision --profile "$profile" --port "${ports[0]}" --port "${ports[1]}" --output json >"$place/first.json"
check "both PASS, and the boards proved that they have their keys" \
  '[(b["result"], b["possession"], b["already"]) for b in data["boards"]] == [("PASS", "proven", False)] * 2' "$place/first.json"

say "the same again: read back, nothing made twice"
limited "$infuse" provision --profile "$profile" --port "${ports[0]}" --port "${ports[1]}" --output json >"$place/again.json"
check "both PASS already" '[(b["result"], b["already"]) for b in data["boards"]] == [("PASS", True)] * 2' "$place/again.json"

say "infuse provision: slots 3 and 4, killed with SIGKILL once a board is registered"
mkfifo "$place/events"
"$infuse" provision --profile "$profile" --port "${ports[2]}" --port "${ports[3]}" --output jsonl >"$place/events" 2>/dev/null 8>&- 9<&- &
line=$!
seen=
while read -r -t 60 event; do
  if [[ $event == *'"event":"step-done","step":"register"'* ]]; then
    seen=yes
    break
  fi
done <"$place/events"
kill -KILL "$line" 2>/dev/null || true
wait "$line" 2>/dev/null || true
line=
[[ $seen == yes ]] || { echo "no board got as far as register" >&2; exit 1; }
"$infuse" journal list
"$infuse" journal list --open --output json >"$place/open.json"
check "two boards are unfinished" 'data["total"] == 2' "$place/open.json"

say "infuse resume"
limited "$infuse" resume --output json >"$place/resumed.json"
check "both PASS" 'status == "ok" and [b["result"] for b in data["boards"]] == ["PASS"] * 2' "$place/resumed.json"

say "nothing exists twice"
"$infuse" journal export --output json >"$place/rows.json"
check "four boards, four cloud devices, four certificates on record" \
  'all(len({row[key] for row in data["rows"]}) == len(data["rows"]) == 4 for key in ("board", "deviceId", "certificateSerial"))' "$place/rows.json"
python3 - "$place/ready.json" <<'PY'
import json, sys, urllib.request
world = json.load(open(sys.argv[1], encoding="utf-8"))["data"]
def get(path):
    request = urllib.request.Request(world["baseUrl"] + path, headers={"Authorization": "Bearer " + world["token"]})
    return json.load(urllib.request.urlopen(request, timeout=30))
devices = get("/device?organisationId=" + get("/organisation")[0]["id"])
right = len(devices) == len({device["mcuId"] for device in devices}) == 4
print(("ok    " if right else "WRONG ") + "the cloud has four devices, one for each board")
sys.exit(0 if right else 1)
PY
"$infuse" journal verify

say "infuse journal show, infuse journal summary"
imei=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["data"]["boards"][0]["board"]["imei"])' "$place/resumed.json")
"$infuse" journal show "$imei"
"$infuse" journal summary --by day

printf '\nfirst bench: ok\n'
