#!/bin/bash
# A study without Ray: one job of an array for each step. Run it again to go on with what is left.
#
#   ./slurm-array.sh studies/domain.yaml /shared/runs/domain --gpus 1 --cpus-per-task 8 --time 4:00:00
#
set -euo pipefail
study=$1 out=$2
shift 2

after=()
for kind in dialogues train eval; do
    list=$out/$kind-$(date +%s).steps
    mkdir -p "$out"
    untrue plan "$study" --out "$out" | { grep " $kind\$" || true; } >"$list"
    count=$(wc -l <"$list")
    [ "$count" -gt 0 ] || continue
    job=$(sbatch --parsable --job-name "untrue-$kind" --array "1-$count" --requeue ${after[@]+"${after[@]}"} "$@" \
        --wrap "sed -n \${SLURM_ARRAY_TASK_ID}p '$list' | xargs untrue step '$out'")
    after=(--dependency "afterany:$job")
done
echo "When all are done: untrue report $out"
