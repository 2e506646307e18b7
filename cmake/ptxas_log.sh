#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiler launcher for CUDA: runs the command, and keeps what ptxas says of registers, stack and spills in <object>.resources,
# which tests/rules/spills.py reads, and the processor time it took in <object>.cpu, which tests/rules/build_seconds.py adds up. Everything
# else that the compiler says is shown.
output=
previous=
for word in "$@"; do
  [ "$previous" = -o ] && output=$word
  previous=$word
done
[ -n "$output" ] || exec "$@"
log=$output.stderr
"$@" 2>"$log"
code=$?
times >"$output.cpu"
about='^ptxas info|^[[:space:]]+[0-9]+ bytes stack frame|^ptxas \.|^$'
grep -E "$about" "$log" >"$output.resources"
grep -vE "$about" "$log" >&2
rm -f "$log"
exit $code
