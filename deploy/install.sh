#!/usr/bin/env bash
# Installs the program as an image does (deploy/Dockerfile), in steps that an image can cache:
#
#   deploy/install.sh dependencies   the pinned packages; needs only pyproject.toml and constraints.txt
#   deploy/install.sh package        the program; needs its sources as well
#   deploy/install.sh check          plans the default study, and runs a study of three cells
#
# PYTHON is the interpreter of the environment, by default `python`.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}

dependencies() {
  "$PYTHON" -c '
import tomllib

with open("pyproject.toml", "rb") as file:
    settings = tomllib.load(file)
print(*settings["build-system"]["requires"], *settings["project"]["dependencies"], sep="\n")
' | xargs -d '\n' "$PYTHON" -m pip install --no-cache-dir --constraint constraints.txt
}

package() {
  "$PYTHON" -m pip install --no-cache-dir --no-build-isolation --no-deps .
}

check() {
  local study=$PWD/deploy/smoke_study.py:smoke scripts folder
  scripts=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("scripts"))')
  folder=$(mktemp -d)
  cd "$folder" # the installed program, not the sources
  "$scripts/scarce" sweep --dry-run
  WANDB_MODE=disabled "$scripts/scarce" sweep "$study" --address in-process
  rm -rf "$folder"
}

case "${1-}" in
  dependencies | package | check) "$1" ;;
  *)
    echo "usage: deploy/install.sh dependencies|package|check" >&2
    exit 2
    ;;
esac
