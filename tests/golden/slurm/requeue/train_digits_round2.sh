#!/usr/bin/env bash
# Trains one row of study digits, round 2. manifest.json lists the 6 rows.
# usage: bash train_digits_round2.sh ROW [ATTEMPT]
#   ROW      0 to 5: the row's number in manifest.json
#   ATTEMPT  a number from 1, or next (the default): a new one, unless the row is finished or still running
# trainers.job sets NNUNET_HP_REF and ROUNDTABLE_HP_REF to the hyperparameter_reference.json of the row's candidate.
set -euo pipefail

roundtable_item="${1:-}"
roundtable_attempt="${2:-next}"
if ! [[ "$roundtable_item" =~ ^(0|[1-9][0-9]{0,8})$ ]] || ((roundtable_item >= 6)) ||
    ! [[ "$roundtable_attempt" =~ ^(next|[1-9][0-9]{0,8})$ ]] || (($# > 2)); then
    printf 'usage: bash %s %s [ATTEMPT], %s from 0 to %s, ATTEMPT a number from 1 or next; got: %s\n' \
        train_digits_round2.sh ROW ROW 5 "$*" >&2
    exit 2
fi
# Sourced files (conda's activate) would take this script's arguments for their own.
set --

# Keys of language models are no business of a training. Launchers hand none on; `sbatch` and `bash` by hand would.
roundtable_keys='^(((ANTHROPIC|AZURE_OPENAI|CEREBRAS|COHERE|DEEPSEEK|FIREWORKS|GEMINI|GOOGLE|GROQ|MISTRAL|NVIDIA|OLLAMA|OPENAI|OPENROUTER|PERPLEXITY|ROUNDTABLE|TOGETHER|VLLM|XAI)_(.*_)?(API)?(KEY|TOKEN|SECRET)(_.*)?|.*_CUSTOM_HEADERS|OTEL_(.*_)?HEADERS))$'
while IFS= read -r roundtable_name; do
    if [[ "$roundtable_name" =~ $roundtable_keys ]]; then unset "$roundtable_name"; fi
done < <(compgen -e)
unset roundtable_keys roundtable_name

# PYTHONPATH and PYTHONHOME of the submitting shell belong to another python.
unset PYTHONPATH PYTHONHOME

export PYTHONUNBUFFERED=1
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# Plots without a display; matrix products that repeat with a seed on a GPU.
export MPLBACKEND=Agg CUBLAS_WORKSPACE_CONFIG=:4096:8
export ROUNDTABLE_ROUND_DIR=/scratch/alice/runs/digits/round_2_20260101T000000
# python -m looks for modules in the working folder first; this one holds none.
cd -- "$ROUNDTABLE_ROUND_DIR"

# Requeues itself at its time limit (requeue_on_timeout). In the background, because bash runs a trap only between
# commands and would not see the warning while it waits for a child in the foreground.
trainer=
warned=
tell() { [ -z "$trainer" ] || kill -s "$1" "$trainer" 2>/dev/null || true; }
trap 'warned=yes; tell USR2' USR2
trap 'tell TERM' TERM
/opt/training/bin/python -m roundtable.job train --round-dir "$ROUNDTABLE_ROUND_DIR" --row "$roundtable_item" \
    --attempt "$roundtable_attempt" &
trainer=$!
# A warning that came before there was anybody to tell.
[ -z "$warned" ] || tell USR2
# A trap ends `wait` early; the trainer is still saving then.
while kill -0 "$trainer" 2>/dev/null; do wait "$trainer" || true; done
code=0
wait "$trainer" || code=$?
# Before the requeue, with which slurm ends this shell; submitit loses exit codes altogether.
printf '%s attempt %s job %s restart %s rc %s%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$roundtable_attempt" \
    "${SLURM_JOB_ID:-none}" "${SLURM_RESTART_COUNT:-0}" "$code" "${warned:+, warned}" \
    >>"logs/rc_row_$roundtable_item.txt" || true
# 140 is 128 + USR2: stopped by the warning, with whatever checkpoint it has.
if [ -n "$warned" ] && [ "$code" = 140 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    # By the array's id and index: the last task's own id is the array's, and requeues all of it. A batch of one under
    # submitit is no array and has only its own.
    task="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    if ((${SLURM_RESTART_COUNT:-0} >= 4)); then
        printf 'requeued %s times already: the retry policy decides\n' "$SLURM_RESTART_COUNT" >&2
    elif scontrol requeue "$task"; then
        printf 'requeued as %s\n' "$task" >&2
    else
        printf 'could not requeue %s: the retry policy decides\n' "$task" >&2
    fi
fi
exit "$code"
