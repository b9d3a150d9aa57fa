#!/usr/bin/env bash
# The eight steps from an organisation to a device that answers, unattended, against the simulator. Ends with
# "connect a device: ok" or a code that is not 0. Everything happens in a folder that goes away; INFUSE names another
# program than `infuse`.
set -euo pipefail

infuse=${INFUSE:-infuse}
place=$(mktemp -d "${TMPDIR:-/tmp}/infuse-connect.XXXXXX")
sim=

clean_up() {
  code=$?
  exec 8>&- # the simulator ends with its standard input
  [[ -z $sim ]] || wait "$sim" 2>/dev/null || true
  rm -rf "$place"
  ((code == 0)) || echo "connect a device: FAILED (exit $code)" >&2
}
trap clean_up EXIT

# Runs `infuse` for two minutes at most, where the machine can limit it; the envelope goes into a file and is shown.
said=$place/said.json
run() {
  printf '\n$ infuse %s\n' "$*"
  if command -v timeout >/dev/null; then timeout -k 10 120 "$infuse" "$@" --output json >"$said"; else "$infuse" "$@" --output json >"$said"; fi
  cat "$said"
}

# value EXPRESSION: a Python expression over `data` of the last envelope.
value() {
  python3 -c 'import json, sys; print(eval(sys.argv[1], {"data": json.load(open(sys.argv[2], encoding="utf-8"))["data"]}))' "$1" "$said"
}

# check TEXT EXPRESSION: the expression has to be true.
check() {
  [[ $(value "bool($2)") == True ]] || { echo "WRONG $1" >&2; return 1; }
  echo "ok    $1"
}

# What a developer's shell holds must not decide what happens here.
unset INFUSE_OUTPUT INFUSE_TOKEN INFUSE_REGISTRY_TOKEN INFUSE_BASE_URL INFUSE_REGISTRY_URL INFUSE_FAILPOINT
export INFUSE_HOME=$place/home INFUSE_SEALING_KEY_FILE=$place/sealing.key INFUSE_PROFILE=$place/world/profile.yaml

mkfifo "$place/keep" "$place/ready"
"$infuse" sim up --boards 1 --folder "$place/world" --output json --stop-on-stdin-close <"$place/keep" >"$place/ready" 2>"$place/sim.log" &
sim=$!
exec 8>"$place/keep" 9<"$place/ready"
read -r -t 60 -u 9 ready || { echo "the simulator did not start" >&2; cat "$place/sim.log" >&2; exit 1; }
port=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["data"]["boards"][0]["port"])' "$ready")

printf '\n# 1 Who owns the device\n'
run org ensure "Example Provider"
check "the organisation is there" 'data["organisation"]["name"] == "Example Provider"'

printf '\n# 2 What it is an instance of: the board that the profile describes\n'
run board ensure
check "the board is new" 'data["created"]'
run board ensure
check "and is not made twice" 'not data["created"]'

printf '\n# 3 Where it talks\n'
run network create "Field Network" --network-id 1001 --description "Primary field deployment network" --generate-key --out "$place/field.key"
check "the network is there, its key only in a private file" 'data["network"]["networkId"] == 1001 and "key" not in data["network"]'
[[ $(stat -c %a "$place/field.key" 2>/dev/null || stat -f %Lp "$place/field.key") == 600 ]]

printf '\n# 4 The device; the board says who it is, and nothing is written to it\n'
run provision --dry-run --port "$port"
mcu_id=$(value 'data["boards"][0]["board"]["mcuId"]')
imei=$(value 'data["boards"][0]["board"]["imei"]')
run device create "$mcu_id" --metadata "serialNumber=$imei" --metadata deploymentSite=Brisbane
check "the device is new" 'data["created"]'
device_id=$(value 'data["device"]["deviceId"]')
run device create "$mcu_id" --metadata "serialNumber=$imei"
check "and is not made twice" "not data['created'] and data['device']['deviceId'] == '$device_id'"

printf '\n# 5 Keys\n'
run key public
# Any X25519 public key does for the walk-through: here the base point, 9.
run key shared-secret --public-key CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= --out "$place/root.key"
run key derive --device "$device_id" --interface udp --out "$place/udp.key"
check "the key was derived in the cloud, for today" 'data["source"] == "cloud" and data["dayIndex"] > 17000'

printf '\n# 6 Access to the broker\n'
run mqtt token --ttl 3600 --out "$place/mqtt.token"
check "the token says when it ends" 'data["expiresAt"]'

printf '\n# 7 Does it communicate?\n'
run device state "$device_id"
check "not before the board has its identity" 'not data["heard"]'
run provision --port "$port"
check "the board PASSes as the very device that was created" "[(b['result'], b['deviceId']) for b in data['boards']] == [('PASS', '$device_id')]"
run device state "$imei"
check "the cloud has heard it" 'data["heard"]'
run device route "$device_id"
check "and knows the way back" 'data["routes"][0]["lastRoute"]["interface"] == "udp"'

printf '\n# 8 Does it answer?\n'
run rpc send ping --wait --device "$device_id"
check "the RPC is completed" 'data["rpc"]["status"] == "completed"'
run device show "$device_id"
check "cloud, registry and the record here agree" "data['registryDevice']['status'] == 'ACTIVE' and data['record']['result'] == 'PASS'"

printf '\nconnect a device: ok\n'
