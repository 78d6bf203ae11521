#!/usr/bin/env bash
# One session on a machine with a GPU, in at most 12 minutes: its tests, then what it brings, as a table.
#
#   tests/benchmarks/device.sh [FOLDER]     logs and table.md go to FOLDER (./device-results)
#
# Every stage has a limit and a log of its own; table.md is written anew after each, so that a session that is cut off
# leaves what it found. Without a CUDA device nothing but the counts is run, and the table says what is skipped.
# Exit status: 0 all passed or skipped, 1 a test failed or did not end, 3 only a benchmark did.
# DEVICE_SECONDS (720) is the time for all, PYTHON (.venv/bin/python) who runs it.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$(mkdir -p "${1:-device-results}" && cd "${1:-device-results}" && pwd) || exit 1
python=${PYTHON:-.venv/bin/python}
total=${DEVICE_SECONDS:-720}
reserve=5
status=0
export DEVICE_TABLE=$out/rows.md CUPY_CACHE_DIR=$out/cupy-cache
PYTHONPATH=client:kernels:protos:server${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
: >"$DEVICE_TABLE"
: >"$out/stages.md"
device="not looked for"

write_table() {
    {
        echo "# On a GPU"
        echo
        echo "$device. ${SECONDS} s of ${total} s."
        echo
        echo "| stage | outcome | seconds |"
        echo "|---|---|---|"
        cat "$out/stages.md"
        if [ -s "$DEVICE_TABLE" ]; then
            echo
            echo "| what | NumPy, ms | CuPy, ms | first time, s | beside |"
            echo "|---|---|---|---|---|"
            cat "$DEVICE_TABLE"
        fi
    } >"$out/table.md.new" && mv "$out/table.md.new" "$out/table.md"
}
finish() {
    write_table
    cat "$out/table.md"
    exit "$status"
}
trap 'echo "| cut off | | ${SECONDS} |" >>"$out/stages.md"; status=1; finish' INT TERM HUP

note() { # NAME OUTCOME SECONDS
    echo "| $1 | $2 | $3 |" | tee -a "$out/stages.md"
    write_table
}

# stage KIND NAME LIMIT COMMAND...     KIND: test or bench, which decides the status of a failure
stage() {
    local kind=$1 name=$2 limit=$3 began=$SECONDS code outcome
    shift 3
    local left=$((total - SECONDS - reserve))
    if [ "$left" -lt 1 ]; then
        note "$name" "skipped: no time left" 0
        return 0
    fi
    [ "$limit" -le "$left" ] || limit=$left
    timeout -k 5 "$limit" "$@" >"$out/${name// /-}.log" 2>&1 </dev/null &
    wait $!
    code=$?
    case $code in
    0) outcome=passed ;;
    5) outcome="skipped: no test chosen" code=0 ;;
    124 | 137) outcome="stopped after $limit s" ;;
    *) outcome="failed ($code), see ${name// /-}.log" ;;
    esac
    note "$name" "$outcome" $((SECONDS - began))
    if [ "$code" -ne 0 ]; then
        if [ "$kind" = test ]; then status=1; elif [ "$status" -eq 0 ]; then status=3; fi
    fi
    return 0
}

pytest() { # KIND NAME LIMIT ARGUMENTS...
    local kind=$1 name=$2 limit=$3
    shift 3
    stage "$kind" "$name" "$limit" "$python" -m pytest -q -p no:cacheprovider -o faulthandler_timeout=0 "$@"
}

device=$(timeout 60 "$python" - 2>/dev/null <<'PY' || true
try:
    import cupy
except ImportError:
    print("No device: CuPy is not installed")
else:
    if cupy.cuda.is_available():
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        print(f"{name}, CuPy {cupy.__version__}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}")
    else:
        print("No device: there is no CUDA device")
PY
)
device=${device:-No device: Python did not start}
bench=tests/benchmarks/test_bench_gpu.py
names=(moments spectra refits_to refits_stopped neighbours clusters torch cuml)
if [ "${device#No device}" != "$device" ]; then
    for name in "compile time" "gpu tests" "end to end" "first training step" "${names[@]}"; do
        note "$name" "skipped: ${device#No device: }" 0
    done
    pytest test "counts" 120 tests/benchmarks/test_bench_counts.py -s
    finish
fi
# The cache is empty now: what compiling takes. All later stages find it filled.
stage bench "compile time" 120 "$python" -c '
import sys, time; began = time.perf_counter(); sys.path.append("tests/benchmarks")
from device_table import add_row
from penult_server.compute.backend import choose_backend
from penult_server.compute.warming import ask_all
backend = choose_backend("cuda"); ready = time.perf_counter()
failed = ask_all(backend); filled = time.perf_counter()
ask_all(backend); again = time.perf_counter()
add_row("every kind of question, first with an empty kernel cache", device=again - filled, first=filled - ready)
raise SystemExit(str(failed) if failed else 0)'
pytest test "gpu tests" 200 -m gpu tests/kernels tests/server
pytest test "end to end" 120 -m "not slow" -x tests/e2e/test_spectra.py tests/e2e/test_refit_methods.py
stage bench "first training step" 90 "$python" tests/benchmarks/first_step.py
for name in "${names[@]}"; do
    if [ "$name" = cuml ] && ! "$python" -c "import cuml" 2>/dev/null; then
        stage bench "installing cuml" 60 "$python" -m pip install --quiet --retries 0 --target "$out/cuml" cuml-cu13
        status=$((status == 3 ? 0 : status))
        export PYTHONPATH=$PYTHONPATH:$out/cuml
    fi
    pytest bench "$name" 100 "$bench" --benchmarks -s -k "$name"
done
finish
