# Arguments: out, x, fold, seed, epochs, previous, log, round. Its checkpoint is the number of epochs it has done.
done=0
if [ -f "$6/epochs" ]; then done="$(cat "$6/epochs")"; fi
echo "$8 f$3 s$4 x=$2 $done-$5" >>"$7"
if awk -v x="$2" 'BEGIN { exit !(x > 0.9) }'; then exit 3; fi
echo "$5" >"$1/epochs"
awk -v x="$2" -v f="$3" -v e="$5" 'BEGIN { printf "{\"score\": %.12f}\n", (1 - (x - 0.3) ^ 2) * (1 - 0.5 ^ e) + f / 1e4 }' \
    >"$1/summary.json"
