# shellcheck shell=bash
# How demo.sh speaks: aligned lines with ticks and times, alive on a terminal, plain in a file.
# Sourced, never run. Every long step is a child process, so that `set -e` holds inside it and a
# terminal can be told how long it has been going on.

readonly width=76

work_dir=$(mktemp -d)
# output: everything a step wrote; remark: what it wants to see in its own line.
readonly work_dir output=$work_dir/output remark=$work_dir/remark

# A step that is under way when the demo is interrupted goes with it, and all it has started.
step_pid=
trap '[[ -z $step_pid ]] || kill -- "-$step_pid" 2>/dev/null || true; rm -rf -- "$work_dir"' EXIT
trap 'exit 130' INT TERM

if [[ -t 1 ]]; then
    live=yes bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    live='' bold='' dim='' red='' green='' plain=''
fi

# now prints milliseconds since the epoch.
now() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# took prints the time since $1 as people read it: 38 ms, 4.2 s, 2 min 05 s.
took() {
    local ms=$(($(now) - $1))
    if ((ms < 1000)); then
        printf '%d ms' "$ms"
    elif ((ms < 60000)); then
        printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
    else
        printf '%d min %02d s' $((ms / 60000)) $((ms % 60000 / 1000))
    fi
}

section() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

# line MARK COLOUR TEXT [RIGHT]
line() {
    [[ -z $live ]] || printf '\r\e[K'
    if [[ -n ${4:-} ]]; then
        printf '  %s%s%s %-*s %s%s%s\n' "$2" "$1" "$plain" "$width" "$3" "$dim" "$4" "$plain"
    else
        printf '  %s%s%s %s\n' "$2" "$1" "$plain" "$3"
    fi
}

tick() { line '✓' "$green" "$@"; }
cross() { line '✗' "$red" "$@"; }
note() { printf '    %s%s%s\n' "$dim" "$1" "$plain"; }

# quote prints its input as an indented block.
quote() { sed "s/^/      /"; }

# work TEXT COMMAND…: runs the command with its output in a file. On success the line ends with the time, and
# with the last line of $remark where the command wrote one; a failure shows the output and ends the demo.
work() {
    local text=$1 start code=0
    shift
    start=$(now)
    : >"$remark"
    set -m # a process group of its own
    "$@" >"$output" 2>&1 </dev/null &
    step_pid=$!
    set +m
    attend "$step_pid" "$text" "$start"
    wait "$step_pid" || code=$?
    step_pid=
    if ((code == 0)); then
        tick "$(with_remark "$text")" "$(took "$start")"
        return
    fi
    cross "$text" "$(took "$start")"
    tail -n 25 "$output" | quote
    give_up "$text"
}

with_remark() {
    local more
    more=$(tail -n 1 "$remark")
    printf '%s' "$1${more:+: $more}"
}

# attend counts the seconds on a terminal while the process $1 lives.
attend() {
    [[ -n $live ]] || return 0
    while kill -0 "$1" 2>/dev/null; do
        printf '\r\e[K  %s·%s %-*s %s' "$dim" "$plain" "$width" "$2" "$(took "$3")"
        sleep 0.1
    done
}

# within SECONDS COMMAND…: tries the command ten times a second until it succeeds; for use in work.
within() {
    local deadline=$(($(now) + $1 * 1000)) reason=''
    shift
    until reason=$("$@" 2>&1); do
        if (($(now) > deadline)); then
            printf 'not in time: %s\n%s\n' "$*" "$reason"
            return 1
        fi
        sleep 0.1
    done
    printf '%s\n' "$reason"
}
