# Sourced by every task of the soak: finds its row's fault, and carries out those that lie outside the training.
# SOAK_HOME: the soak's folder. SOAK_SHIMS: the folder of shims, which tasks do not use.
PATH="${PATH#"$SOAK_SHIMS":}"
case "$0" in */train_*) ;; *) return 0 ;; esac
soak_round="${0##*_round}"
export SOAK_KEY="${soak_round%.sh}-$roundtable_item-$roundtable_attempt"
export SOAK_FAULT=""
# A task that was requeued has had its fault.
if [ "${SLURM_RESTART_COUNT:-0}" = 0 ] && [ -e "$SOAK_HOME/faults/$SOAK_KEY" ]; then
    SOAK_FAULT="$(cat "$SOAK_HOME/faults/$SOAK_KEY")"
    echo "$SOAK_KEY $SOAK_FAULT" >>"$SOAK_HOME/befallen.log"
fi
case "$SOAK_FAULT" in
    refuse_start) exit 7 ;;
    leave_nothing) exit 0 ;;
    kill_script) kill -9 $$ ;;
    late:* | truncated)
        # The body ends in exec: here it comes back, so that something can befall the result behind it.
        exec() {
            local code=0 result
            "$@" || code=$?
            result="$(cat "$SOAK_HOME/out/$SOAK_KEY")/result.json"
            if [ "$SOAK_FAULT" = truncated ]; then
                head -c 60 "$result" >"$result.half"
                mv "$result.half" "$result"
            else
                mv "$result" "$result.$SOAK_FAULT"
            fi
            exit "$code"
        }
        ;;
esac
