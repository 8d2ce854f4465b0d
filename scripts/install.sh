#!/usr/bin/env bash
# Usage: install.sh PYTHON VENV REQUIREMENTS [more arguments of uv pip install]
# Pinned packages into a virtual environment, which is made if need be.
set -euo pipefail
python=$1 venv=$2 requirements=$3
shift 3
if [ "$(uname -sm)" != "Linux x86_64" ] && [[ $requirements == *dev.txt ]]; then
  echo "Triton's wheel is for Linux on x86-64 with glibc 2.35 or newer; this is $(uname -sm)." >&2
  echo "The client alone runs here: pip install . && amira-asr --help" >&2
  exit 1
fi
if [ -z "$python" ] && [ ! -x "$venv/bin/python" ]; then
  echo "No Python 3.10, 3.11 or 3.12 with venv and pip was found. Install one (Debian, Ubuntu: apt install python3-venv;" >&2
  echo "where Python is newer: uv python install 3.12), or name it: make PYTHON=/path/to/python3.12 ..." >&2
  exit 1
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
name=$(basename "$requirements" .txt)
log=$venv/install-$name.log
echo "Installing $(grep -c '^[a-zA-Z]' "$requirements") pinned packages ($name) into $venv (log: $log)"

install() { # uv, which takes seconds where pip takes minutes; it is told what pip is configured to
  local option
  option() { "$venv/bin/pip" config get "global.$1" 2>/dev/null || true; }
  [ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install -q --disable-pip-version-check "$(grep -om1 '^uv==[0-9.]*' requirements/dev.txt)"
  export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(option index-url)}}"
  # Of indexes that have the same version uv takes the last, pip the file that fits this machine best: the first goes last.
  export UV_INDEX="${UV_INDEX:-$(tac -s ' ' <<<"${PIP_EXTRA_INDEX_URL:-$(option extra-index-url)}" | xargs)}"
  export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(option find-links)}}"
  for option in UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS; do [ -n "${!option}" ] || unset "$option"; done
  "$venv/bin/uv" pip install --python "$venv/bin/python" --index-strategy unsafe-best-match \
    -r "$requirements" "$@"
}

(install "$@") >"$log" 2>&1 &
job=$!
if [ -t 1 ]; then
  while kill -0 $job 2>/dev/null; do
    printf '\r\033[K  %3ss  %.70s' "$SECONDS" "$(tail -n 1 "$log")"
    sleep 0.5
  done
  printf '\r\033[K'
fi
if ! wait $job; then
  tail -n 15 "$log" >&2
  echo "Installation failed; the whole log is in $log" >&2
  exit 1
fi
echo "Installed in $SECONDS s"
