# One awk: a parabola of x, moved a little by fold and seed so that no two trials score the same.
awk -v x="$RT_X" -v s="$RT_SEED" -v f="$RT_FOLD" -v out="$RT_OUT" 'BEGIN {
    value = 1 - (x - 0.3) ^ 2 - 0.001 * (f + s % 7)
    print "epoch,val_accuracy" > (out "/log.csv")
    for (epoch = 1; epoch <= 8; epoch++) printf "%d,%.12f\n", epoch, value * epoch / 8 > (out "/log.csv")
    form = "{\"val_accuracy\": %.12f, \"val_loss\": %.12f, \"val_f1\": %.12f}\n"
    printf form, value, 1 - value, value > (out "/summary.json")
}'
