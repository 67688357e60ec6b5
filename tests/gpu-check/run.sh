#!/bin/sh
# Runs the check on a device and writes its table: run.sh (cpu|cuda|cuda:N) FOLDER
#
# PYTHON names the Python whose torch is used, python3 by default; TORCH_LIB a `lib` folder of
# libtorch to use instead, for a machine without that Python.
set -u

if [ $# -ne 2 ]; then
    echo "usage: run.sh (cpu|cuda|cuda:N) FOLDER" >&2
    exit 2
fi
device=$1
mkdir -p "$2" || exit 1
out=$(cd "$2" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
export PYTHON="${PYTHON:-python3}"

find_torch='import importlib.util as u, os; print(os.path.dirname(u.find_spec("torch").origin))'
if [ -z "${TORCH_LIB:-}" ]; then
    torch=$("$PYTHON" -c "$find_torch" 2>/dev/null) || {
        echo "error: $PYTHON has no torch; set PYTHON or TORCH_LIB" >&2
        exit 4
    }
    TORCH_LIB=$torch/lib
fi
export LD_LIBRARY_PATH="$TORCH_LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# fp32 is fp32 in cuBLAS and cuDNN, here and in the peer.
export NVIDIA_TF32_OVERRIDE=0
# Without it cuBLAS may choose its sums by chance.
export CUBLAS_WORKSPACE_CONFIG=:4096:8

failed=0
# Limits in seconds: nine minutes in all.
run() {
    timeout -k 5 "$2" "$here/gpu-check" "$1" "$device" "$out"
    code=$?
    [ $code -eq 4 ] || [ $code -eq 2 ] && exit $code
    [ $code -eq 0 ] || failed=1
    [ $code -ne 124 ] || printf '\nStopped after %s seconds.\n\n' "$2" >>"$out/$1.md"
}
rm -f "$out"/numbers.md "$out"/resume.md "$out"/memory.md "$out"/ranks.md "$out"/speed.md
run numbers 110
run resume 100
run memory 50
run ranks 60
run speed 200

{
    echo "# Check on $device"
    echo
    "$PYTHON" -c 'import torch; print("torch", torch.__version__)' 2>/dev/null
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
    sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
    echo
    cat "$out"/numbers.md "$out"/resume.md "$out"/memory.md "$out"/ranks.md \
        "$out"/speed.md
} >"$out/gpu-check.md" 2>/dev/null
echo "$out/gpu-check.md"
exit $failed
