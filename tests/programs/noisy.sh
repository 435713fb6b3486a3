# $1 out, $2 x, $3 fold, $4 seed, $5 sd. The noise is uniform (sd 1), by a checksum of x, fold and seed.
sum=$(printf '%s %s %s' "$2" "$3" "$4" | cksum | cut -d ' ' -f 1)
awk -v x="$2" -v f="$3" -v sd="$5" -v h="$sum" 'BEGIN {
    noise = (h / 4294967296 - 0.5) * sqrt(12)
    printf "{\"score\": %.12f}\n", 1 + f + (x > 0.9 ? 0.2 : 0) + (x < 0.1 ? 0.01 : 0) + sd * noise
}' >"$1/summary.json"
