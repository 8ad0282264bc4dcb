#!/bin/sh
# Install the system packages that a Python wheel cannot bring, where we may; else print the command.
#   system_packages.sh display   a virtual X display and software GL, for the tests
#   system_packages.sh venv      what `python3 -m venv` needs on Debian and Ubuntu
set -eu

display_packages="xvfb xauth libgl1 libegl1 libgl1-mesa-dri libglx-mesa0 libopengl0 libdbus-1-3 libfontconfig1
libglib2.0-0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 fonts-dejavu-core"
display_libraries="libGL.so.1 libEGL.so.1 libGLX_mesa.so.0 libdbus-1.so.3 libfontconfig.so.1 libglib-2.0.so.0
libxkbcommon-x11.so.0 libxcb-cursor.so.0 libxcb-icccm.so.4 libxcb-image.so.0 libxcb-keysyms.so.1 libxcb-randr.so.0
libxcb-render-util.so.0 libxcb-shape.so.0 libxcb-xinerama.so.0 libxcb-xkb.so.1"

have_display() {
    command -v xvfb-run >/dev/null && command -v xauth >/dev/null || return 1
    known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)
    for library in $display_libraries; do
        case "$known" in *"$library"*) ;; *) return 1 ;; esac
    done
}

refuse() {
    echo "These system packages are needed, and this user may not install them. Run this, then try again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $*" >&2
    exit 1
}

install() {
    command -v apt-get >/dev/null || refuse "$@"
    if [ "$(id -u)" = 0 ]; then
        as_root="env"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo env"
    else
        refuse "$@"
    fi
    echo "Installing system packages: $*"
    $as_root apt-get update -qq
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

case "${1:-}" in
    display) have_display || install $display_packages ;;
    venv) install "python${2:-3}-venv" ;;
    *) echo "usage: $0 display | venv [VERSION]" >&2; exit 2 ;;
esac
