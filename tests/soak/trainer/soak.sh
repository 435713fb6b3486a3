# $1 out, $2 x, $3 candidate, $4 seed, $5 round, $6 attempt. Notes its beginning, holds its row's lock for as long as it
# lives (the kernel frees it however it dies), and ends as its plan says.
row="${SOAK_KEY#*-}"
row="${row%-*}"
task="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
exec 9>"$SOAK_HOME/locks/$5-$row"
flock -n 9 || echo "overlap $5 $row $6 $task ${SLURM_RESTART_COUNT:-0}" >>"$SOAK_HOME/trained.log"
echo "began $5 $row $6 $task ${SLURM_RESTART_COUNT:-0}" >>"$SOAK_HOME/trained.log"
echo "$1" >"$SOAK_HOME/out/$SOAK_KEY"
case "$SOAK_FAULT" in
    exit_1) echo "a bug" && exit 1 ;;
    exit_3) echo "the loss is nan" && exit 3 ;;
    exit_4) echo "out of memory" && exit 4 ;;
    no_summary) exit 0 ;;
    kill_program) kill -9 $$ ;;
    kill_task) kill -9 "$PPID" && sleep 60 ;;
    cancel) scancel "$task" && sleep 60 ;;
    warn) scancel --signal=USR2 --batch "$task" && sleep 60 ;;
    requeue) scontrol update "JobId=$task" Requeue=1 && scontrol requeue "$task" && sleep 60 ;;
    preempt)
        sbatch --partition=urgent --exclusive --nodelist="$SLURMD_NODENAME" --time=1 --output=/dev/null \
            --job-name=urgent --wrap="sleep 0.2" && sleep 60
        ;;
    timeout) scontrol update "JobId=$task" TimeLimit=0 && sleep 90 ;;
    slow) sleep 9 ;;
    *) sleep 0.2 ;;
esac
awk -v x="$2" -v s="$4" 'BEGIN { printf "{\"score\": %.12f}\n", 1 - (x - 0.3) ^ 2 + s / 1e6 }' >"$1/summary.json"
