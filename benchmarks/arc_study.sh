#!/usr/bin/env bash
# Continues the study arc_small_models from its archived records:
#
#     SCARCE_LABELS_MODEL_ROOT=MODELS nohup benchmarks/arc_study.sh DATA_ROOT [sweep options] &
#
# Each space is swept in runs/arc and archived in docs/results every ten minutes and when its sweep
# ends, whether it finished or was stopped. Nothing is committed. A space that is complete takes
# seconds, so the same command continues where the last one was stopped, in any checkout.
set -u
data=${1:?usage: benchmarks/arc_study.sh DATA_ROOT [sweep options]}
shift
python=${PYTHON:-.venv/bin/python}
archive=docs/results/arc_small_models
runs=runs/arc
spaces=${SPACES:-arc_smollm2_probe arc_smollm2_listed arc_smollm2_in_context arc_smollm2_ssrm \
    arc_gemma3_probe arc_gemma3_listed arc_smollm2_lora}

sweep=
trap 'test -z "$sweep" || kill -TERM "$sweep"; stopped=1' TERM INT HUP
stopped=

for space in $spaces; do  # all of them first, because spaces share cells
    if [ -e "$archive/$space/records.jsonl" ]; then
        "$python" -m study.archive "$runs/$space" --from "$archive" || exit
    fi
done
for space in $spaces; do
    test -z "$stopped" || break
    "$python" -m study.sweep "$space" --out "$runs" --data-root "$data" "$@" &
    sweep=$!
    last=$SECONDS
    while kill -0 "$sweep" 2>/dev/null; do
        sleep 2
        if [ $((SECONDS - last)) -ge 600 ]; then
            "$python" -m study.archive "$runs/$space" --to "$archive"
            last=$SECONDS
        fi
    done
    wait "$sweep"
    status=$?
    sweep=
    "$python" -m study.archive "$runs/$space" --to "$archive"
    test $status -ne 2 || exit 2
done
"$python" -m benchmarks.arc_results
