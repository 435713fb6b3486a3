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
export OMP_NUM_THREADS=8 MKL_NUM_THREADS=8 OPENBLAS_NUM_THREADS=8
# nnU-Net's process counts are set by the trainer from this job's CPUs and memory; plots need no display.
export MPLBACKEND=Agg
export ROUNDTABLE_ROUND_DIR=/scratch/alice/runs/digits/round_2_p
# python -m looks for modules in the working folder first; this one holds none.
cd -- "$ROUNDTABLE_ROUND_DIR"

# exec: the scheduler's warning signal reaches python only when no shell stands between them.
exec /opt/training/bin/python -m roundtable.job train --round-dir "$ROUNDTABLE_ROUND_DIR" --row "$roundtable_item" \
    --attempt "$roundtable_attempt"
