#!/usr/bin/env bash
# Noisy gradient descent with momentum on (a^2 + 20 b^2) / 2, in awk. Everything it needs comes in RT_ variables.
set -euo pipefail
awk -v lr="$RT_LEARNING_RATE" -v momentum="$RT_MOMENTUM" -v epochs="$RT_EPOCHS" -v seed="$RT_SEED" -v fold="$RT_FOLD" \
    -v log_file="$RT_OUT/log.csv" '
BEGIN {
    srand(1000 * seed + fold + 1)
    a = b = 1
    print "epoch,loss" > log_file
    for (epoch = 1; epoch <= epochs; epoch++) {
        for (step = 1; step <= 10; step++) {
            va = momentum * va - lr * (a + 0.5 * (rand() - 0.5))
            vb = momentum * vb - lr * (20 * b + 0.5 * (rand() - 0.5))
            a += va
            b += vb
        }
        loss = (a * a + 20 * b * b) / 2
        if (loss > 1000) { print "diverged in epoch " epoch; exit 3 }
        printf "%d,%.9g\n", epoch, loss > log_file
    }
    printf "{\"loss\": %.9g, \"epochs_run\": %d}\n", loss, epochs
}' > "$RT_OUT/last_line.txt" || { code=$?; cat "$RT_OUT/last_line.txt"; exit "$code"; }
mv "$RT_OUT/last_line.txt" "$RT_SUMMARY"
