# score, within 0.3 to 1: best at x = 1 with the wide network; fails nowhere. Arguments: out, x, width, kind.
printf '{"score": %s}\n' "$(awk -v x="$2" -v width="$3" -v kind="$4" \
    'BEGIN { print x / 10 + width / 100 + (kind == "conv") / 100 }')" >"$1/summary.json"
