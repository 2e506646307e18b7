#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs every `billfish gpu` and `billfish show` command on a machine with a GPU, and a short bench, and keeps what each printed: the
# material of docs/gpu-xray.md. Called by `./dev gpu xray`. Needs the built tool, a POSIX shell and `timeout`; nothing else.
#
#   gpu_xray.sh BILLFISH OUT [MINUTES]    MINUTES bounds the bench over the nine shapes at the end; 0 leaves it out (6)
set -u
[ $# -ge 2 ] || {
  echo "usage: gpu_xray.sh BILLFISH OUT [MINUTES]" >&2
  exit 2
}
billfish=$1
out=$2
minutes=${3:-6}
mkdir -p "$out" || exit 3
failed=0

# step NAME SECONDS COMMAND...: what it prints goes to OUT/NAME.txt, below the command as one would type it.
step() {
  name=$1
  limit=$2
  shift 2
  printf '$ billfish %s\n' "$*" | sed 's/ \([^ ]*;[^ ]*\)/ "\1"/' >"$out/$name.txt"
  timeout "$limit" "$billfish" "$@" >>"$out/$name.txt" 2>"$out/$name.err"
  code=$?
  cat "$out/$name.err" >>"$out/$name.txt"
  rm -f "$out/$name.err"
  printf '%-24s exit %s\n' "$name" "$code"
  if [ "$code" -ne 0 ]; then
    failed=$((failed + 1))
    tail -n 3 "$out/$name.txt"
  fi
}

step version 20 version
step snapshot 60 gpu snapshot --visualize --out "$out/snapshot"
step benchmark 120 gpu benchmark --out "$out/benchmark"
# Beside a running job: the monitor must neither disturb it nor need it.
"$billfish" gpu benchmark --sizes 8192,8192,8192 >"$out/beside.txt" 2>&1 &
beside=$!
step monitor 30 gpu monitor 6 --interval 100 --out "$out/monitor.csv"
wait "$beside" || failed=$((failed + 1))
# From here on with what was just measured.
facts="$out/snapshot/snapshot.json"
[ -f "$facts" ] || facts=$(dirname "$0")/../../bench/devices/h200.json
step kernel-config 20 gpu kernel-config "128,4,1;256,1,1" --smem 49152 --regs 96 --device-facts "$facts" --svg "$out/kernel-config.svg"
step kernel-config-m1 20 gpu kernel-config --m 1 --n 4096 --k 4096 --device-facts "$facts" --svg "$out/kernel-config-m1.svg"
step kernel-config-m1-zeroed 20 gpu kernel-config --m 1 --n 4096 --k 4096 --zeroed-workspace --device-facts "$facts"
step kernel-config-m1024 20 gpu kernel-config --m 1024 --n 14336 --k 4096 --device-facts "$facts"
step packing 20 show packing --n 64 --k 16 --format gptq --lines 8 --svg "$out/packing-gptq.svg" --verify
step packing-awq 20 show packing --n 64 --k 16 --format awq --type u4 --lines 8 --svg "$out/packing-awq.svg" --verify
step dequant 20 show dequant --word 0x89abcdef
step plan-m16 20 show plan --m 16 --n 4096 --k 4096 --device sm_90 --svg "$out/plan-m16.svg"
step plan-m8-zeroed 20 show plan --m 8 --n 11008 --k 4096 --device sm_90 --zeroed-workspace --svg "$out/plan-m8-zeroed.svg"
step plan-m1024 20 show plan --m 1024 --n 14336 --k 4096 --device sm_90 --svg "$out/plan-m1024.svg"
step bench-llama 100 bench --device cuda --models meta-llama/Llama-2-7b-hf/TP1 --batch-sizes 1 16 256 --limit-k 4096 --no-dependent-launch \
  --minutes 1 --out "$out/bench-llama"
step bench-act-order 60 bench --device cuda --model-dim 4096 --batch-sizes 16 --limit-act-order 0 1 --limit-group-size 64 128 \
  --limit-num-bits 4 8 --limit-k-full 0 1 --act f16 --no-dependent-launch --minutes 0.5 --out "$out/bench-act-order"
if [ "$minutes" != 0 ]; then
  step bench-h200 $((minutes * 60 + 60)) bench --device cuda --shapes h200 --m 1,2,4,8,16,32,64,128,256,512,1024,2048,4096,8192 \
    --implementation best --minutes "$minutes" --out "$out/bench-h200"
fi
echo "$failed steps failed; everything is in $out"
[ "$failed" -eq 0 ]
