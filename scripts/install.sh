#!/usr/bin/env bash
# Usage: install.sh PYTHON VENV REQUIREMENTS: make a virtual environment with pinned packages, showing progress.
set -euo pipefail
python=$1 venv=$2 requirements=$3
if [ -z "$python" ]; then
  echo "No Python 3.10, 3.11 or 3.12 with the venv module was found. Install one (Debian: apt install python3-venv)," >&2
  echo "or name it: make PYTHON=/path/to/python3.11 ..." >&2
  exit 1
fi
log=$venv/install.log
total=$(grep -c '^[a-z]' "$requirements")
"$python" -m venv "$venv"
echo "Installing $total pinned packages into $venv (log: $log)"
"$venv/bin/pip" install --disable-pip-version-check --progress-bar off -r "$requirements" >"$log" 2>&1 &
pip=$!
while kill -0 $pip 2>/dev/null; do
  found=$(grep -c '^Collecting' "$log" || true)
  step="resolving and downloading: package $found"
  grep -q '^Installing collected' "$log" && step="unpacking"
  [ -t 1 ] && printf '\r\033[K  %3ss  %s' "$SECONDS" "$step"
  sleep 1
done
[ -t 1 ] && printf '\r\033[K'
if ! wait $pip; then
  tail -n 15 "$log" >&2
  echo "Installation failed; the whole log is in $log" >&2
  exit 1
fi
echo "Installed in $SECONDS s"
