#!/bin/sh
# Make a virtual environment: make_venv.sh PYTHON FOLDER
set -eu

python=$1
folder=$2
if [ -z "$python" ]; then
    echo "No Python 3.11, 3.12 or 3.13 was found. Install one, or name it: make demo PYTHON=/path/to/python3.11" >&2
    exit 1
fi
# Debian ships Python without the parts that make an environment; they are a package of their own.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    sh "$(dirname "$0")/system_packages.sh" venv "$version"
fi
"$python" -m venv "$folder"
