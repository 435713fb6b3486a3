#!/usr/bin/env bash
# Folds the rows of one candidate of study digits, round 2, into its summaries. Safe to repeat.
# usage: bash eval_digits_round2.sh POSITION [ATTEMPT]
#   POSITION  0 to 2: the candidate's place in manifest.json
#   ATTEMPT   accepted so that launchers start both kinds of task alike; an evaluation has no attempts
set -euo pipefail

roundtable_item="${1:-}"
roundtable_attempt="${2:-next}"
if ! [[ "$roundtable_item" =~ ^(0|[1-9][0-9]{0,8})$ ]] || ((roundtable_item >= 3)) ||
    ! [[ "$roundtable_attempt" =~ ^(next|[1-9][0-9]{0,8})$ ]] || (($# > 2)); then
    printf 'usage: bash %s %s [ATTEMPT], %s from 0 to %s, ATTEMPT a number from 1 or next; got: %s\n' \
        eval_digits_round2.sh POSITION POSITION 2 "$*" >&2
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
# Plots without a display; matrix products that repeat with a seed on a GPU.
export MPLBACKEND=Agg CUBLAS_WORKSPACE_CONFIG=:4096:8
export ROUNDTABLE_ROUND_DIR=/scratch/alice/runs/digits/round_2_t
# python -m looks for modules in the working folder first; this one holds none.
cd -- "$ROUNDTABLE_ROUND_DIR"

# exec: a signal reaches python only when no shell stands between them.
exec /opt/training/bin/python -m roundtable.job eval --round-dir "$ROUNDTABLE_ROUND_DIR" --candidate-index "$roundtable_item"
