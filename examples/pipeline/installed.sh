#!/bin/sh
# 0: this version is live. 1: another one is, or none.
[ "$(readlink "$HOME/.cache/greeting/live")" = "versions/$TIGHTROPE_VERSION" ] || exit 1
