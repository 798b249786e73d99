#!/usr/bin/env bash
# Print the path of an interpreter of a version, like 3.13: on the path, of pyenv, or of the system.
set -euo pipefail
wanted="$1"
pyenv_root="${PYENV_ROOT:-$HOME/.pyenv}"
shopt -s nullglob
# What pyenv puts on the path runs only where its version is chosen: each is asked what it is.
for candidate in "$(command -v "python$wanted" || true)" "$pyenv_root/versions/$wanted"*/bin/python \
    "/usr/bin/python$wanted" "/usr/local/bin/python$wanted" "/opt/python/"*"/bin/python$wanted"; do
    [ -n "$candidate" ] && [ -x "$candidate" ] || continue
    found="$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)"
    if [ "$found" = "$wanted" ]; then
        echo "$candidate"
        exit 0
    fi
done
echo "there is no Python $wanted here; install it, for example: pyenv install $wanted" >&2
exit 1
